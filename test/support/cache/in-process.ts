import {
  type CacheClient,
  type CachedAnswer,
  type CacheOptions,
  type CacheRequest,
  createCache,
  type FetchEvents,
  type FetchHandle,
  type HttpCache,
  parseRequest,
  type RawFields,
} from '../../../src/cache/index.ts';
import { createLogger, createMetrics } from '../../../src/observe/index.ts';

/** The cache without sockets: clients and an origin that a test moves by hand, one call at a time. */

export interface Asked {
  /** Fields of the request that the cache acts for. */
  readonly fields: RawFields;
  readonly owner: string | undefined;
  readonly target: string;
  /** In its conditions, instead of the client's own. */
  readonly etags: readonly string[];
  paused: boolean;
  /** How long it may go on, where that is limited. */
  limitMs: number | undefined;
  destroyed: boolean;
  over: boolean;
  head(fields: RawFields, options?: { status?: number; lengthBytes?: number | undefined; endMarked?: boolean }): void;
  body(piece: string | Buffer): void;
  end(trailers?: readonly string[]): void;
  /** Head, body and end. */
  answer(body: string, fields: RawFields, status?: number): void;
  fail(): void;
}

export interface Asking {
  /** What became of it: no call yet, an answer, the rest of its own fetch, an error, or forwarded past the cache. */
  state: 'waiting' | 'answered' | 'taken' | 'failed' | 'forwarded' | 'refused';
  status: number;
  raw: RawFields;
  /** Of an answer or of what it took over, as far as it has come. */
  body: string;
  done: boolean;
  cut: boolean;
  /** Reads only when told to. */
  slow: boolean;
  read(): void;
  leave(): void;
}

export interface RequestOptions {
  target?: string;
  method?: string;
  fields?: RawFields;
  owner?: string;
  route?: string;
  routeShared?: boolean;
  slow?: boolean;
}

export interface InProcess {
  cache: HttpCache;
  time: { nowMs: number };
  /** Requests to the origin, in order. */
  asked: Asked[];
  ask(options?: RequestOptions): Asking;
  /** Tells of the answer to a request that was forwarded. */
  observe(options: RequestOptions, status: number, raw: RawFields): void;
  metric(name: string): Promise<number>;
}

const host = '1 http://a';

