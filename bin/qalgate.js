#!/usr/bin/env node
/**
 * The `qalgate` command. Runs on any Node from 20 on and starts the program on the Node that it is written for: this
 * one where it is new enough, else the packaged one.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const nodeMajor = 24;

const source = new URL('../src/server/main.ts', import.meta.url);
const built = new URL('../dist/server/main.js', import.meta.url);
const program = existsSync(source) ? source : built;

if (!existsSync(program)) {
  fail('the program is missing: neither src nor dist is there. Run `npm run build`, or install the package again');
} else if (Number.parseInt(process.versions.node, 10) >= nodeMajor) {
  process.argv[1] = fileURLToPath(program);
  await import(program.href);
} else {
  const node = packagedNode();
  if (node === undefined) {
    fail(
      `Node ${process.versions.node} is too old: install Node ${nodeMajor}, or run \`npm ci\` where Node comes packaged`,
    );
  } else {
    runOn(node);
  }
}

/** Path of the Node that came as an optional dependency, if one did for this platform. */
function packagedNode() {
  try {
    return createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/bin/node`);
  } catch {
    return undefined;
  }
}

/** Stands in for the program: hands signals on, and ends as the program ends. */
function runOn(node) {
  // Over the channel the program notices when we are gone, however we went, and stops.
  const stdio = ['inherit', 'inherit', 'inherit', 'ipc'];
  const child = spawn(node, [fileURLToPath(program), ...process.argv.slice(2)], { stdio });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGCONT']) {
    process.on(signal, () => child.kill(signal));
  }
  child.once('error', (error) => fail(`${node}: ${error.message}`));
  child.once('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    // End by the same signal, so that the caller sees what happened; exit with the customary code if it does not end us.
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 1_000);
  });
}

function fail(reason) {
  console.error(`qalgate: ${reason}`);
  process.exitCode = 1;
}
