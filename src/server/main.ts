import process from 'node:process';
import { text } from 'node:stream/consumers';
import { runCli } from './cli/run-cli.ts';

/** The entry of the program: `qalgate …`, `node src/server/main.ts …`. */

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
