import { sql } from 'kysely';
import type { AppSettings, Database } from '../../store/index.ts';
import {
  type AccountId,
  type CallbackCommand,
  callbackCommands,
  isAfterCommand,
  type SdkAppId,
} from '../../wire/index.ts';
import { endpointOf } from '../endpoint/endpoint.ts';
import type { Pauses } from '../pauses.ts';
import {
  after,
  before,
  chainsOf,
  type Explanation,
  type Found,
  groupAfter,
  groupBefore,
  sendCommands,
} from './chain.ts';
import { type Cursor, compareCursors, formatCursor, lastRank } from './cursor.ts';
import { createEpoch } from './epoch.ts';
import { type EventRow, eventColumns, eventRank, nameOf, scanEvents, toEvents } from './events.ts';
import type { EventName } from './fields.ts';
import { readLetters } from './letters.ts';
import { drainKeyIs, findPlaces } from './places.ts';
import {
  type EventFilter,
  type ExplainQuery,
  type MessageKey,
  type Page,
  parseMessageKey,
  type Range,
} from './queries.ts';
import { createSearch, maxTraces, messageRank, traceRank, traceSlackMs } from './search.ts';
import { readTraces, type WrittenTrace } from './traces-read.ts';
import { whyWaiting } from './waiting.ts';
import { timeText } from './words.ts';

export interface Explained {
  readonly explanations: readonly Explanation[];
  /** What holds now, and whatever makes the answer less than it seems. */
  readonly notes: readonly string[];
  /** The cursor of the page after this one. */
  readonly next: string | undefined;
}

export interface ExplainDeps {
  db: Pick<Database, 'kysely'>;
  pauses: Pick<Pauses, 'find'>;
  clock: () => number;
  /** Endpoints, by id, whose circuit is not closed; what this process knows of them. */
  openCircuits?: () => ReadonlySet<string>;
}

/** Says of messages and actions why their callbacks did or did not happen (O3). */
export interface Explain {
  explain(app: AppSettings, query: ExplainQuery): Promise<Explained>;
}

/** How long a look through the outbox may take; the rest is on the next page. */
const scanMs = 3_000;

