import type { ImResult } from '../../wire/index.ts';
import type { Sent } from '../services.ts';
import { QueueFull, TooLate } from './commit.ts';

/**
 * What a send comes to, by its deadline at the latest: who sends is told TIMED_OUT then, and what was not begun by then is not stored any
 * more. Rejects with the database's error.
 */
export async function inTime(send: () => Promise<ImResult<Sent>>, deadline: AbortSignal): Promise<ImResult<Sent>> {
  const { promise, resolve } = Promise.withResolvers<ImResult<Sent>>();
  const onAbort = () => resolve({ ok: false, error: 'TIMED_OUT' });
  if (deadline.aborted) onAbort();
  else deadline.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([send(), promise]);
  } catch (error) {
    if (error instanceof TooLate) return { ok: false, error: 'TIMED_OUT' };
    if (error instanceof QueueFull) return { ok: false, error: 'BUSY', reason: error.message };
    throw error;
  } finally {
    deadline.removeEventListener('abort', onAbort);
  }
}

/** How a refusal of a send counts. */
export function outcomeOfRefusal({ error }: { error: string }): 'timed-out' | 'failed' | 'refused' {
  if (error === 'TIMED_OUT') return 'timed-out';
  return error === 'BUSY' ? 'failed' : 'refused';
}
