import { once } from 'node:events';
import type { Test } from 'tap';
import WebSocket from 'ws';
import { createRevocations, type Revocations, signUserSig } from '../../src/auth/index.ts';
import { createIm, type Im, type ImDeps, type ImOptions } from '../../src/im/index.ts';
import { createMetrics, type Logger, type Metrics } from '../../src/observe/index.ts';
import { createListenerMetrics, openListener } from '../../src/server/listeners.ts';
import { type AppSettings, createControlBus, type Database } from '../../src/store/index.ts';
import { completeApp } from './app-settings.ts';
import { makeTestLogger, openTestDatabase } from './database.ts';

export const imAppId = 1_400_000_000;
const secret = 'a secret of sixteen or more';

/** A clock that runs, and can be moved forward. */
export interface MovableClock {
  (): number;
  advance(sec: number): void;
}

export function createMovableClock(): MovableClock {
  let aheadMs = 0;
  return Object.assign(() => Date.now() + aheadMs, {
    advance(sec: number) {
      aheadMs += sec * 1_000;
    },
  });
}

export interface TestImOptions {
  app?: Partial<AppSettings['im']> & { admins?: string[] };
  apps?: AppSettings[];
  options?: Partial<ImOptions>;
  deps?: Partial<ImDeps>;
  /** A database that several share. */
  database?: { db: Database };
}

export interface TestIm {
  im: Im;
  db: Database;
  clock: MovableClock;
  /** `http://127.0.0.1:12345` */
  url: string;
  metrics: Metrics;
  revocations: Revocations;
  /** Events logged so far. */
  events: string[];
  app: AppSettings;
  setApps(apps: AppSettings[]): void;
  userSig(identifier: string, options?: { ago?: number; life?: number; sdkAppId?: number }): string;
  /** Calls a command of `/v4` as the administrator, or as told; gives the parsed answer. */
  call(command: string, body: unknown, query?: Record<string, string>): Promise<Record<string, unknown>>;
  /** Opens a link and logs in. */
  link(identifier: string, login?: Record<string, unknown>): Promise<TestLink>;
  /** Opens a link, and that is all. */
  openLink(headers?: Record<string, string>): Promise<TestLink>;
  close(): Promise<void>;
}

/** One WebSocket of a test that speaks the link protocol by hand. */
export interface TestLink {
  readonly socket: WebSocket;
  /** Events so far, in order; arrays taken apart. */
  readonly events: Record<string, unknown>[];
  /** The answer to login. */
  login: Record<string, unknown>;
  /** Sends a request and gives its whole answer, `ok` or `error`. */
  ask(what: string, fields?: object): Promise<{ ok?: Record<string, unknown>; error?: Record<string, unknown> }>;
  /** The `ok` of a request; throws its error. */
  ok(what: string, fields?: object): Promise<Record<string, unknown>>;
  sendText(text: string): void;
  /** The first event for which it holds, waiting for it. */
  event(matches: (event: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  readonly closed: Promise<{ code: number; reason: string }>;
  close(): Promise<void>;
}

/** The messaging core with its real edges on a free port and a real database. */
export async function openIm(t: Test, settings: TestImOptions = {}): Promise<TestIm> {
  const { db } = settings.database ?? (await openTestDatabase(t));
  const { logger, events }: { logger: Logger; events: string[] } = makeTestLogger();
  const metrics = createMetrics();
  const clock = (settings.deps?.clock as MovableClock | undefined) ?? createMovableClock();
  const { admins = ['admin'], ...messaging } = settings.app ?? {};
  const app = completeApp({
    sdkAppId: imAppId,
    secret,
    admins,
    im: { commandPerSec: 0, appPerSec: 0, ...messaging },
  });
  let apps = settings.apps ?? [app];
  const control = createControlBus(db, { logger });
  await control.ready();
  const revocations = await createRevocations(
    { db, bus: control, clock, logger, metrics },
    { sessionLifetimeMs: 900_000 },
  );
  const im = await createIm(
    {
      db,
      control,
      apps: { get: (sdkAppId) => apps.find((one) => one.sdkAppId === sdkAppId), list: () => apps },
      revocations,
      clock,
      random: Math.random,
      logger,
      metrics,
      ...settings.deps,
    },
    {
      connections: 20_000,
      connectionsPerAddress: 0,
      links: 10_000,
      linksPerAddress: 0,
      framesPerSec: 10_000,
      queueBytes: 1_048_576,
      bodyBytes: 1_048_576,
      wordLists: [],
      trustedProxies: [],
      // The test's clock may be days ahead of the database's.
      retention: { maxAheadMs: Number.POSITIVE_INFINITY },
      // A machine that has much else to do is not what is tested.
      commandMs: 30_000,
      ...settings.options,
    },
  );
  const listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    { name: 'im', address: { host: '127.0.0.1', port: 0 }, server: im.serverOptions, handlers: im.handlers },
  );
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= (async () => {
      await im.endLinks();
      await listener.close(0);
      await im.close();
      await revocations.close();
      await control.close();
    })();
    return closing;
  };
  t.teardown(close);

