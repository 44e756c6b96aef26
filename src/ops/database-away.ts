import pg from 'pg';
import type { Logger } from '../observe/index.ts';
import type { Handle } from './answer.ts';

/** Makes a database that does not answer an expected refusal of a command: DATABASE_UNAVAILABLE. */
export type Asking = (handle: Handle) => Handle;

export function createAsking({ logger }: { logger: Logger }): Asking {
  return (handle) => async (call) => {
    try {
      return await handle(call);
    } catch (error) {
      if (!isDatabaseAway(error)) throw error;
      logger.error({ err: error }, 'ops.database.failed');
      return { ok: false, code: 'DATABASE_UNAVAILABLE', reason: 'whether anything was changed is not known' };
    }
  };
}

/** Errors of connections are plain ones, of Node or pg; those that PostgreSQL sends tell by their class. */
function isDatabaseAway(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return /^(08|25P|40|53|57|58)/.test(error.code ?? '');
  return error instanceof AggregateError || (error instanceof Error && error.constructor === Error);
}
