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
  options: Partial<CallbacksOptions> & { clock?: () => number } = {},
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
      random: Math.random,
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
