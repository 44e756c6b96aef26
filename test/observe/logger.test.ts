import { type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';

const program = `
  import { createLogger } from './src/observe/index.ts';
  const logger = createLogger({ level: 'info' });
  // Some 4 MiB, in turns of the event loop as in a service: errors come between them.
  for (let n = 0; n < 4_000; n++) {
    logger.info({ filler: 'x'.repeat(1_000) }, 'test.line');
    if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  logger.fatal({}, 'test.last');
  console.error('went on');
`;
const root = new URL('../../', import.meta.url);

/** Runs the program with that as standard output. */
function begin(t: Test, stdout: 'pipe' | number) {
  const options = { cwd: root, stdio: ['ignore', stdout, 'pipe'] as StdioOptions, timeout: 20_000 };
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], options);
  t.teardown(() => child.kill('SIGKILL'));
  return { child, said: text(child.stderr as Readable) };
}

t.test('[O5] a log that cannot be written ends nothing', async (t) => {
  // Every write to it fails as on a full disk.
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  const { child, said } = begin(t, full);
  t.same(await once(child, 'close'), [0, null]);
  t.match(await said, /went on/);
});

t.test('a reader of the log that leaves ends nothing', async (t) => {
  const { child, said } = begin(t, 'pipe');
  const stdout = child.stdout as Readable;
  const [first] = await once(stdout, 'data');
  t.match(String(first), /"event":"test\.line"/);
  stdout.destroy();
  t.same(await once(child, 'close'), [0, null]);
  t.match(await said, /went on/);
});
