/**
 * A process that opens the store of a data directory, for tests that kill it or race it.
 * Arguments: data directory, `serve` or `command`. Prints one JSON line: `{ opened: kind }` or `{ refused: code, message }`;
 * once open it inserts a revocation at each line on standard input, answers `{ inserted: n }`, and closes at its end.
 */
import readline from 'node:readline';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { openDatabase, StoreError } from '../../src/store/index.ts';

const [dataDir = '', use = 'serve'] = process.argv.slice(2);
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

try {
  const deps = { logger: createLogger({ level: 'silent' }), metrics: createMetrics() };
  const db = await openDatabase(deps, {
    dataDir,
    database: 'embedded',
    use: use === 'command' ? 'command' : 'serve',
  });
  say({ opened: db.kind });
  let inserted = 0;
  for await (const subject of readline.createInterface({ input: process.stdin })) {
    const row = { sdk_app_id: 1, scope: 'terminal', subject, revoked_before: new Date() } as const;
    await db.kysely.insertInto('session_revocation').values(row).execute();
    inserted += 1;
    say({ inserted });
  }
  await db.close();
} catch (error) {
  if (!(error instanceof StoreError)) throw error;
  say({ refused: error.code, message: error.message });
}
