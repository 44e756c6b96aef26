import { type AccountId, type ImErrorName, type ImRefusal, parseAccountId, type SdkAppId } from '../../wire/index.ts';
import type { Account } from '../model.ts';
import type { Accounts } from '../services.ts';
import type { Call } from './command.ts';

/** The account that a field names, or the refusal that its absence is. */
export async function accountOf(
  accounts: Pick<Accounts, 'find'>,
  sdkAppId: SdkAppId,
  name: AccountId,
  { field, error }: { field: string; error: ImErrorName },
): Promise<{ ok: true; value: Account } | ImRefusal> {
  const account = await accounts.find(sdkAppId, name);
  if (account !== undefined) return { ok: true, value: account };
  return { ok: false, error, field, reason: 'no account of the app has this name' };
}

/** The account that speaks; absent: the calling administrator. */
export async function senderOf(
  { app, admin }: Pick<Call<unknown>, 'app' | 'admin'>,
  accounts: Pick<Accounts, 'find'>,
  name: AccountId | undefined,
  error: ImErrorName,
): Promise<{ ok: true; value: Account } | ImRefusal> {
  if (name === undefined) return { ok: true, value: admin };
  return await accountOf(accounts, app.sdkAppId, name, { field: 'From_Account', error });
}

/** The accounts of a list by name; a name that can be none's is nobody's. */
export async function accountsByName(
  accounts: Pick<Accounts, 'findMany'>,
  sdkAppId: SdkAppId,
  names: readonly string[],
): Promise<ReadonlyMap<string, Account>> {
  return await accounts.findMany(sdkAppId, namesOf(names));
}

/** Those that can be names of accounts, each once. */
export function namesOf(names: readonly string[]): AccountId[] {
  return [...new Set(names)].flatMap((name) => {
    const parsed = parseAccountId(name);
    return parsed.ok ? [parsed.value] : [];
  });
}