  const userSig: TestIm['userSig'] = (identifier, { ago = 10, life = 86_400, sdkAppId = imAppId } = {}) =>
    signUserSig({
      sdkAppId,
      identifier,
      secret,
      expireSec: life,
      issuedAtSec: Math.floor(clock() / 1_000) - ago,
    });

  const openLink: TestIm['openLink'] = async (headers = {}) => {
    const link = createTestLink(`${listener.url.replace('http', 'ws')}/im/v1/link`, headers);
    t.teardown(() => link.socket.terminate());
    await Promise.race([
      once(link.socket, 'open'),
      once(link.socket, 'unexpected-response').then(([, response]) => {
        throw new Error(`the link was refused with ${(response as { statusCode: number }).statusCode}`);
      }),
    ]);
    return link;
  };

  return {
    im,
    db,
    clock,
    url: listener.url,
    metrics,
    revocations,
    events,
    app,
    setApps(next) {
      apps = next;
    },
    userSig,
    async call(command, body, query = {}) {
      const parameters = new URLSearchParams({
        sdkappid: String(imAppId),
        identifier: 'admin',
        usersig: userSig(query.identifier ?? 'admin'),
        random: '1',
        contenttype: 'json',
        ...query,
      });
      const response = await fetch(`${listener.url}/v4/${command}?${parameters}`, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
      return (await response.json()) as Record<string, unknown>;
    },
    openLink,
    async link(identifier, login = {}) {
      const link = await openLink();
      link.login = await link.ok('login', {
        sdkAppId: imAppId,
        identifier,
        userSig: userSig(identifier),
        platform: 'Android',
        ...login,
      });
      return link;
    },
    close,
  };
}

const answerMs = 10_000;

export function createTestLink(url: string, headers: Record<string, string> = {}): TestLink {
  const socket = new WebSocket(url, { headers });
  const events: Record<string, unknown>[] = [];
  const answers = new Map<number, (answer: Record<string, unknown>) => void>();
  const waiting = new Set<() => void>();
  let nextId = 0;
  socket.on('message', (data: Buffer) => {
    for (const frame of [JSON.parse(data.toString())].flat() as Record<string, unknown>[]) {
      if (typeof frame.on === 'string') events.push(frame);
      else answers.get(Number(frame.id))?.(frame);
    }
    for (const wake of waiting) wake();
  });
  socket.on('error', () => {});
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code: number, reason: Buffer) => resolve({ code, reason: reason.toString() }));
  });
  const within = <T>(promise: Promise<T>, what: string): Promise<T> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no ${what} within ${answerMs} ms`)), answerMs);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  };
  const link: TestLink = {
    socket,
    events,
    login: {},
    closed,
    ask(what, fields = {}) {
      const id = ++nextId;
      const answer = new Promise<Record<string, unknown>>((resolve, reject) => {
        answers.set(id, resolve);
        void closed.then(({ code }) => reject(new Error(`the link was closed (${code}) before the answer to ${what}`)));
      });
      socket.send(JSON.stringify({ id, do: what, ...fields }));
      return within(answer, `answer to ${what}`).finally(() => answers.delete(id));
    },
    async ok(what, fields) {
      const { ok, error } = await link.ask(what, fields);
      if (ok === undefined) throw new Error(`${what}: ${JSON.stringify(error)}`);
      return ok;
    },
    sendText: (text) => socket.send(text),
    event(matches) {
      const found = events.find(matches);
      if (found !== undefined) return Promise.resolve(found);
      return within(
        new Promise((resolve) => {
          const look = () => {
            const event = events.find(matches);
            if (event === undefined) return;
            waiting.delete(look);
            resolve(event);
          };
          waiting.add(look);
        }),
        'such event',
      );
    },
    async close() {
      socket.close();
      await closed;
    },
  };
  return link;
}
