import { enableCompileCache } from 'node:module';
import process from 'node:process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** The entry of the program: `qalgate …`, `node src/server/main.ts …`. */

// Compiling is a third of a start. Beside the dependencies, where only those who may change the code can write; a folder
// that cannot be written just does not help. It works for what is imported from here on.
enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/compile', import.meta.url)));
const { runCli } = await import('./cli/run-cli.ts');

// A reader that has seen enough (`qalgate app list | head -1`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  print: (line) => process.stdout.write(`${line}\n`),
  warn: (line) => process.stderr.write(`${line}\n`),
  readInput: () => text(process.stdin),
  helpWidth: process.stdout.isTTY ? process.stdout.columns : undefined,
});
