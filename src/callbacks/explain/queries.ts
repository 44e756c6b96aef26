import type { Result } from '../../store/index.ts';
import { type AccountId, type CallbackCommand, groupIdForm } from '../../wire/index.ts';
import { type Cursor, parseCursor } from './cursor.ts';
import { allowedEvent, createFields, type EventName, type Fields, parseEventName } from './fields.ts';

/** What operators ask of callbacks, read and checked. */

/** A MsgKey and what it is made of. */
export interface MessageKey {
  readonly text: string;
  readonly msgSeq: number;
  readonly random: number;
  /** Unix seconds. */
  readonly time: number;
}

/** What became of an event so far. */
export const eventStates = ['waiting', 'delivered', 'dead', 'dropped', 'superseded'] as const;
export type EventState = (typeof eventStates)[number];

/** Which events are meant; what is not given leaves all. */
export interface EventFilter {
  readonly command?: CallbackCommand;
  /** Of whom it tells: events of his conversations and his own. */
  readonly account?: AccountId;
  /** One conversation, whoever of the two sent. */
  readonly pair?: readonly [AccountId, AccountId];
  readonly groupId?: string;
}

export interface Range {
  readonly sinceMs: number;
  readonly untilMs: number;
}

export interface Page {
  readonly limit: number;
  readonly after: Cursor | undefined;
}

export type ExplainQuery =
  | {
      readonly by: 'message';
      readonly from: AccountId;
      readonly to: AccountId;
      readonly message: MessageKey | { seq: number };
    }
  | { readonly by: 'group-message'; readonly groupId: string; readonly seq: number }
  | { readonly by: 'event'; readonly event: EventName }
  /** A question before an action, by the webhook-id that it had. */
  | { readonly by: 'question'; readonly webhookId: string }
  | { readonly by: 'range'; readonly filter: EventFilter; readonly range: Range; readonly page: Page };

export interface ListQuery {
  readonly filter: EventFilter;
  readonly state: EventState | undefined;
  readonly range: Range;
  readonly page: Page;
}

const dayMs = 86_400_000;
const maxRangeMs = 31 * dayMs;
const maxLimit = 1_000;
const maxU32 = 4_294_967_295;

export const filterFields = ['command', 'account', 'from', 'to', 'group'] as const;
const rangeFields = ['since', 'until'] as const;
const pageFields = ['limit', 'after'] as const;
export const explainFields = ['id', 'key', 'seq', ...filterFields, ...rangeFields, ...pageFields] as const;
export const listFields = ['state', ...filterFields, ...rangeFields, ...pageFields] as const;

/** `{ from, to, key }`, `{ from, to, seq }`, `{ group, seq }`, `{ id }`, or any of account, group, command and a time range. Pure. */
export function parseExplain(input: unknown, nowMs: number): Result<ExplainQuery> {
  const fields = createFields(input, explainFields, nowMs);
  const beside = (names: readonly string[], name: string) => {
    const other = names.find((one) => fields.has(one));
    if (other !== undefined) fields.refuse(other, `stands beside ${name}`, `${name} alone`);
  };
  if (fields.has('id')) {
    beside(
      explainFields.filter((name) => name !== 'id'),
      'id',
    );
    return readName(fields);
  }
  if (!fields.has('key') && !fields.has('seq')) {
    return fields.result({ by: 'range', ...readRange(fields, nowMs, dayMs) });
  }
  const name = fields.has('key') ? 'key' : 'seq';
  beside(['account', 'command', 'state', ...rangeFields, ...pageFields], name);
  if (fields.has('key')) beside(['seq', 'group'], 'key');
  const { pair = ['', ''] as never, groupId } = readFilter(fields);
  if (groupId !== undefined) {
    const seq = fields.integer('seq', { least: 1, most: Number.MAX_SAFE_INTEGER }) ?? 0;
    return fields.result({ by: 'group-message', groupId, seq });
  }
  if (!fields.has('from')) fields.refuse('from', 'is missing', 'the account that sent the message');
  const [from, to] = pair;
  const key = readKey(fields);
  const message = key ?? { seq: fields.integer('seq', { least: 1, most: Number.MAX_SAFE_INTEGER }) ?? 0 };
  return fields.result({ by: 'message', from, to, message });
}

