import pg from 'pg';
import type { ImErrorName } from '../wire/index.ts';

/**
 * What a rejection of the core is to a caller. The core rejects when the database does not answer: with what PostgreSQL sent (its
 * class tells), or with a plain error of Node or pg when the connection failed. Anything else is a mistake of ours.
 */
export function failureOf(error: unknown): Extract<ImErrorName, 'DATABASE_UNAVAILABLE' | 'INTERNAL'> {
  if (error instanceof pg.DatabaseError) {
    return /^(08|25P|40|53|55|57|58)/.test(error.code ?? '') ? 'DATABASE_UNAVAILABLE' : 'INTERNAL';
  }
  const isPlain = error instanceof AggregateError || (error instanceof Error && error.constructor === Error);
  return isPlain ? 'DATABASE_UNAVAILABLE' : 'INTERNAL';
}
