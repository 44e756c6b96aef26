import { readFile } from 'node:fs/promises';
import type { Logger } from '../../observe/index.ts';
import { type Backoff, createBackoff } from '../../store/index.ts';
import type { Outcome, Sendable } from '../provider.ts';
import { type ApnsAnswer, readAnswer } from './answers.ts';
import { ApnsConnection, type ApnsTiming, type EndReason } from './connection.ts';
import type { Attempt } from './exchange.ts';
import type { ApnsMetrics } from './metrics.ts';
import type { TokenSource } from './provider-tokens.ts';
import { isApnsReason } from './reasons.ts';

export interface EndpointDeps {
  /** Undefined: a certificate says who we are. */
  readonly tokens: TokenSource | undefined;
  readonly clock: () => number;
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: ApnsMetrics;
}

export interface EndpointOptions {
  readonly environment: Sendable['environment'];
  /** `https://host[:port]` */
  readonly url: string;
  readonly caFile: string | undefined;
  /** PEM. */
  readonly certificate: string | undefined;
  readonly certificateKey: string | undefined;
  readonly connections: number;
  readonly timing: ApnsTiming;
  readonly maxWaiting: number;
  readonly maxRequests: number;
}

type Retry = Extract<Outcome, { kind: 'retry' }>;

/** Sent again at once so often where APNs has not looked at it; after that the queue decides. */
const maxResent = 3;
/** Connections of one endpoint in a row at once, more only one a second: APNs takes much coming and going for an attack. */
const burstOf = (connections: number): number => connections * 4;
const betweenConnectsMs = 1_000;
const backoff = { minMs: 1_000, maxMs: 60_000 };
/** With a provider token there is one stream until the first good request; else a handful. */
const firstStreams = { token: 1, certificate: 8 };
const maxCaBytes = 1_048_576;
/** As they all are; another one is for APNs to judge, but must not become another path. */
const plainToken = /^[0-9A-Za-z]+$/;

/** One side of APNs: few lasting connections, and what waits for room on them. */
export class ApnsEndpoint {
  readonly #deps: EndpointDeps;
  readonly #options: EndpointOptions;
  readonly #connections = new Set<ApnsConnection>();
  /** Oldest first; what was sent already stands before the others. */
  readonly #waiting = new Set<Attempt>();
  #again: Attempt[] = [];
  readonly #backoff: Backoff;
  /** Connections that may be made at once, as of `#creditMs`. */
  #credit: number;
  #creditMs = performance.now();
  #notBeforeMs = 0;
  #isPreparing = false;
  #isAskingToken = false;
  #isClosing = false;
  #timer: NodeJS.Timeout | undefined;
  #onQuiet: (() => void) | undefined;
  #trouble: string | undefined;
  /** As the metric has it. */
  #shownWaiting = 0;

  constructor(deps: EndpointDeps, options: EndpointOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#backoff = createBackoff(backoff, deps.random);
    this.#credit = burstOf(options.connections);
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  get connections(): number {
    return this.#count(({ isOpen }) => isOpen);
  }

  /** Pushes that have come and have no outcome yet. */
  get inFlight(): number {
    return this.#waitingCount + [...this.#connections].reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** Streams that the open connections may have in all. */
  get limit(): number {
    return [...this.#connections].reduce((sum, { limit }) => sum + limit, 0);
  }

  add(attempt: Attempt): void {
    if (this.#isClosing) this.#finish(attempt, this.#retry('closing', 0, 'push'));
    else if (this.#waitingCount >= this.#options.maxWaiting)
      this.#finish(attempt, this.#retry('no-room', 1_000, 'push'));
    else {
      this.#waiting.add(attempt);
      this.#watch();
      this.#pump();
    }
  }

  /** What is in flight ends first, for a moment; nothing waits any longer. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#refuseWaiting(this.#retry('closing', 0, 'push'));
    for (const connection of this.#connections) connection.retire('closing');
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#options.timing.closeMs);
        this.#onQuiet = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    for (const connection of this.#connections) connection.destroy('retired', 'closing');
    clearInterval(this.#timer);
    this.#showWaiting();
  }

  /** Not for each push: a metric costs as much as a good part of sending it. */
  #showWaiting(): void {
    const count = this.#waitingCount;
    this.#deps.metrics.waiting.inc(count - this.#shownWaiting);
    this.#shownWaiting = count;
  }

  get #waitingCount(): number {
    return this.#waiting.size + this.#again.length;
  }

  #count(is: (connection: ApnsConnection) => boolean): number {
    return [...this.#connections].filter(is).length;
  }

  /** Sends what waits, as far as there is room, and sees to it that there will be. */
  #pump(): void {
    while (this.#waitingCount > 0) {
      const connection = this.#idlest();
      if (connection === undefined) {
        this.#grow();
        return;
      }
      const token = this.#deps.tokens?.peek();
      if (this.#deps.tokens !== undefined && token === undefined) {
        void this.#askToken(this.#deps.tokens);
        return;
      }
      const attempt = this.#next();
      if (attempt === undefined) return;
      attempt.token = token;
      const headers = this.#headersOf(attempt);
      const unsent = hasOddText(headers) ? 'malformed' : connection.send(attempt, headers);
      if (unsent === 'connection') this.#again.unshift(attempt);
      else if (unsent === 'malformed') this.#finish(attempt, { kind: 'bad', reason: 'malformed', status: undefined });
    }
  }

  /** The one with the least to do of those that have a stream free. */
  #idlest(): ApnsConnection | undefined {
    let best: ApnsConnection | undefined;
    for (const connection of this.#connections) {
      if (connection.free > 0 && connection.inFlight < (best?.inFlight ?? Number.POSITIVE_INFINITY)) best = connection;
    }
    return best;
  }

  #next(): Attempt | undefined {
    const again = this.#again.shift();
    if (again !== undefined) return again;
    const [first] = this.#waiting;
    if (first !== undefined) this.#waiting.delete(first);
    return first;
  }

