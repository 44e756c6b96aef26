import { readFile } from 'node:fs/promises';
import type { Logger } from '../../observe/index.ts';
import type { Outcome, Sendable } from '../provider.ts';
import { type ApnsAnswer, readAnswer } from './answers.ts';
import { ConnectPace } from './connect-pace.ts';
import { ApnsConnection, type EndReason } from './connection.ts';
import type { Attempt } from './exchange.ts';
import type { ApnsMetrics } from './metrics.ts';
import type { TokenSource } from './provider-tokens.ts';
import { isApnsReason } from './reasons.ts';
import { headersOf } from './request.ts';
import type { ApnsTiming } from './timing.ts';
import { Waiting } from './waiting.ts';

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
/** With a provider token there is one stream until the first good request; else a handful. */
const firstStreams = { token: 1, certificate: 8 };

/** One side of APNs: few lasting connections, and what waits for room on them. */
export class ApnsEndpoint {
  readonly #deps: EndpointDeps;
  readonly #options: EndpointOptions;
  readonly #connections = new Set<ApnsConnection>();
  readonly #waiting = new Waiting();
  readonly #pace: ConnectPace;
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
    this.#pace = new ConnectPace(options.connections, deps.random);
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  get connections(): number {
    return this.#count(({ isOpen }) => isOpen);
  }

  /** Pushes that have come and have no outcome yet. */
  get inFlight(): number {
    return this.#waiting.size + [...this.#connections].reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** Streams that the open connections may have in all. */
  get limit(): number {
    return [...this.#connections].reduce((sum, { limit }) => sum + limit, 0);
  }

  add(attempt: Attempt): void {
    if (this.#isClosing) attempt.resolve(retryUnseen('closing', 0, 'push'));
    else if (this.#waiting.size >= this.#options.maxWaiting) attempt.resolve(retryUnseen('no-room', 1_000, 'push'));
    else {
      this.#waiting.add(attempt);
      this.#watch();
      this.#pump();
    }
  }

  /** What is in flight ends first, for a moment; nothing waits any longer. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#refuseWaiting(retryUnseen('closing', 0, 'push'));
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
    const count = this.#waiting.size;
    this.#deps.metrics.waiting.inc(count - this.#shownWaiting);
    this.#shownWaiting = count;
  }

  #count(is: (connection: ApnsConnection) => boolean): number {
    return [...this.#connections].filter(is).length;
  }

  /** Sends what waits, as far as there is room, and sees to it that there will be. */
  #pump(): void {
    while (this.#waiting.size > 0) {
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
      const attempt = this.#waiting.take();
      if (attempt === undefined) return;
      attempt.token = token;
      const headers = headersOf(attempt.push, token);
      const unsent = headers === undefined ? 'malformed' : connection.send(attempt, headers);
      if (unsent === 'connection') this.#waiting.putBack(attempt);
      else if (unsent === 'malformed') attempt.resolve({ kind: 'bad', reason: 'malformed', status: undefined });
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

  /** Another connection, if there may be one; where there is none and cannot be, nobody waits for it. */
  #grow(): void {
    const usable = this.#count(({ isOpen, isConnecting }) => isOpen || isConnecting);
    const isComing = this.#isPreparing || this.#count(({ isConnecting }) => isConnecting) > 0;
    if (isComing || usable >= this.#options.connections) return;
    const waitMs = this.#pace.waitMs(performance.now());
    if (waitMs <= 0) void this.#open();
    else if (usable === 0) this.#refuseWaiting(retryUnseen('connect', waitMs, this.#wideScope));
  }

  async #open(): Promise<void> {
    const { caFile } = this.#options;
    this.#isPreparing = true;
    this.#pace.take();
    this.#deps.metrics.opened.inc();
    let unusable: string | undefined;
    try {
      const ca = caFile === undefined ? undefined : await readFile(caFile, 'utf8');
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
        onLost: (attempt, reason) => attempt.resolve({ ...retryUnseen(reason, 1_000, 'push'), isSure: false }),
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
      this.#pace.worked();
    } else if (reason === 'TooManyProviderTokenUpdates') tokens?.tooMany();
    else if (reason === 'ExpiredProviderToken' && tokens !== undefined && attempt.token !== undefined) {
      tokens.expired(attempt.token);
      this.#sendAgain(attempt, 'provider-token');
      return;
    }
    attempt.resolve(outcome);
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
      attempt.resolve(retryUnseen(reason, reason === 'refused' ? 1_000 : 0, 'push'));
      return;
    }
    attempt.resent += 1;
    this.#waiting.addAgain(attempt);
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
    if (!end.wasGood) this.#failed(`${end.reason}: ${end.detail}`);
    else this.#pump();
  }

  #failed(trouble: string): void {
    const waitMs = this.#pace.failed(performance.now());
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
    this.#refuseWaiting(retryUnseen(found.reason, found.afterMs, 'channel'));
  }

  /** Looks after everything that has a time, as long as there is anything. */
  #watch(): void {
    const { tickMs } = this.#options.timing;
    this.#timer ??= setInterval(() => this.#tick(performance.now()), tickMs).unref();
  }

  #tick(nowMs: number): void {
    for (const connection of this.#connections) connection.tick(nowMs);
    const lastMs = nowMs + this.#options.timing.tickMs;
    this.#refuseWaiting(retryUnseen('no-room', 1_000, 'push'), ({ deadlineMs }) => deadlineMs <= lastMs);
    this.#showWaiting();
    if (this.#connections.size > 0 || this.#waiting.size > 0 || this.#isPreparing) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #refuseWaiting(outcome: Outcome, which: (attempt: Attempt) => boolean = () => true): void {
    for (const attempt of this.#waiting.remove(which)) attempt.resolve(outcome);
  }

  /** What is wrong with the service itself holds up all; that of developers' phones nobody else. */
  get #wideScope(): Retry['scope'] {
    return this.#options.environment === 'production' ? 'channel' : 'push';
  }

  get #place(): object {
    return { environment: this.#options.environment };
  }
}

/** Of what APNs has not looked at. */
function retryUnseen(reason: string, afterMs: number, scope: Retry['scope']): Retry {
  return { kind: 'retry', reason, status: undefined, afterMs, scope, isSure: true };
}