/** What callbacks are named by: those that tell by a number, those that ask by one of their own. */
function readName(fields: Fields): Result<ExplainQuery> {
  const text = String(fields.value('id')).slice(0, 100);
  if (/^cb_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text))
    return fields.result({ by: 'question', webhookId: text });
  const event = parseEventName(fields.value('id'));
  if (event === undefined) {
    const reason = text.startsWith('cb_test_') ? 'is of a test, which nothing caused' : 'is no number of an event';
    fields.refuse('id', reason, allowedEvent);
  }
  return fields.result({ by: 'event', event: event ?? { id: 0, epoch: undefined } });
}

/** Any of state, account, from and to, group, command and a time range; `only`: the state is said already. Pure. */
export function parseList(input: unknown, nowMs: number, only?: EventState): Result<ListQuery> {
  const known = only === undefined ? listFields : listFields.filter((name) => name !== 'state');
  const fields = createFields(input, known, nowMs);
  const state = only ?? fields.choice('state', eventStates);
  // What waits or was given up stays until somebody sees to it.
  const defaultMs = state === 'waiting' || state === 'dead' ? maxRangeMs : dayMs;
  return fields.result({ state, ...readRange(fields, nowMs, defaultMs) });
}

export function readFilter(fields: Fields): EventFilter {
  const command = fields.command('command');
  const account = fields.account('account');
  const from = fields.account('from');
  const to = fields.account('to');
  if (fields.has('from') !== fields.has('to')) {
    fields.refuse(fields.has('from') ? 'to' : 'from', 'is missing', 'the other account of the conversation');
  }
  if (fields.has('account') && fields.has('from')) fields.refuse('account', 'stands beside from and to', 'one of both');
  for (const name of ['account', 'from'] as const) {
    if (fields.has('group') && fields.has(name)) fields.refuse('group', `stands beside ${name}`, 'one of both');
  }
  const groupId = fields.text('group', groupIdForm.pattern, `the id of a group: ${groupIdForm.allowed}`);
  return {
    ...(command === undefined ? {} : { command }),
    ...(account === undefined ? {} : { account }),
    ...(from === undefined || to === undefined ? {} : { pair: [from, to] as const }),
    ...(groupId === undefined ? {} : { groupId }),
  };
}

function readRange(
  fields: Fields,
  nowMs: number,
  defaultMs: number,
): { filter: EventFilter; range: Range; page: Page } {
  const filter = readFilter(fields);
  const range = readTimes(fields, nowMs, defaultMs);
  const limit = fields.integer('limit', { least: 1, most: maxLimit }) ?? 50;
  const after = fields.text('after', /^[0-9.-]{1,80}$/, allowedCursor);
  const cursor =
    after === undefined ? undefined : (parseCursor(after) ?? fields.refuse('after', 'is no cursor', allowedCursor));
  return { filter, range, page: { limit, after: cursor } };
}

const allowedCursor = 'what `next` of the page before says';

/** The last while, unless something else is said. */
function readTimes(fields: Fields, nowMs: number, defaultMs: number): Range {
  const untilMs = fields.moment('until') ?? nowMs;
  const sinceMs = fields.moment('since') ?? untilMs - defaultMs;
  const allowed = `a range of at most ${maxRangeMs / dayMs} days, its begin first`;
  if (sinceMs > untilMs) fields.refuse('since', 'is after until', allowed);
  if (untilMs - sinceMs > maxRangeMs) fields.refuse('since', 'is too long before until', allowed);
  return { sinceMs, untilMs };
}

function readKey(fields: Fields): MessageKey | undefined {
  const allowed = 'MsgSeq_MsgRandom_MsgTime, such as 20481_771231_1543500000';
  const text = fields.text('key', /^\d{1,10}_\d{1,10}_\d{1,10}$/, allowed);
  return text === undefined
    ? undefined
    : (parseMessageKey(text) ?? fields.refuse('key', 'has a part that is too large', allowed));
}

/** `MsgSeq_MsgRandom_MsgTime`. Pure. */
export function parseMessageKey(text: string): MessageKey | undefined {
  const parts = /^\d{1,10}_\d{1,10}_\d{1,10}$/.test(text) ? text.split('_').map(Number) : [];
  const [msgSeq, random, time] = parts;
  if (msgSeq === undefined || random === undefined || time === undefined || Math.max(...parts) > maxU32)
    return undefined;
  return { text: parts.join('_'), msgSeq, random, time };
}
