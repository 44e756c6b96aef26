import type { Refusal, Result } from '../../store/index.ts';
import { type AccountId, type CallbackCommand, callbackCommands, parseAccountId } from '../../wire/index.ts';

/**
 * Reads the fields of a request, whether they come as JSON or as the texts of a query. What is wrong first is told by `result`; until
 * then a field that is wrong counts as missing.
 */
export interface Fields {
  has(name: string): boolean;
  value(name: string): unknown;
  account(name: string): AccountId | undefined;
  command(name: string): CallbackCommand | undefined;
  integer(name: string, bounds: { least: number; most: number }): number | undefined;
  /** `2026-11-26T10:00:00Z`, `2026-11-26`, or how long ago: `2h`. Milliseconds. */
  moment(name: string): number | undefined;
  choice<T extends string>(name: string, words: readonly T[]): T | undefined;
  flag(name: string): boolean;
  /** A text that the form recognises. */
  text(name: string, form: RegExp, allowed: string): string | undefined;
  /** Events, named `cb_…` or by their number alone; in a query separated by commas. */
  events(name: string, most: number): readonly EventName[] | undefined;
  refuse(field: string, reason: string, allowed: string): undefined;
  /** The value, unless something was wrong. */
  result<T>(value: T): Result<T>;
}

/** How an event is named. Without an epoch: by its number alone. */
export interface EventName {
  readonly id: number;
  /** Of the database that gave it that number. */
  readonly epoch: string | undefined;
}

const allowedMoment =
  'a date (its begin in UTC) or a time with its zone, such as 2026-11-26 or 2026-11-26T10:00:00+08:00; or how long ago: 90s, 30m, 2h, 3d';
export const allowedEvent = 'the number of an event, or its webhook-id';
const unitMs: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const maxId = Number.MAX_SAFE_INTEGER;

export function createFields(input: unknown, known: readonly string[], nowMs: number): Fields {
  let refusal: Refusal | undefined;
  const refuse: Fields['refuse'] = (field, reason, allowed) => {
    refusal ??= { ok: false, code: 'INVALID_FIELD', ...(field === '' ? {} : { field }), reason, allowed };
    return undefined;
  };

  let values = new Map<string, unknown>();
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    refuse('', 'the request is no object', `an object with any of ${known.join(', ')}`);
  } else {
    values = new Map(Object.entries(input).filter(([, value]) => value !== undefined && value !== null));
    const stray = [...values.keys()].find((name) => !known.includes(name));
    if (stray !== undefined) refuse(stray.slice(0, 100), 'is not a known field', known.join(', '));
    for (const [name, value] of values) {
      if (Array.isArray(value) && name !== 'ids') refuse(name, 'is given more than once', 'one value');
    }
  }

  function integerOf(value: unknown): number | undefined {
    if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined;
    return typeof value === 'string' && /^-?[0-9]{1,16}$/.test(value) ? Number(value) : undefined;
  }

  function read<T>(name: string, parse: (value: unknown) => T | undefined, reason: string, allowed: string) {
    if (!values.has(name)) return undefined;
    return parse(values.get(name)) ?? refuse(name, reason, allowed);
  }

  return {
    has: (name) => values.has(name),
    value: (name) => values.get(name),
    refuse,

    account(name) {
      if (!values.has(name)) return undefined;
      const account = parseAccountId(values.get(name));
      return account.ok ? account.value : refuse(name, account.reason, 'an account');
    },

    command(name) {
      const find = (value: unknown) => callbackCommands.find((command) => command === value);
      return read(name, find, 'is no callback', callbackCommands.join(', '));
    },

    integer(name, { least, most }) {
      const within = (value: unknown) => {
        const number = integerOf(value);
        return number !== undefined && number >= least && number <= most ? number : undefined;
      };
      return read(name, within, 'is out of bounds', `a whole number from ${least} to ${most}`);
    },

    moment: (name) => read(name, (value) => parseMoment(value, nowMs), 'is no time', allowedMoment),

    choice: (name, words) =>
      read(name, (value) => words.find((word) => word === value), 'is none of the allowed words', words.join(', ')),

    flag(name) {
      const value = values.get(name);
      if (value === undefined) return false;
      if (value === true || value === 'true') return true;
      if (value !== false && value !== 'false') refuse(name, 'is neither true nor false', 'true or false');
      return false;
    },

    text(name, form, allowed) {
      const fitting = (value: unknown) => (typeof value === 'string' && form.test(value) ? value : undefined);
      return read(name, fitting, 'has not the right form', allowed);
    },

    events(name, most) {
      const value = values.get(name);
      if (value === undefined) return undefined;
      const list = Array.isArray(value) ? value : typeof value === 'string' ? value.split(',') : [value];
      if (list.length === 0 || list.length > most)
        return refuse(name, 'has too few or too many', `1 to ${most} of them`);
      const events = list.map(parseEventName);
      const wrong = events.indexOf(undefined);
      if (wrong >= 0) return refuse(`${name}[${wrong}]`, 'is no number of an event', allowedEvent);
      return [...new Map(events.map((event) => [`${event?.epoch} ${event?.id}`, event as EventName])).values()];
    },

    result: (value) => refusal ?? { ok: true, value },
  };
}

/** `17`, or the `webhook-id` of an event that was told: `cb_0a1b2c3d_17`. Pure. */
export function parseEventName(value: unknown): EventName | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const [, epoch, digits] = /^(?:cb_([0-9a-f]{8})_)?([1-9][0-9]{0,15})$/.exec(String(value)) ?? [];
  return digits === undefined || Number(digits) > maxId ? undefined : { id: Number(digits), epoch };
}

/** A moment as people write it, in milliseconds. Pure. */
export function parseMoment(value: unknown, nowMs: number): number | undefined {
  if (typeof value !== 'string') return undefined;
  const [, count, unit = ''] = /^([1-9][0-9]{0,6})([smhd])$/.exec(value) ?? [];
  if (count !== undefined) return nowMs - Number(count) * (unitMs[unit] ?? 0);
  // Without a zone it would be another time on each machine.
  const form = /^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?$/;
  const ms = form.test(value) && isDay(value.slice(0, 10)) ? Date.parse(value) : Number.NaN;
  return Number.isFinite(ms) ? Math.trunc(ms) : undefined;
}

/** `2026-02-30` is none, though it can be read as the 2nd of March. */
function isDay(text: string): boolean {
  const ms = Date.parse(text);
  return Number.isFinite(ms) && new Date(ms).toISOString().startsWith(text);
}