export function createExplain(deps: ExplainDeps): Explain {
  const { pauses, clock, openCircuits = () => new Set() } = deps;
  const db = deps.db.kysely;
  const epoch = createEpoch(db);
  const search = createSearch(db);

  async function explainMessage(
    app: AppSettings,
    from: AccountId,
    to: AccountId,
    wanted: MessageKey | { seq: number },
  ): Promise<Explained> {
    const { sdkAppId } = app;
    const places = await findPlaces(db, sdkAppId, { pair: [from, to] });
    const notes = [...places.notes];
    const { conversationIds } = places;
    const found =
      conversationIds.length === 0
        ? []
        : await ('seq' in wanted
            ? search.findBySeq(conversationIds, wanted.seq)
            : search.findByKey(conversationIds, wanted));
    const own = found.filter((message) => 'seq' in wanted || message.from === from);
    const exact = own.filter((message) => 'seq' in wanted || message.key === wanted.text);
    const messages = exact.length > 0 ? exact : own;
    if (messages.length > 0) {
      if (exact.length === 0) {
        notes.push(
          'No message has exactly that key: it was stored with a later MsgTime than the backend was asked about it with, or the key is mistyped.',
        );
      }
      const [events, traces] = await Promise.all([
        search.eventsOf(sdkAppId, messages, true),
        search.tracesOf(sdkAppId, messages),
      ]);
      return { explanations: await chain(app, { messages, events, traces }), notes, next: undefined };
    }
    if ('seq' in wanted) {
      notes.push(`The conversation of ${from} and ${to} has no message ${wanted.seq}, or it has expired.`);
      return { explanations: [], notes, next: undefined };
    }
    const atMs = wanted.time * 1_000;
    const traces = await readTraces(
      db,
      sdkAppId,
      sql`t.message_key = ${wanted.text} and t.from_account = ${from} and t.to_account = ${to}`,
      maxTraces,
    );
    const key = drainKeyIs(sql`o.drain_key`, { pair: [from, to] }, places);
    const { rows } =
      key === undefined
        ? { rows: [] }
        : await scanEvents(db, {
            sdkAppId,
            range: { sinceMs: atMs - traceSlackMs, untilMs: atMs + traceSlackMs },
            after: undefined,
            where: sql`o.conversation_id is null and ${key}`,
            limit: 1_000,
            deadline: performance.now() + scanMs,
          });
    const near = (await toEvents(db, rows)).filter(({ about }) => about.key === wanted.text && about.from === from);
    const explanations = await chain(app, { messages: [], events: near, traces });
    if (explanations.length > 0) return { explanations, notes, next: undefined };
    if (found.length > 0) {
      notes.push(`${to} has sent such a message to ${from}: what is asked for by key is \`from\` whoever sent it.`);
    } else {
      notes.push(
        `No message ${wanted.text} of ${from} to ${to} is known: it never came, was a repeat of another (whose key its sender was given), has expired; or it is stored nowhere, being for those online alone or refused, and no callback was wanted of it.`,
        ...standing(app, before),
        ...standing(app, after),
      );
    }
    return { explanations, notes, next: undefined };
  }

  async function explainGroupMessage(
    app: AppSettings,
    groupId: string,
    wanted: { seq: number } | { from: string; message: MessageKey; traces: readonly WrittenTrace[] },
  ): Promise<Explained> {
    const { sdkAppId } = app;
    const { conversationIds, notes } = await findPlaces(db, sdkAppId, { groupId });
    const messages = await ('seq' in wanted
      ? search.findBySeq(conversationIds, wanted.seq)
      : search.findInGroups(sdkAppId, conversationIds, wanted.from, wanted.message));
    if (messages.length === 0) {
      const explanations = 'seq' in wanted ? [] : await chain(app, { messages, events: [], traces: wanted.traces });
      const isMissing = 'seq' in wanted && conversationIds.length > 0;
      const missing = isMissing ? [`The group ${groupId} has no message ${wanted.seq}, or it has expired.`] : [];
      return { explanations, notes: [...notes, ...missing], next: undefined };
    }
    const [events, traces] = await Promise.all([
      search.eventsOf(sdkAppId, messages, true),
      search.tracesOf(sdkAppId, messages),
    ]);
    return { explanations: await chain(app, { messages, events, traces }), notes, next: undefined };
  }

  async function explainQuestion(app: AppSettings, webhookId: string): Promise<Explained> {
    const traces = await readTraces(db, app.sdkAppId, sql`t.webhook_id = ${webhookId}`, 1);
    const [{ from, to, groupId, messageKey } = {}] = traces;
    const message = messageKey === undefined ? undefined : parseMessageKey(messageKey);
    if (from !== undefined && groupId !== undefined && message !== undefined) {
      return explainGroupMessage(app, groupId, { from, message, traces });
    }
    if (from !== undefined && to !== undefined && message !== undefined) {
      return explainMessage(app, from as AccountId, to as AccountId, message);
    }
    const notes =
      traces.length > 0
        ? []
        : [
            `Nothing is noted of a question ${webhookId}: the backend has plainly allowed it, it is of another app, or it is not among the newest 10,000 of the app.`,
          ];
    return { explanations: await chain(app, { messages: [], events: [], traces }), notes, next: undefined };
  }

  async function explainEvent(app: AppSettings, name: EventName): Promise<Explained> {
    const { sdkAppId } = app;
    const { id } = name;
    if (!(await epoch.isOurs(name))) {
      const note = `cb_${name.epoch}_${id} is no event of this database: the names of its events begin with cb_${await epoch.read()}_. It was given by another, or by this one before it was restored.`;
      return { explanations: [], notes: [note], next: undefined };
    }
    const { rows } = await sql<EventRow>`
      select ${eventColumns} from outbox o
      where o.id = any (array[${id}, (select f.origin_id from outbox f where f.id = ${id})]::bigint[])
        and o.sdk_app_id = ${sdkAppId} and o.consumer = 1
      order by o.id`.execute(db);
    const again = await search.againOf(sdkAppId, rows.length > 0 ? rows : [{ id, origin_id: id } as EventRow]);
    const events = await toEvents(db, [...rows, ...again]);
    const places = events.flatMap(({ message }) => message ?? []);
    const [place] = places;
    const messages = place === undefined ? [] : await search.findBySeq([place.conversationId], place.seq);
    const traces = await search.tracesOf(sdkAppId, messages);
    const notes =
      events.length > 0
        ? []
        : [`There is no event ${id} of app ${sdkAppId}: events stay for 7 days after they were told.`];
    return { explanations: await chain(app, { messages, events, traces }), notes, next: undefined };
  }

  async function explainRange(app: AppSettings, filter: EventFilter, range: Range, page: Page): Promise<Explained> {
    const { sdkAppId } = app;
    const { command } = filter;
    const places = await findPlaces(db, sdkAppId, filter);
    const notes = [...places.notes];
    if (command !== undefined) notes.push(...standing(app, command));
    else if (endpointsInUse(app) === 0)
      notes.push('The app wants no callbacks now: it has none switched on, or no URL.');
    else if (filter.groupId !== undefined) notes.push(...unwantedOfGroups(app));
    const limit = page.limit + 1;
    const isSomebodys = filter.account !== undefined || filter.pair !== undefined || filter.groupId !== undefined;
    const key = drainKeyIs(sql`o.drain_key`, filter, places);
    const ofMessages = filter.groupId === undefined ? [before, after] : [groupBefore, groupAfter];
    const isMessages = command === undefined || ofMessages.includes(command);
    const leavesEvents = command === undefined || isAfterCommand(command) || sendCommands.includes(command);
    const wantsEvents = key !== undefined && leavesEvents;
    const told = command === before ? after : command === groupBefore ? groupAfter : command;
    const [messages, scanned, traces] = await Promise.all([
      isSomebodys && isMessages ? search.scanMessages(places, range, page, limit) : [],
      wantsEvents
        ? scanEvents(db, {
            sdkAppId,
            range,
            after: page.after,
            // Of an account all messages are looked at: those of which nobody was told, too.
            where: sql`${key} and ${isSomebodys ? sql`o.conversation_id is null` : sql`true`}
              and ${told === undefined ? sql`true` : sql`o.event = ${told}`}`,
            limit,
            deadline: performance.now() + scanMs,
          })
        : { rows: [], throughMs: range.sinceMs },
      search.scanTraces(sdkAppId, filter, range, page, limit),
    ]);
    const events = await toEvents(db, scanned.rows);

    // One page over all sources, of what all of them have been looked through for.
    const nothing: Found = { messages: [], events: [], traces: [] };
    const entries = [
      ...messages.map((message) => ({
        cursor: { atMs: message.storedMs, rank: messageRank, ids: [message.conversationId, message.seq] },
        found: { ...nothing, messages: [message] },
      })),
      ...events.map((event) => ({
        cursor: { atMs: event.createdMs, rank: eventRank, ids: [event.id] },
        found: { ...nothing, events: [event] },
      })),
      ...traces.map((trace) => ({
        cursor: { atMs: trace.atMs, rank: traceRank, ids: [trace.id] },
        found: { ...nothing, traces: [trace] },
      })),
    ]
      .sort((a, b) => compareCursors(a.cursor, b.cursor))
      .filter(({ cursor }) => cursor.atMs >= scanned.throughMs);
    const shown = entries.slice(0, page.limit);
    const next: Cursor | undefined =
      entries.length > page.limit
        ? shown.at(-1)?.cursor
        : scanned.throughMs > range.sinceMs
          ? { atMs: scanned.throughMs, rank: lastRank, ids: [] }
          : undefined;
    if (next?.rank === lastRank) {
      notes.push(`This is what was found back to ${timeText(scanned.throughMs)}; the next page looks further back.`);
    }
    const found: Found = {
      messages: shown.flatMap((entry) => entry.found.messages),
      events: shown.flatMap((entry) => entry.found.events),
      traces: shown.flatMap((entry) => entry.found.traces),
    };
    return {
      explanations: await chain(app, await completed(sdkAppId, found)),
      notes,
      next: next === undefined ? undefined : formatCursor(next),
    };
  }

  /** Adds what belongs to what was found: entries of messages, messages of entries, questions before them. */
  async function completed(sdkAppId: SdkAppId, found: Found): Promise<Found> {
    const known = new Set(found.messages.map(nameOf));
    const places = found.events.flatMap(({ message }) =>
      message === undefined || known.has(nameOf(message)) ? [] : message,
    );
    const others = places.length === 0 ? [] : await search.findMany(places);
    const messages = [...found.messages, ...others];
    const [events, traces] = await Promise.all([
      search.eventsOf(sdkAppId, found.messages, false),
      search.tracesOf(sdkAppId, messages),
    ]);
    const eventIds = new Set(found.events.map(({ id }) => id));
    const traceIds = new Set(traces.map(({ id }) => id));
    return {
      messages,
      events: [...found.events, ...events.filter(({ id }) => !eventIds.has(id))],
      // A question before a message that is stored is told with it, on whichever page that is.
      traces: [
        ...traces,
        ...(await search.ofNoMessage(
          sdkAppId,
          found.traces.filter(({ id }) => !traceIds.has(id)),
        )),
      ],
    };
  }

  async function chain(app: AppSettings, found: Found): Promise<Explanation[]> {
    const dead = found.events.filter(({ state }) => state === 'dead').map(({ id }) => id);
    const waiting = found.events.filter(({ state }) => state === 'waiting');
    const [letters, name, reasons] = await Promise.all([
      dead.length === 0 ? [] : readLetters(db, app.sdkAppId, sql`d.outbox_id = any (${dead})`, dead.length),
      epoch.read(),
      whyWaiting({ db, pauses, clock, openCircuits }, app, waiting),
    ]);
    return chainsOf(found, {
      webhookId: (originId) => `cb_${name}_${originId}`,
      letters: new Map(letters.map((letter) => [letter.eventId, letter])),
      waits: new Map(waiting.map(({ id }, index) => [id, reasons[index] ?? []])),
    });
  }

  return {
    explain(app, query) {
      switch (query.by) {
        case 'message':
          return explainMessage(app, query.from, query.to, query.message);
        case 'group-message':
          return explainGroupMessage(app, query.groupId, query);
        case 'event':
          return explainEvent(app, query.event);
        case 'question':
          return explainQuestion(app, query.webhookId);
        default:
          return explainRange(app, query.filter, query.range, query.page);
      }
    },
  };
}

const endpointsInUse = (app: AppSettings): number =>
  callbackCommands.filter((command) => endpointOf(app, command) !== undefined).length;

/** Of what happens in a group nothing stays where nobody wants to be told of it; messages remember it themselves. */
function unwantedOfGroups(app: AppSettings): string[] {
  const unwanted = callbackCommands.filter((command) => {
    return command.startsWith('Group.') && !sendCommands.includes(command) && endpointOf(app, command) === undefined;
  });
  if (unwanted.length === 0) return [];
  return [`The app does not want ${unwanted.join(', ')} now: of what would cause them meanwhile nothing is noted.`];
}

/** How it stands with a command now. */
function standing(app: AppSettings, command: CallbackCommand): string[] {
  const endpoint = endpointOf(app, command);
  if (endpoint === undefined) {
    const why =
      app.callbacks.events === 'all' || app.callbacks.events.includes(command)
        ? 'it has no URL'
        : 'it is not among `callbacks.events`';
    return [`The app does not want ${command} now: ${why}. What happens meanwhile causes none.`];
  }
  return [];
}
