/**
 * A process that has the lock of a lane, for tests that stop or kill it. Its argument is JSON: `{ connection, lockMs, lane }`. Prints
 * `{ has: true }` when it has it, and for each line that comes `{ isLost }`.
 */
import { createInterface } from 'node:readline';
import pg from 'pg';
import { createLogger } from '../../src/observe/index.ts';
import { createLaneLocks } from '../../src/store/index.ts';

const { connection, lockMs, lane } = JSON.parse(process.argv[2] ?? '{}') as {
  connection: pg.ClientConfig;
  lockMs: number;
  lane: string;
};
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

const locks = createLaneLocks(
  { db: { createClient: () => new pg.Client(connection) }, logger: createLogger({ level: 'silent' }) },
  { lockMs },
);
const lock = await locks.take(lane);
say({ has: lock !== undefined });
createInterface({ input: process.stdin }).on('line', () => say({ isLost: lock?.isLost() }));