  #headersOf({ push, token }: Attempt): Record<string, string> {
    return {
      ':method': 'POST',
      ':path': `/3/device/${plainToken.test(push.token) ? push.token : encodeURIComponent(push.token.toWellFormed())}`,
      ...(token === undefined ? {} : { authorization: `bearer ${token.text}` }),
      ...push.headers,
    };
  }

  /** Another connection, if there may be one; where there is none and cannot be, nobody waits for it. */
  #grow(): void {
    const usable = this.#count(({ isOpen, isConnecting }) => isOpen || isConnecting);
    const isComing = this.#isPreparing || this.#count(({ isConnecting }) => isConnecting) > 0;
    if (isComing || usable >= this.#options.connections) return;
    const waitMs = this.#waitMs(performance.now());
    if (waitMs <= 0) void this.#open();
    else if (usable === 0) this.#refuseWaiting(this.#retry('connect', waitMs, this.#wideScope));
  }

  /** Until a connection may be made. */
  #waitMs(nowMs: number): number {
    const most = burstOf(this.#options.connections);
    this.#credit = Math.min(this.#credit + (nowMs - this.#creditMs) / betweenConnectsMs, most);
    this.#creditMs = nowMs;
    return Math.ceil(Math.max(this.#notBeforeMs - nowMs, (1 - this.#credit) * betweenConnectsMs));
  }

  async #open(): Promise<void> {
    const { caFile } = this.#options;
    this.#isPreparing = true;
    this.#credit -= 1;
    this.#deps.metrics.opened.inc();
    let unusable: string | undefined;
    try {
      const ca = caFile === undefined ? undefined : await readCa(caFile);
      if (!this.#isClosing) this.#connect(ca);
    } catch (error) {
      // Of files and credentials; what becomes of a connection, it tells itself.
      unusable = `credentials: ${(error as NodeJS.ErrnoException).code ?? 'unreadable'}`;
    }
    this.#isPreparing = false;
    if (unusable !== undefined) this.#failed(unusable);
  }

  #connect(ca: string | undefined): void {
    const { url, certificate: cert, certificateKey: key, timing, maxRequests } = this.#options;
    const { tokens, metrics, logger } = this.#deps;
    const connection: ApnsConnection = new ApnsConnection(
      {
        origin: new URL(url).origin,
        tls: {
          ...(ca === undefined ? {} : { ca }),
          ...(cert === undefined || key === undefined ? {} : { cert, key }),
        },
        timing,
        firstStreams: tokens === undefined ? firstStreams.certificate : firstStreams.token,
        maxRequests,
      },
      {
        onRoom: () => this.#pump(),
        onAnswer: (attempt, answer) => this.#answered(connection, attempt, answer),
        onUnseen: (attempt, reason) => this.#sendAgain(attempt, reason),
        onLost: (attempt, reason) => this.#finish(attempt, { ...this.#retry(reason, 1_000, 'push'), isSure: false }),
        onGoaway: (reason) => logger.info({ ...this.#place, reason }, 'push.apns.goaway'),
        onEnd: (end) => this.#ended(connection, end),
      },
    );
    this.#connections.add(connection);
    metrics.connections.inc();
  }

  #answered(connection: ApnsConnection, attempt: Attempt, answer: ApnsAnswer): void {
    const { tokens, metrics, clock } = this.#deps;
    const read = readAnswer(answer, this.#options.environment, clock());
    const { outcome, reason } = read;
    metrics.answers.inc({ reason: reason === 'ok' || isApnsReason(reason) ? reason : 'other' });
    metrics.seconds.observe((performance.now() - attempt.startedMs) / 1_000);
    if (read.connection === 'spent') connection.retire(reason);
    if (outcome.kind === 'ok') {
      this.#trouble = undefined;
      this.#backoff.reset();
    } else if (reason === 'TooManyProviderTokenUpdates') tokens?.tooMany();
    else if (reason === 'ExpiredProviderToken' && tokens !== undefined && attempt.token !== undefined) {
      tokens.expired(attempt.token);
      this.#sendAgain(attempt, 'provider-token');
      return;
    }
    this.#finish(attempt, outcome);
    const isWide = outcome.kind === 'halt' || (outcome.kind === 'retry' && outcome.scope === 'channel');
    if (!isWide) return;
    // What is wrong with all of them, those that wait need not find out one by one.
    this.#trouble = reason;
    // A credential that was taken back: connections that stand on it are of no use either.
    if (outcome.kind === 'halt') for (const each of this.#connections) each.retire(reason);
    this.#refuseWaiting(outcome.kind === 'retry' ? { ...outcome, isSure: true } : outcome);
  }

  /** APNs has not looked at it, so that nothing shows twice. */
  #sendAgain(attempt: Attempt, reason: 'goaway' | 'refused' | 'provider-token'): void {
    if (this.#isClosing || attempt.resent >= maxResent) {
      this.#finish(attempt, this.#retry(reason, reason === 'refused' ? 1_000 : 0, 'push'));
      return;
    }
    attempt.resent += 1;
    this.#again.push(attempt);
    this.#deps.metrics.resent.inc({ reason });
    this.#pump();
  }

  #ended(connection: ApnsConnection, end: { reason: EndReason; detail: string; wasGood: boolean }): void {
    const { metrics, logger } = this.#deps;
    this.#connections.delete(connection);
    metrics.connections.dec();
    metrics.ended.inc({ reason: end.reason });
    logger.info({ ...this.#place, ...end }, 'push.apns.connection.ended');
    if (this.#connections.size === 0) this.#onQuiet?.();
    if (this.#isClosing) return;
    // One that was of no use is not followed by the next at once.
    if (!end.wasGood && end.detail !== 'requests') this.#failed(`${end.reason}: ${end.detail}`);
    else this.#pump();
  }

  #failed(trouble: string): void {
    const waitMs = this.#backoff.nextMs();
    this.#notBeforeMs = performance.now() + waitMs;
    this.#trouble = trouble;
    this.#deps.logger.warn({ ...this.#place, trouble, waitMs: Math.round(waitMs) }, 'push.apns.connect.failed');
    this.#pump();
  }

  async #askToken(tokens: TokenSource): Promise<void> {
    if (this.#isAskingToken) return;
    this.#isAskingToken = true;
    const found = await tokens.get();
    this.#isAskingToken = false;
    if ('text' in found) {
      this.#pump();
      return;
    }
    this.#trouble = found.reason;
    this.#refuseWaiting(this.#retry(found.reason, found.afterMs, 'channel'));
  }

  /** Looks after everything that has a time, as long as there is anything. */
  #watch(): void {
    const { tickMs } = this.#options.timing;
    this.#timer ??= setInterval(() => this.#tick(performance.now()), tickMs).unref();
  }

  #tick(nowMs: number): void {
    for (const connection of this.#connections) connection.tick(nowMs);
    const lastMs = nowMs + this.#options.timing.tickMs;
    this.#refuseWaiting(this.#retry('no-room', 1_000, 'push'), ({ deadlineMs }) => deadlineMs <= lastMs);
    this.#showWaiting();
    if (this.#connections.size > 0 || this.#waitingCount > 0 || this.#isPreparing) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #refuseWaiting(outcome: Outcome, which: (attempt: Attempt) => boolean = () => true): void {
    const refused = [...this.#again, ...this.#waiting].filter(which);
    if (refused.length === 0) return;
    for (const attempt of refused) this.#waiting.delete(attempt);
    this.#again = this.#again.filter((attempt) => !which(attempt));
    for (const attempt of refused) this.#finish(attempt, outcome);
  }

  #finish(attempt: Attempt, outcome: Outcome): void {
    attempt.resolve(outcome);
  }

  /** Of what APNs has not looked at. */
  #retry(reason: string, afterMs: number, scope: Retry['scope']): Retry {
    return { kind: 'retry', reason, status: undefined, afterMs, scope, isSure: true };
  }

  /** What is wrong with the service itself holds up all; that of developers' phones nobody else. */
  get #wideScope(): Retry['scope'] {
    return this.#options.environment === 'production' ? 'channel' : 'push';
  }

  get #place(): object {
    return { environment: this.#options.environment };
  }
}

/** Node would send such text as something else. */
function hasOddText(headers: Readonly<Record<string, string>>): boolean {
  for (const name in headers) if (/[^\x20-\x7e]/.test(headers[name] as string)) return true;
  return false;
}

async function readCa(file: string): Promise<string> {
  const text = await readFile(file, 'utf8');
  if (text.length > maxCaBytes) throw new Error('too large');
  return text;
}
