import { type AccountId, type ImRefusal, type ImResult, parseAccountId } from '../../wire/index.ts';
import { checkGroupIdForm } from '../groups/check-fields.ts';

/** How a terminal names a one-to-one conversation: this, and the other account. */
export const c2cPrefix = 'c2c:';
/** That of a group: this, and its id. */
export const groupPrefix = 'group:';
/** That of the account's own notices. */
export const systemConversation = 'system';

interface Bounds {
  min: number;
  max: number;
}

/**
 * Reads the fields of one request and keeps the first refusal. Whoever reads gives the refusal back before anything is done
 * with what was read: a wrong field reads as what it is when it is absent.
 */
export class FieldReader {
  refusal: ImRefusal | undefined;
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(fields: Readonly<Record<string, unknown>>) {
    this.#fields = fields;
  }

  /** The field as it came; undefined: absent. */
  raw(name: string): unknown {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
  }

  refuse(refusal: Omit<ImRefusal, 'ok'>): void {
    this.refusal ??= { ok: false, ...refusal };
  }

  optionalInteger(name: string, { min, max }: Bounds): number | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
    const allowed = `${min} … ${max === Number.MAX_SAFE_INTEGER ? '2^53 - 1' : max}`;
    this.#invalid(name, 'must be an integer', allowed);
    return undefined;
  }

  integer(name: string, bounds: Bounds): number {
    const value = this.optionalInteger(name, bounds);
    if (value === undefined) this.#missing(name);
    return value ?? bounds.min;
  }

  boolean(name: string, absent: boolean): boolean {
    const value = this.raw(name);
    if (value === undefined || typeof value === 'boolean') return value ?? absent;
    this.#invalid(name, 'must be a boolean', 'true, false');
    return absent;
  }

  /** One of these words. */
  word<T extends string>(name: string, words: readonly T[]): T | undefined {
    const value = this.raw(name);
    if (words.includes(value as T)) return value as T;
    if (value === undefined) this.#missing(name);
    else this.#invalid(name, 'has a value that there is not', words.join(', '));
    return undefined;
  }

  optionalWord<T extends string>(name: string, words: readonly T[]): T | undefined {
    return this.raw(name) === undefined ? undefined : this.word(name, words);
  }

  optionalBoolean(name: string): boolean | undefined {
    return this.raw(name) === undefined ? undefined : this.boolean(name, false);
  }

  /** Any text that a database takes: what is too long for the field says who knows it. */
  optionalPlain(name: string): string | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value === 'string' && value.isWellFormed() && !value.includes('\u0000')) return value;
    const reason = typeof value === 'string' ? 'must be well-formed Unicode without U+0000' : 'must be a string';
    this.#invalid(name, reason);
    return undefined;
  }

  plain(name: string): string {
    const value = this.optionalPlain(name);
    if (value === undefined) this.#missing(name);
    return value ?? '';
  }

  /** The id of a group. */
  group(name = 'group'): string {
    const value = this.raw(name);
    if (value === undefined) this.#missing(name);
    return this.take(parseGroupId(value, name)) ?? '';
  }

  account(name: string): AccountId {
    const value = this.raw(name);
    if (value === undefined) this.#missing(name);
    return this.take(parseAccount(value, name)) ?? ('' as AccountId);
  }

  text(name: string, { pattern, allowed }: { pattern: RegExp; allowed: string }): string {
    const value = this.optionalText(name, { pattern, allowed });
    if (value === undefined) this.#missing(name);
    return value ?? '';
  }

  optionalText(name: string, { pattern, allowed }: { pattern: RegExp; allowed: string }): string | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value === 'string' && pattern.test(value)) return value;
    this.#invalid(name, typeof value === 'string' ? 'has a wrong form' : 'must be a string', allowed);
    return undefined;
  }

  /** The other account of the conversation that the field names. */
  conversation(name = 'conversation'): AccountId {
    const value = this.raw(name);
    if (value === undefined) this.#missing(name);
    const peer = parseConversation(value, name);
    if (peer.ok) return peer.value;
    this.refuse(peer);
    return '' as AccountId;
  }

  /** A list, each entry read by `read`; its first refusal counts. */
  list<T>(name: string, maxItems: number, read: (item: unknown, field: string) => ImResult<T>): T[] {
    const value = this.raw(name);
    if (!Array.isArray(value)) {
      if (value === undefined) this.#missing(name);
      else this.#invalid(name, 'must be an array', `at most ${maxItems} entries`);
      return [];
    }
    if (value.length > maxItems) {
      this.#invalid(name, `has ${value.length} entries`, `at most ${maxItems}`);
      return [];
    }
    const items: T[] = [];
    for (const [index, item] of value.entries()) {
      const result = read(item, `${name}[${index}]`);
      if (result.ok) items.push(result.value);
      else {
        this.refuse(result);
        return [];
      }
    }
    return items;
  }

  object(name: string): Record<string, unknown> {
    const value = this.raw(name);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    if (value === undefined) this.#missing(name);
    else this.#invalid(name, 'must be an object');
    return {};
  }

  /** The value of a result, or undefined and its refusal kept. */
  take<T>(result: ImResult<T>): T | undefined {
    if (result.ok) return result.value;
    this.refuse(result);
    return undefined;
  }

  #missing(field: string): void {
    this.refuse({ error: 'INVALID_FIELD', field, reason: 'is missing' });
  }

  #invalid(field: string, reason: string, allowed?: string): void {
    this.refuse({ error: 'INVALID_FIELD', field, reason, ...(allowed === undefined ? {} : { allowed }) });
  }
}

/** The other account of a conversation as its terminal names it. */
export function parseConversation(value: unknown, field: string): ImResult<AccountId> {
  const invalid = (reason: string): ImRefusal => {
    return { ok: false, error: 'INVALID_FIELD', field, reason, allowed: 'c2c: and an account' };
  };
  if (typeof value !== 'string') return invalid('must be a string');
  if (!value.startsWith(c2cPrefix)) return invalid('is no conversation that there is');
  const account = parseAccountId(value.slice(c2cPrefix.length));
  return account.ok ? account : invalid(`has an account that ${account.reason}`);
}

/** A conversation of any kind as its terminal names it. */
export type NamedConversation = { readonly name: string } & (
  | { readonly kind: 'c2c'; readonly peer: AccountId }
  | { readonly kind: 'group'; readonly groupId: string }
  | { readonly kind: 'system' }
);

export function parseAnyConversation(value: unknown, field: string): ImResult<NamedConversation> {
  if (value === systemConversation) return { ok: true, value: { name: value, kind: 'system' } };
  if (typeof value === 'string' && value.startsWith(groupPrefix)) {
    const groupId = parseGroupId(value.slice(groupPrefix.length), field);
    return groupId.ok ? { ok: true, value: { name: value, kind: 'group', groupId: groupId.value } } : groupId;
  }
  const peer = parseConversation(value, field);
  if (peer.ok) return { ok: true, value: { name: c2cPrefix + peer.value, kind: 'c2c', peer: peer.value } };
  return { ...peer, allowed: 'c2c: and an account; group: and the id of a group; system' };
}

/** The id of a group, as it stands behind the prefix of its conversation. */
export function parseGroupId(value: unknown, field: string): ImResult<string> {
  const refusal = checkGroupIdForm(value);
  return refusal === undefined ? { ok: true, value: value as string } : { ...refusal, field };
}

export function parseAccount(value: unknown, field: string): ImResult<AccountId> {
  const account = parseAccountId(value);
  return account.ok ? account : { ok: false, error: 'INVALID_FIELD', field, reason: account.reason };
}
