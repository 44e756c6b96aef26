import type pg from 'pg';

/** Deadlock, serialisation failure: PostgreSQL has taken all of it back, and the same may succeed. */
const passingStates = new Set<unknown>(['40001', '40P01']);
const maxTries = 3;

/** Work that PostgreSQL takes back for the sake of others' is done again: nobody loses what became of a push for that. */
export async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === maxTries || !passingStates.has((error as { code?: unknown }).code)) throw error;
    }
  }
}

/** Work in a transaction of its own, {@link retried}. A connection on which it cannot even be taken back is not used again. */
export function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  return retried(async () => {
    const client = await pool.connect();
    let isBroken = true;
    try {
      await client.query('begin');
      const result = await work(client);
      await client.query('commit');
      isBroken = false;
      return result;
    } catch (error) {
      await client.query('rollback').then(
        () => {
          isBroken = false;
        },
        () => {},
      );
      throw error;
    } finally {
      client.release(isBroken);
    }
  });
}
