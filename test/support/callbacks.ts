import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Test } from 'tap';
import { type Callbacks, type CallbacksOptions, createCallbacks } from '../../src/callbacks/index.ts';
import { createMetrics, type Metrics } from '../../src/observe/index.ts';
import { type AppSettings, createControlBus, type Database } from '../../src/store/index.ts';
import type { AfterCommand, SdkAppId } from '../../src/wire/index.ts';
import { completeApp } from './app-settings.ts';
import { makeTestLogger } from './database.ts';

export const callbackSecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

/** A callback as a backend got it. */
export interface Received {
  readonly id: string;
  readonly command: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
  readonly raw: string;
  readonly atMs: number;
}

/** What a backend does with a callback: a status, a whole answer, or by hand. */
export type Behaviour = (
  received: Received,
  response: ServerResponse,
) => number | object | undefined | Promise<number | object | undefined>;

export interface RecordingBackend {
  readonly url: string;
  readonly received: Received[];
  behave(behaviour: Behaviour): void;
  close(): Promise<void>;
}

/** A backend that keeps what it gets. `undefined` from its behaviour: it has answered itself, or never will. */
export async function openRecordingBackend(t: Test, behaviour: Behaviour = () => 200): Promise<RecordingBackend> {
  const received: Received[] = [];
  let behave = behaviour;
  const server = createServer((request: IncomingMessage, response) => {
    void (async () => {
      const raw = await text(request);
      const body = JSON.parse(raw) as Record<string, unknown>;
      const one: Received = {
        id: String(request.headers['webhook-id']),
        command: String(body.CallbackCommand),
        url: request.url ?? '',
        headers: request.headers,
        body,
        raw,
        atMs: performance.now(),
      };
      received.push(one);
      const answer = await behave(one, response);
      if (answer === undefined) return;
      response.statusCode = typeof answer === 'number' ? answer : 200;
      response.setHeader('Content-Type', 'application/json');
      response.end(
        JSON.stringify(typeof answer === 'number' ? { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' } : answer),
      );
    })().catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  t.teardown(close);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/cb`,
    received,
    behave(next) {
      behave = next;
    },
    close,
  };
}

/** An app whose callbacks go there. */
export function callbackApp(sdkAppId: SdkAppId, callbacks: object): AppSettings {
  return completeApp({
    sdkAppId,
    secret: 'a secret of sixteen or more',
    callbacks: { secret: callbackSecret, events: 'all', allowPrivateNetwork: true, ...callbacks },
  });
}

export interface TestCallbacks {
  callbacks: Callbacks;
  metrics: Metrics;
  events: string[];
  setApps(apps: AppSettings[]): void;
  /** Writes an event as im does, and tells of it. Gives its number. */
  event(input: {
    app?: SdkAppId;
    key: string;
    command?: AfterCommand;
    fields?: object;
    atMs?: number;
    silent?: boolean;
  }): Promise<number>;
  close(): Promise<void>;
}

/** Callbacks with their relay on a test's database, for the apps given. */
export async function openCallbacks(
  t: Test,
  { db }: { db: Database },
  apps: AppSettings[],
  options: Partial<CallbacksOptions> & { clock?: () => number; random?: () => number } = {},
): Promise<TestCallbacks> {
  const { logger, events } = makeTestLogger();
  const metrics = createMetrics();
  const control = createControlBus(db, { logger });
  let current = apps;
  const callbacks = await createCallbacks(
    {
      db,
      control,
      apps: { get: (sdkAppId) => current.find((app) => app.sdkAppId === sdkAppId), list: () => current },
      ownAddresses: () => [],
      clock: options.clock ?? Date.now,
      random: options.random ?? Math.random,
      logger,
      metrics,
    },
    { queue: { kind: 'postgres' }, isAlone: true, relay: true, concurrency: 32, ...options },
  );
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= (async () => {
      await callbacks.close();
      await control.close();
    })();
    return closed;
  };
  t.teardown(close);
  return {
    callbacks,
    metrics,
    events,
    setApps(next) {
      current = next;
    },
    async event({
      app = current[0]?.sdkAppId ?? 0,
      key,
      command = 'Group.CallbackAfterSendMsg',
      fields = {},
      atMs,
      silent,
    }) {
      const nowMs = atMs ?? (options.clock ?? Date.now)();
      const body = JSON.stringify({ fields, origin: { platform: 'Android', address: '10.0.0.1' } });
      await db.pool.query('select outbox_event(1, $1, $2, $3, $4, $5)', [app, key, command, body, nowMs]);
      const { rows } = await db.pool.query<{ id: number }>('select max(id) as id from outbox where drain_key = $1', [
        key,
      ]);
      if (silent !== true) callbacks.written(app, key, command);
      return rows[0]?.id ?? 0;
    },
    close,
  };
}

/** An entry of the outbox as it stands. */
export interface EntryState {
  id: number;
  drain_key: string;
  event: AfterCommand;
  created_ms: number;
  next_attempt_ms: number;
  attempts: number;
  done_ms: number | null;
  outcome: string | null;
  status: number | null;
  took_ms: number | null;
  attempt_log: string | null;
}

export async function entriesOf({ db }: { db: Database }, app: SdkAppId): Promise<EntryState[]> {
  const { rows } = await db.pool.query<EntryState>('select * from outbox where sdk_app_id = $1 order by id', [app]);
  return rows;
}

export async function lettersOf({ db }: { db: Database }, app: SdkAppId): Promise<Record<string, unknown>[]> {
  const { rows } = await db.pool.query('select * from dead_letter where sdk_app_id = $1 order by id', [app]);
  return rows;
}

export interface WrittenEvent {
  app: SdkAppId;
  key: string;
  command?: AfterCommand;
  /** As it would stand there; an object as JSON. */
  body?: object | string | null;
  atMs?: number;
  nextAttemptMs?: number;
  attempts?: number;
  log?: string;
  originId?: number;
  message?: { conversationId: number; seq: number };
}

/** Writes entries, and tells nobody. Gives their numbers. */
export async function writeEvents({ db }: { db: Database }, events: readonly WrittenEvent[]): Promise<number[]> {
  const given = events.map(({ app, key, command, body = { fields: {} }, atMs = Date.now(), ...more }, place) => ({
    place,
    day: Math.floor(atMs / 86_400_000),
    app,
    key,
    command: command ?? 'Group.CallbackAfterSendMsg',
    body: body === null || typeof body === 'string' ? body : JSON.stringify(body),
    at: atMs,
    next: more.nextAttemptMs ?? 0,
    attempts: more.attempts ?? 0,
    log: more.log ?? null,
    origin: more.originId ?? null,
    conversation: more.message?.conversationId ?? null,
    seq: more.message?.seq ?? null,
  }));
  const { rows } = await db.pool.query<{ id: number }>(
    `insert into outbox (day, consumer, sdk_app_id, drain_key, event, body, created_ms, next_attempt_ms, attempts, attempt_log,
       origin_id, conversation_id, seq)
     select day, 1, app, key, command, body, at, next, attempts, log, origin, conversation, seq
     from json_to_recordset($1::json) as t(day integer, app bigint, key text, command text, body text, at bigint,
       next bigint, attempts integer, log text, origin bigint, conversation bigint, seq bigint, place bigint)
     order by place returning id`,
    [JSON.stringify(given)],
  );
  return rows.map(({ id }) => id);
}

/** The field `number` of each, in the order in which they came. */
export const numbersOf = (received: readonly Received[]): unknown[] => received.map(({ body }) => body.number);
