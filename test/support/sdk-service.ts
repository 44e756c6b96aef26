import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { signUserSig } from '../../src/auth/index.ts';
import { createQalClient, type QalClient, type QalClientOptions, type QalEvent } from '../../src/sdk/node/index.ts';
import type { AppSettings } from '../../src/store/index.ts';
import { type Access, openAccess, testApp, testAppId } from './access.ts';

/** A clock that stands until it is moved. */
export interface TestClock {
  (): number;
  advance(sec: number): void;
}

export function createClock(): TestClock {
  let nowMs = Math.floor(Date.now() / 1_000) * 1_000;
  return Object.assign(() => nowMs, {
    advance(sec: number) {
      nowMs += sec * 1_000;
    },
  });
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

export interface Backend {
  readonly url: string;
  /** What came, in order. */
  readonly requests: IncomingMessage[];
  /** Paths with queries. */
  paths(): string[];
  handler: Handler;
  /** Waits until so many requests have come. */
  until(count: number): Promise<void>;
  close(): Promise<void>;
}

/** A backend on a free port: real HTTP, its Date by the test's clock. Ends with the test. */
export async function openBackend(t: Test, handler: Handler, clock: TestClock = createClock()): Promise<Backend> {
  const requests: IncomingMessage[] = [];
  let wake: () => void = () => {};
  const server = createServer(async (request, response) => {
    requests.push(request);
    wake();
    response.setHeader('Date', new Date(clock()).toUTCString());
    try {
      await backend.handler(request, response);
    } catch (error) {
      response.destroy(error as Error);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const backend: Backend = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    paths: () => requests.map(({ url = '' }) => url),
    handler,
    async until(count) {
      const deadline = AbortSignal.timeout(10_000);
      while (requests.length < count) {
        deadline.throwIfAborted();
        await new Promise<void>((resolve) => {
          wake = resolve;
          deadline.addEventListener('abort', () => resolve());
        });
      }
    },
    async close() {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, 'close');
    },
  };
  t.teardown(() => backend.close());
  return backend;
}

export interface Service {
  readonly access: Access;
  readonly backend: Backend;
  readonly clock: TestClock;
  readonly baseUrl: string;
  readonly events: QalEvent[];
  /** Requests to the session endpoint so far, by result, as the service counts them. */
  sessions(): Promise<Record<string, number>>;
  client(options?: Partial<QalClientOptions>): QalClient;
  /** Waits until an event of this type has come so often. */
  event(type: QalEvent['type'], count?: number): Promise<void>;
}

/** A backend behind the real access service, and clients of it. */
export async function openService(
  t: Test,
  handler: Handler,
  settings: Partial<AppSettings['access']> = {},
): Promise<Service> {
  const clock = createClock();
  const backend = await openBackend(t, handler, clock);
  const access = await openAccess([testApp([backend.url], settings)]);
  t.teardown(() => access.close());
  const baseUrl = `http://127.0.0.1:${access.port}`;
  const events: QalEvent[] = [];
  let wake: () => void = () => {};
  return {
    access,
    backend,
    clock,
    baseUrl,
    events,
    async sessions() {
      const counted = await access.metrics.registry.getSingleMetric('qalgate_proxy_sessions_total')?.get();
      return Object.fromEntries((counted?.values ?? []).map(({ labels, value }) => [labels.result, value]));
    },
    client(options = {}) {
      const client = createQalClient({
        baseUrl,
        sdkAppId: testAppId,
        clock,
        random: () => 0.5,
        onEvent(event) {
          events.push(event);
          wake();
        },
        ...options,
      });
      t.teardown(() => client.close());
      return client;
    },
    async event(type, count = 1) {
      const deadline = AbortSignal.timeout(10_000);
      while (events.filter((event) => event.type === type).length < count) {
        deadline.throwIfAborted();
        await new Promise<void>((resolve) => {
          wake = resolve;
          deadline.addEventListener('abort', () => resolve());
        });
      }
    },
  };
}

/** A UserSig of the test app, issued `ago` seconds ago for `life` seconds. */
export function userSig(identifier: string, { ago = 10, life = 3_600 } = {}): string {
  return signUserSig({
    sdkAppId: testAppId,
    identifier,
    secret: 'a secret of sixteen or more',
    expireSec: life,
    issuedAtSec: Math.floor(Date.now() / 1_000) - ago,
  });
}

/** Our member of Cache-Status, without `qal-sdk` and ttl. */
export function cacheStatus(response: Response): string {
  const members = (response.headers.get('cache-status') ?? '').split(', ');
  const ours = members.find((member) => member.startsWith('qal-sdk')) ?? '';
  return ours.replace(/^qal-sdk; /, '').replace(/ttl=-?\d+; /, '');
}

/** Fetches and reads: the text and what our cache said. */
export async function get(client: QalClient, path: string, init?: RequestInit): Promise<[string, string]> {
  const response = await client.fetch(path, init);
  return [await response.text(), cacheStatus(response)];
}
