import Type from 'typebox';
import type { ImErrorName, ImRefusal, ImResult } from '../../wire/index.ts';
import { isMap, markFault } from '../audience/terms.ts';
import type { Account } from '../model.ts';
import { namesOf } from './account-names.ts';
import type { Call, RestServices } from './command.ts';

/** Lists of accounts with their tags or attributes, as the commands of API reference §8.3 and §8.4 take them. */

/** Accounts of one call. */
export const maxAccounts = 500;
const maxTagsOfCall = 10;

/** An entry of a list: the account, and what is said of it. */
export interface MarkEntry<T> {
  readonly account: Account;
  readonly marks: T;
}

/** The field of a request that `readEntries` reads; `key` and `marks`: what an entry has besides its account. */
export function entriesField(description: string, key: string, marks: object) {
  return Type.Unsafe<unknown>({
    type: 'array',
    description,
    minItems: 1,
    maxItems: maxAccounts,
    items: {
      type: 'object',
      required: ['To_Account', key],
      properties: { To_Account: { type: 'string', description: 'Name of an account.' }, [key]: marks },
    },
    'x-opaque': true,
  });
}

/** A list of names that `readNames` reads. */
export function namesField() {
  return Type.Unsafe<unknown>({
    type: 'array',
    description: 'Names of accounts.',
    minItems: 1,
    maxItems: maxAccounts,
    items: { type: 'string' },
    'x-opaque': true,
  });
}

/**
 * Reads such a list, in which every account has to exist: nothing is changed where one does not. `read` reads what is said of one.
 * `error`: what a list of a wrong form is.
 */
export async function readEntries<T>(
  { app }: Pick<Call<unknown>, 'app'>,
  { accounts }: Pick<RestServices, 'accounts'>,
  value: unknown,
  {
    field,
    key,
    error,
    read,
  }: { field: string; key: string; error: ImErrorName; read: (value: unknown, at: string) => ImResult<T> },
): Promise<ImResult<MarkEntry<T>[]>> {
  const list = readList(value, field, error);
  if (!list.ok) return list;
  const entries: { name: string; marks: T }[] = [];
  for (const [i, entry] of list.value.entries()) {
    const at = `${field}[${i}]`;
    if (!isMap(entry)) return { ok: false, error, field: at, reason: 'must be an object' };
    const name = entry.To_Account;
    if (typeof name !== 'string') {
      return {
        ok: false,
        error: 'MARKED_ACCOUNT',
        field: `${at}.To_Account`,
        reason: 'must be the name of an account',
      };
    }
    const marks = read(entry[key], `${at}.${key}`);
    if (!marks.ok) return marks;
    entries.push({ name, marks: marks.value });
  }
  const names = entries.map(({ name }) => name);
  const found: ReadonlyMap<string, Account> = await accounts.findMany(app.sdkAppId, namesOf(names));
  const marked: MarkEntry<T>[] = [];
  for (const [i, { name, marks }] of entries.entries()) {
    const account = found.get(name);
    if (account === undefined) return noAccount(`${field}[${i}].To_Account`);
    marked.push({ account, marks });
  }
  return { ok: true, value: marked };
}

/** Reads a list of names. An account that there is not is answered for as one that has nothing. */
export async function readNames(
  { app }: Pick<Call<unknown>, 'app'>,
  { accounts }: Pick<RestServices, 'accounts'>,
  value: unknown,
  error: ImErrorName,
): Promise<ImResult<{ names: readonly string[]; found: ReadonlyMap<string, Account> }>> {
  const list = readList(value, 'To_Account', error);
  if (!list.ok) return list;
  const wrong = list.value.findIndex((name) => typeof name !== 'string');
  if (wrong !== -1) {
    return {
      ok: false,
      error: 'MARKED_ACCOUNT',
      field: `To_Account[${wrong}]`,
      reason: 'must be the name of an account',
    };
  }
  const names = list.value as readonly string[];
  return { ok: true, value: { names, found: await accounts.findMany(app.sdkAppId, namesOf(names)) } };
}

function readList(value: unknown, field: string, error: ImErrorName): ImResult<readonly unknown[]> {
  const allowed = `1 … ${maxAccounts} entries`;
  if (!Array.isArray(value)) return { ok: false, error, field, reason: 'must be an array', allowed };
  if (value.length === 0) return { ok: false, error, field, reason: 'must not be empty', allowed };
  if (value.length <= maxAccounts) return { ok: true, value };
  return { ok: false, error: 'TOO_MANY_USERS', field, reason: `has ${value.length} entries`, allowed };
}

/** Tags of an entry. `error`: what a list of a wrong form is. */
export function readTags(error: ImErrorName): (value: unknown, at: string) => ImResult<readonly string[]> {
  return (value, at) => {
    const allowed = `1 … ${maxTagsOfCall} tags`;
    if (!Array.isArray(value)) return { ok: false, error, field: at, reason: 'must be an array', allowed };
    if (value.length === 0) return { ok: false, error, field: at, reason: 'must not be empty', allowed };
    if (value.length > maxTagsOfCall) {
      return { ok: false, error: 'TOO_MANY_TAGS', field: at, reason: `has ${value.length} tags`, allowed };
    }
    for (const [i, tag] of value.entries()) {
      const refusal = checkMark(tag, `${at}[${i}]`, error);
      if (refusal !== undefined) return refusal;
    }
    return { ok: true, value };
  };
}

/** Refuses what can be no tag, and no name or value of an attribute. `error`: what is none at all. */
export function checkMark(value: unknown, field: string, error: ImErrorName): ImRefusal | undefined {
  const fault = markFault(value);
  if (fault === undefined) return undefined;
  const { kind, reason, allowed } = fault;
  return { ok: false, error: kind === 'type' ? error : 'MARK_LENGTH', field, reason, allowed };
}

export function noAccount(field: string): ImRefusal {
  return { ok: false, error: 'MARKED_ACCOUNT', field, reason: 'no account of the app has this name' };
}
