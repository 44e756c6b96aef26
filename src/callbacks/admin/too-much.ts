import pg from 'pg';
import type { Refusal } from '../../store/index.ts';

/** PostgreSQL's: the statement took too long. */
const queryCanceled = '57014';

/** What is to be said when a look-up took longer than a statement may; undefined: the error is another. */
export function refusalOfTooMuch(error: unknown): Refusal | undefined {
  if (!(error instanceof pg.DatabaseError) || error.code !== queryCanceled) return undefined;
  return {
    ok: false,
    code: 'INVALID_FIELD',
    field: 'since',
    reason: 'spans more than can be looked through in time',
    allowed: 'a shorter range, a command, an account or a conversation',
  };
}
