import { type CallbackOrigin, type ImErrorName, type ImResult, messageKey } from '../../wire/index.ts';
import { failureOf } from '../failure.ts';
import type { Account } from '../model.ts';
import type { Draft, Sent } from '../services.ts';
import { accountsByName } from './account-names.ts';
import type { RestServices } from './command.ts';
import type { CommandResult } from './envelope.ts';
import { errorCode } from './service-table.ts';

interface BatchInput {
  readonly from: Account;
  readonly names: readonly string[];
  readonly draft: Draft;
  readonly origin: CallbackOrigin;
  readonly deadline: AbortSignal;
}

/** Messages of one batch that are on their way at once: enough to fill commits, few enough to leave room for others. */
const maxInFlight = 64;

/**
 * Sends one draft to many (B1). Each receiver's message is committed by itself; those that fail are listed. A failure of the
 * database is a failure of the receivers that it met.
 */
export async function sendToMany(
  { from, names, draft, origin, deadline }: BatchInput,
  { accounts, messages }: Pick<RestServices, 'accounts' | 'messages'>,
): Promise<CommandResult> {
  const receivers = [...new Set(names)];
  const found = await accountsByName(accounts, from.sdkAppId, receivers);

  async function sendTo(name: string): Promise<ImResult<Sent>> {
    const to = found.get(name);
    if (to === undefined) return { ok: false, error: 'ACCOUNT_NOT_REGISTERED' };
    if (deadline.aborted) return { ok: false, error: 'TIMED_OUT' };
    try {
      // B3
      const silent = { withoutBefore: 'kind', withoutAfter: 'kind' } as const;
      return await messages.send({ from, to, draft, authority: 'administrator', ...silent, origin, deadline });
    } catch (error) {
      return { ok: false, error: failureOf(error) };
    }
  }

  const results = await mapBounded(receivers, maxInFlight, sendTo);
  const failed: { To_Account: string; error: ImErrorName }[] = [];
  let firstKey: string | undefined;
  for (const [i, result] of results.entries()) {
    if (result.ok) firstKey ??= messageKey(result.value);
    else failed.push({ To_Account: receivers[i] ?? '', error: codeOfReceiver(result.error) });
  }
  const ErrorList = failed.map(({ To_Account, error }) => ({ To_Account, ErrorCode: listedCode(error) }));
  if (failed.length === 0) return { ok: true, answer: { MsgKey: firstKey } };
  if (firstKey !== undefined) return { ok: true, status: 'SomeError', answer: { MsgKey: firstKey, ErrorList } };
  const errors = new Set(failed.map(({ error }) => error));
  const [only = 'RECEIVER_UNKNOWN'] = errors;
  const error = errors.size > 1 || only === 'ACCOUNT_NOT_REGISTERED' ? 'RECEIVER_UNKNOWN' : only;
  const reason = errors.size > 1 ? 'no receiver got it; ErrorList says why' : undefined;
  return { ok: false, error, ...(reason === undefined ? {} : { reason }), answer: { ErrorList } };
}

/** An account that was deleted while it was sent to is like one that was not there before. */
function codeOfReceiver(error: ImErrorName): ImErrorName {
  return error === 'RECEIVER_UNKNOWN' ? 'ACCOUNT_NOT_REGISTERED' : error;
}

/** In the list an unknown account has the number that it has in general, 70107 (API reference §3.2). */
function listedCode(error: ImErrorName): number {
  return errorCode(error === 'ACCOUNT_NOT_REGISTERED' ? undefined : 'openim', error);
}

/** Runs `fn` over the items, at most so many at once; results in the order of the items. */
async function mapBounded<T, R>(items: readonly T[], limit: number, fn: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const entries = items.entries();
  async function work(): Promise<void> {
    // All workers draw from one iterator.
    for (const [i, item] of entries) results[i] = await fn(item);
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work));
  return results;
}
