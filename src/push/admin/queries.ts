import type { PushChannel, Refusal, Result } from '../../store/index.ts';
import { pushChannels } from '../../store/index.ts';

/** What operators ask of pushes, read and checked. Values come from a query, a body, or the command line. */

export const pushStates = ['waiting', 'accepted', 'skipped', 'expired', 'gone', 'dead', 'dropped'] as const;
export type PushState = (typeof pushStates)[number];

/** Which pushes. */
export interface PushQuery {
  readonly state: PushState | undefined;
  /** Of a receiver. */
  readonly account: string | undefined;
  /** Of a message: its key; with the account that got it. */
  readonly key: string | undefined;
  /** Of a group's message, by id and seq. */
  readonly group: string | undefined;
  readonly seq: number | undefined;
  readonly campaign: number | undefined;
  readonly limit: number;
  /** Those made before this one. */
  readonly before: number | undefined;
}

/** What is done to pushes that have been given up, or wait. */
export interface PushOrder {
  /** Undefined: all, which has to be said. */
  readonly ids: readonly number[] | undefined;
  readonly channel: PushChannel | undefined;
  readonly campaign: number | undefined;
}

export interface DropOrder extends PushOrder {
  readonly state: 'waiting' | 'dead';
}

export const queryFields = ['state', 'account', 'key', 'group', 'seq', 'campaign', 'limit', 'before'] as const;
export const orderFields = ['ids', 'all', 'channel', 'campaign'] as const;
export const dropFields = [...orderFields, 'state'] as const;
export const pauseFields = ['channel'] as const;

const maxIds = 1_000;
const idForm = 'the number of a push, as lists show it';

export function parseQuery(input: unknown): Result<PushQuery> {
  const fields = new Fields(input, queryFields);
  const query: PushQuery = {
    state: fields.word('state', pushStates),
    account: fields.text('account', /^[^\0]{1,32}$/u, 'the name of an account'),
    key: fields.text('key', /^\d{1,10}_\d{1,10}_\d{1,10}$/, 'the MsgKey of a message: MsgSeq_MsgRandom_MsgTime'),
    group: fields.text('group', /^[\x21-\x7e]{1,48}$/, 'the id of a group'),
    seq: fields.integer('seq', 1, Number.MAX_SAFE_INTEGER),
    campaign: fields.integer('campaign', 1, Number.MAX_SAFE_INTEGER),
    limit: fields.integer('limit', 1, 500) ?? 50,
    before: fields.integer('before', 1, Number.MAX_SAFE_INTEGER),
  };
  if ((query.group === undefined) !== (query.seq === undefined)) {
    fields.refuse(query.group === undefined ? 'group' : 'seq', 'is missing', 'group and seq together');
  }
  if (query.key !== undefined && query.account === undefined) {
    fields.refuse('account', 'is missing', 'with key: the account that got the message');
  }
  return fields.result(query);
}

export function parseOrder(input: unknown): Result<PushOrder> {
  const fields = new Fields(input, orderFields);
  return fields.result(readOrder(fields));
}

export function parseDrop(input: unknown): Result<DropOrder> {
  const fields = new Fields(input, dropFields);
  const order = readOrder(fields);
  const state = fields.word('state', ['waiting', 'dead']);
  if (state === undefined) fields.refuse('state', 'is missing', 'waiting, dead');
  return fields.result({ ...order, state: state ?? 'dead' });
}

export function parseChannel(input: unknown): Result<PushChannel | undefined> {
  const fields = new Fields(input ?? {}, pauseFields);
  return fields.result(fields.word('channel', pushChannels));
}

function readOrder(fields: Fields): PushOrder {
  const ids = fields.ids('ids');
  const channel = fields.word('channel', pushChannels);
  const campaign = fields.integer('campaign', 1, Number.MAX_SAFE_INTEGER);
  const all = fields.flag('all');
  const other = channel !== undefined ? 'channel' : campaign !== undefined ? 'campaign' : all ? 'all' : undefined;
  if (ids !== undefined && other !== undefined) fields.refuse(other, 'stands beside ids', 'ids alone');
  // Nobody means everything by saying nothing.
  if (ids === undefined && other === undefined) {
    fields.refuse('all', 'is missing, and so are ids and any filter', 'ids, channel, campaign; or all');
  }
  return { ids, channel, campaign };
}

/** Reads fields and keeps the first refusal. Numbers may come as text, as they do in URLs. */
class Fields {
  refusal: Refusal | undefined;
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(input: unknown, names: readonly string[]) {
    const isMap = typeof input === 'object' && input !== null && !Array.isArray(input);
    this.#values = isMap ? (input as Record<string, unknown>) : {};
    if (!isMap) this.refusal = { ok: false, code: 'BAD_REQUEST', reason: 'must be a JSON object' };
    const unknown = Object.keys(this.#values).find((name) => !names.includes(name));
    if (unknown !== undefined) this.refuse(unknown.slice(0, 100), 'is no field of this', names.join(', '));
  }

  refuse(field: string, reason: string, allowed: string): void {
    this.refusal ??= { ok: false, code: 'INVALID_FIELD', field, reason, allowed };
  }

  result<T>(value: T): Result<T> {
    return this.refusal ?? { ok: true, value };
  }

  word<T extends string>(name: string, words: readonly T[]): T | undefined {
    const value = this.#values[name];
    if (value === undefined || words.includes(value as T)) return value as T | undefined;
    this.refuse(name, 'has a value that there is not', words.join(', '));
    return undefined;
  }

  text(name: string, pattern: RegExp, allowed: string): string | undefined {
    const value = this.#values[name];
    if (value === undefined || (typeof value === 'string' && pattern.test(value))) return value as string | undefined;
    this.refuse(name, 'has a wrong form', allowed);
    return undefined;
  }

  integer(name: string, least: number, most: number): number | undefined {
    const value = this.#values[name];
    if (value === undefined) return undefined;
    const number = toInteger(value);
    if (number !== undefined && number >= least && number <= most) return number;
    this.refuse(name, 'is no whole number in range', `${least} … ${most}`);
    return undefined;
  }

  flag(name: string): boolean {
    const value = this.#values[name];
    if (value === undefined || value === false || value === 'false') return false;
    if (value === true || value === 'true') return true;
    this.refuse(name, 'is no yes or no', 'true, false');
    return false;
  }

  ids(name: string): number[] | undefined {
    const value = this.#values[name];
    if (value === undefined) return undefined;
    const ids = Array.isArray(value) ? value.map(toInteger) : [];
    if (ids.length === 0 || ids.length > maxIds || ids.some((id) => id === undefined || id < 1)) {
      this.refuse(name, 'is no list of pushes', `1 to ${maxIds} numbers: ${idForm}`);
      return undefined;
    }
    return ids as number[];
  }
}

function toInteger(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^[0-9]{1,16}$/.test(value) ? Number(value) : value;
  return Number.isSafeInteger(number) ? (number as number) : undefined;
}
