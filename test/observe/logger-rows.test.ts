import t from 'tap';
import { createLogger } from '../../src/observe/index.ts';
import { openTestDatabase } from '../support/database.ts';

t.test('a row that the database refuses does not get into the log', async (t) => {
  const { db } = await openTestDatabase(t);
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', destination: { write: (line) => void lines.push(line) } });
  const client = await db.pool.connect();
  try {
    await client.query('create temporary table letter (body text check (length(body) < 5))');
    await client.query('insert into letter values ($1)', ['a private word']).then(
      () => t.fail('it was taken'),
      (error: unknown) => {
        logger.error({ err: error }, 'plain');
        logger.error({ err: new Error('it failed', { cause: error }) }, 'wrapped');
      },
    );
  } finally {
    client.release();
  }
  t.equal(lines.length, 2);
  for (const line of lines) t.notMatch(line, /private/);
  t.match(lines[0], /letter_body_check/, 'what is wrong is told');
});
