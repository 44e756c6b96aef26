import type { AppSettings, Result } from '../../store/index.ts';
import type { CallbackCommand } from '../../wire/index.ts';
import { endpointsOf, urlHash } from '../endpoint/endpoint.ts';
import { createFields, type EventName, type Fields } from '../explain/fields.ts';
import { type EventFilter, type EventState, filterFields, readFilter } from '../explain/queries.ts';

/** What operators do to events, read and checked. */

/** Which events: those that are named, or those that the filter leaves. */
export interface Selection {
  readonly events: readonly EventName[] | undefined;
  readonly filter: EventFilter;
  /** When they happened. */
  readonly sinceMs: number | undefined;
  readonly untilMs: number | undefined;
}

export interface ReplayOrder {
  /** Undefined with ids: whichever they are in. */
  readonly source: ReplaySource | undefined;
  readonly selection: Selection;
  /** Of the source `outbox`: what became of them. */
  readonly states: readonly EventState[];
  readonly perSec: number;
  /** Only count what it would be. */
  readonly preview: boolean;
}

/** Dead letters, or entries that are done. */
export const replaySources = ['dead', 'outbox'] as const;
export type ReplaySource = (typeof replaySources)[number];

export interface DropOrder {
  /** Undefined with ids: whichever they are. */
  readonly state: 'waiting' | 'dead' | undefined;
  readonly selection: Selection;
}

export interface PauseOrder {
  readonly command?: CallbackCommand;
  readonly urlHash?: string;
}

const narrowing = [...filterFields, 'since', 'until'] as const;
const selectionFields = ['ids', 'all', ...narrowing] as const;
export const replayFields = [...selectionFields, 'source', 'state', 'perSec', 'preview'] as const;
export const dropFields = [...selectionFields, 'state'] as const;
export const retryFields = selectionFields;
export const pauseFields = ['command', 'url', 'urlHash'] as const;
const maxIds = 1_000;

export function parseReplay(input: unknown, nowMs: number): Result<ReplayOrder> {
  const fields = createFields(input, replayFields, nowMs);
  const selection = readSelection(fields, 'all dead letters of the app');
  const source = fields.choice('source', replaySources) ?? (selection.events === undefined ? 'dead' : undefined);
  const state = fields.choice('state', ['delivered', 'dropped', 'superseded']);
  if (fields.has('state') && source === 'dead')
    fields.refuse('state', 'is of no dead letter', 'with source outbox alone');
  if (source === 'outbox' && selection.events === undefined && !fields.has('since')) {
    fields.refuse('since', 'is missing', 'since when events happened that are sent again');
  }
  return fields.result({
    source,
    selection,
    states:
      state === undefined
        ? selection.events === undefined
          ? ['delivered']
          : ['delivered', 'dropped', 'superseded']
        : [state],
    perSec: fields.integer('perSec', { least: 1, most: 1_000 }) ?? 50,
    preview: fields.flag('preview'),
  });
}

export function parseDrop(input: unknown, nowMs: number): Result<DropOrder> {
  const fields = createFields(input, dropFields, nowMs);
  const selection = readSelection(fields, 'everything in that state');
  const state = fields.choice('state', ['waiting', 'dead']);
  if (state === undefined && selection.events === undefined && !fields.has('state')) {
    fields.refuse('state', 'is missing', 'waiting, dead');
  }
  return fields.result({ state, selection });
}

/** Which waiting events are tried again now. */
export function parseRetry(input: unknown, nowMs: number): Result<Selection> {
  const fields = createFields(input, retryFields, nowMs);
  const selection = readSelection(fields, 'all that wait for their next attempt');
  return fields.result(selection);
}

/** What is paused or resumed: all of the app, a command, a URL, or a command at a URL. */
export function parsePause(input: unknown, app: AppSettings, nowMs: number): Result<PauseOrder> {
  const fields = createFields(input ?? {}, pauseFields, nowMs);
  const command = fields.command('command');
  const urls = [...endpointsOf(app).values()].map(({ url }) => url);
  const hashes = urls.map(urlHash);
  if (fields.has('url') && fields.has('urlHash')) fields.refuse('urlHash', 'stands beside url', 'one of both');
  const url = fields.text('url', /^https?:\/\//, 'a URL that callbacks of the app go to');
  const hash = url === undefined ? fields.text('urlHash', /^[0-9a-f]{8}$/, 'eight hexadecimal digits') : urlHash(url);
  if (hash !== undefined && !hashes.includes(hash)) {
    const name = url === undefined ? 'urlHash' : 'url';
    // A URL may carry a key in its query.
    fields.refuse(name, 'is no URL of the app', `one of ${hashes.join(', ')} (urlHash)`);
  }
  return fields.result({
    ...(command === undefined ? {} : { command }),
    ...(hash === undefined ? {} : { urlHash: hash }),
  });
}

/** What is paused already can be resumed, also where the app has that URL no more. */
export function parseResume(input: unknown, nowMs: number): Result<PauseOrder> {
  const fields = createFields(input ?? {}, pauseFields, nowMs);
  const command = fields.command('command');
  const url = fields.text('url', /^https?:\/\//, 'a URL that callbacks of the app went to');
  if (fields.has('url') && fields.has('urlHash')) fields.refuse('urlHash', 'stands beside url', 'one of both');
  const hash = url === undefined ? fields.text('urlHash', /^[0-9a-f]{8}$/, 'eight hexadecimal digits') : urlHash(url);
  return fields.result({
    ...(command === undefined ? {} : { command }),
    ...(hash === undefined ? {} : { urlHash: hash }),
  });
}

function readSelection(fields: Fields, everything: string): Selection {
  const filter = readFilter(fields);
  const events = fields.events('ids', maxIds);
  const sinceMs = fields.moment('since');
  const untilMs = fields.moment('until');
  const all = fields.flag('all');
  const other = [...narrowing, 'all'].find((name) => fields.has(name));
  if (fields.has('ids') && other !== undefined) fields.refuse(other, 'stands beside ids', 'ids alone');
  // Nobody means everything by saying nothing.
  if (!fields.has('ids') && !all && !narrowing.some((name) => fields.has(name))) {
    fields.refuse(
      'all',
      'is missing, and so are ids and any filter',
      `ids, ${narrowing.join(', ')}; or all, which is ${everything}`,
    );
  }
  if (sinceMs !== undefined && untilMs !== undefined && sinceMs > untilMs) {
    fields.refuse('since', 'is after until', 'a time before it');
  }
  return { events, filter, sinceMs, untilMs };
}