export function openInProcess(mode: 'qal' | 'rfc9111' = 'rfc9111', options: Partial<CacheOptions> = {}): InProcess {
  const time = { nowMs: Date.UTC(2026, 10, 1) };
  const metrics = createMetrics();
  const logger = createLogger({ level: 'silent' });
  const cache = createCache(
    { clock: () => time.nowMs, logger, metrics },
    { bytes: 10_000_000, entryBytes: 1_000_000, ...options },
  );
  const asked: Asked[] = [];

  /** Whoever takes over the rest of a fetch is told of it from then on. */
  const takers = new WeakMap<CacheRequest, { last: { events: FetchEvents } | undefined }>();

  function makeRequest(of: RequestOptions): CacheRequest {
    const fields = of.fields ?? [];
    const found = new Map<string, string>();
    for (let i = 0; i < fields.length; i += 2) {
      const name = (fields[i] as string).toLowerCase();
      const before = found.get(name);
      found.set(name, before === undefined ? (fields[i + 1] as string) : `${before}, ${fields[i + 1]}`);
    }
    const taker: { last: { events: FetchEvents } | undefined } = { last: undefined };
    const request: CacheRequest = {
      url: host + (of.target ?? '/'),
      route: of.route ?? 'route',
      owner: of.owner,
      overrides: false,
      facts: parseRequest(of.method ?? 'GET', fields, {
        hasSession: of.owner !== undefined,
        hasBody: false,
        nowMs: time.nowMs,
      }),
      rules: { mode, kind: 'shared', routeShared: of.routeShared ?? false, maxOrphans: 256 },
      urlOf: (target) => host + target,
      fieldOf: (name) => found.get(name),
      upstream: {
        fetch({ validators }, events) {
          const to = { events };
          taker.last = to;
          const handle = openAsked(fields, of, validators?.etags ?? [], to);
          return handle;
        },
      },
    };
    takers.set(request, taker);
    return request;
  }

  function openAsked(
    fields: RawFields,
    { owner, target = '/' }: RequestOptions,
    etags: readonly string[],
    to: { events: FetchEvents },
  ): FetchHandle {
    const one: Asked = {
      ...{ fields, owner, target, etags, paused: false, limitMs: undefined, destroyed: false, over: false },
      head(raw, { status = 200, lengthBytes, endMarked = true } = {}) {
        if (!one.destroyed) to.events.onHead({ status, reason: 'OK', raw, lengthBytes, endMarked });
      },
      body(piece) {
        if (one.destroyed) return;
        to.events.onBody(Buffer.from(piece));
        to.events.onReadDone();
      },
      end(trailers = []) {
        if (one.destroyed || one.over) return;
        one.over = true;
        to.events.onEnd(trailers);
      },
      answer(body, raw, status) {
        one.head(raw, { lengthBytes: body.length, ...(status === undefined ? {} : { status }) });
        if (body !== '' && status !== 304) one.body(body);
        one.end();
      },
      fail() {
        if (one.destroyed || one.over) return;
        one.over = true;
        to.events.onFailure('UPSTREAM_CLOSED', 'it failed');
      },
    };
    asked.push(one);
    return {
      sent: true,
      pause() {
        one.paused = true;
      },
      resume() {
        one.paused = false;
      },
      limit(ms) {
        one.limitMs = ms;
      },
      destroy() {
        one.destroyed = true;
      },
    };
  }

  function ask(of: RequestOptions = {}): Asking {
    const request = makeRequest(of);
    let reader: CachedAnswer['reader'];
    let leaveCache = (): void => {};
    const pump = (): void => {
      if (reader === undefined || asking.done || asking.cut) return;
      for (;;) {
        if (reader.state === 'failed') {
          asking.cut = true;
          break;
        }
        const piece = reader.next();
        if (piece === undefined) break;
        asking.body += piece.toString('latin1');
      }
      if (reader.state === 'complete') asking.done = true;
      if (asking.done || asking.cut) asking.leave();
    };
    const asking: Asking = {
      ...{ state: 'waiting', status: 0, raw: [], body: '', done: false, cut: false, slow: of.slow ?? false },
      read: pump,
      leave() {
        reader?.close();
        leaveCache();
      },
    };
    const client: CacheClient = {
      onAnswer(answer) {
        if (asking.state !== 'waiting') throw new Error(`an answer to one that is ${asking.state}`);
        asking.state = 'answered';
        asking.status = answer.status;
        asking.raw = [...answer.raw];
        reader = answer.reader;
        if (reader === undefined) {
          asking.body = answer.body?.toString('latin1') ?? '';
          asking.done = true;
        } else if (!asking.slow) pump();
      },
      onTakeOver(head, status) {
        if (asking.state !== 'waiting') throw new Error(`a take-over by one that is ${asking.state}`);
        asking.state = 'taken';
        asking.status = head.status;
        asking.raw = [...head.raw, 'Cache-Status', status];
        const last = takers.get(request)?.last;
        if (last === undefined) throw new Error('nothing to take over');
        last.events = {
          ...last.events,
          onHead: () => {},
          onInformation: () => {},
          onReadDone: () => {},
          onBody: (piece) => {
            asking.body += piece.toString('latin1');
          },
          onEnd: () => {
            asking.done = true;
          },
          onFailure: () => {
            asking.cut = true;
          },
        };
      },
      onFailure() {
        if (asking.state !== 'waiting') throw new Error(`a failure of one that is ${asking.state}`);
        asking.state = 'failed';
      },
      onMore() {
        if (!asking.slow) pump();
      },
      onInformation: () => {},
    };
    // The short way of the hot path says the same as the usual one, or nothing (C12).
    const quick = cache.fresh(makeRequest(of), Number.POSITIVE_INFINITY);
    const quickBody = quick?.body?.toString('latin1');
    const outcome = cache.handle(request, client);
    const isFresh =
      outcome.kind === 'answer' &&
      /; detail=(?:max-age|s-maxage|expires|heuristic)$/.test(outcome.answer.raw.at(-1) ?? '');
    if (isFresh !== (quick !== undefined)) throw new Error(`fresh() and handle() differ: ${JSON.stringify(of)}`);
    if (isFresh && outcome.answer.body?.toString('latin1') !== quickBody) throw new Error('they answer differently');
    if (outcome.kind === 'answer') client.onAnswer(outcome.answer);
    else if (outcome.kind === 'forward') asking.state = 'forwarded';
    else if (outcome.kind === 'refused') asking.state = 'refused';
    else leaveCache = () => outcome.waiting.leave();
    return asking;
  }

  return {
    ...{ cache, time, asked, ask },
    observe: (of, status, raw) => cache.observe(makeRequest(of), status, raw),
    async metric(name) {
      const values = (await metrics.registry.getSingleMetric(name)?.get())?.values ?? [];
      return values.reduce((sum, { value }) => sum + value, 0);
    },
  };
}
