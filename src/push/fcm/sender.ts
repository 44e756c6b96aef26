import type { Logger, Metrics } from '../../observe/index.ts';
import { type FcmSettings, parseServiceAccount, withDeadline } from '../../store/index.ts';
import type { Outcome, Sendable, Sender } from '../provider.ts';
import { type AccessTokens, createAccessTokens } from './access-token.ts';
import { type Circumstances, type FcmJudgement, judge, leastRetryMs, uncertain } from './answers.ts';
import { type Exchange, type ExchangeResult, exchange } from './exchange.ts';
import { createLines, type Lines } from './lines.ts';
import { fcmMetrics } from './metrics.ts';
import { createPace } from './pace.ts';

export interface FcmSenderDeps {
  /** Unix milliseconds. */
  readonly clock: () => number;
  /** 0 … 1. */
  readonly random?: () => number;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface FcmSenderOptions {
  /** For all of one attempt: access token, connection, request, answer. */
  readonly deadlineMs?: number;
  /** Under way at once. */
  readonly maxInFlight?: number;
  /** How long what is under way may go on at the end. */
  readonly closeGraceMs?: number;
}

/** What the other side makes of a hundred exchanges a connection; where it only speaks HTTP/1.1, each has one. */
const maxConnections = 64;
/** So many failures with nothing good in between are no longer those of single pushes. */
const rowLength = 5;
const longestChannelMs = 300_000;

/**
 * Sends through FCM HTTP v1 by the app's service account. One attempt a push, of at most `deadlineMs`; access tokens are made by the account's
 * `token_uri`, renewed five minutes early, and anew once where the service takes them no longer.
 *
 * Its pace is the whole of `perMin`: an app's lane runs on one process at a time, so there is nothing to divide; a process that takes a lane
 * over begins the ramp anew. Apps that share one project at Google share its quota, and each needs its part of it in `perMin`.
 */
export function createFcmSender(deps: FcmSenderDeps, settings: FcmSettings, options: FcmSenderOptions = {}): Sender {
  const { clock, random = Math.random, logger } = deps;
  const { deadlineMs = 12_000, maxInFlight = 400, closeGraceMs = 1_500 } = options;
  const { endpoint, caFile, serviceAccount = '', perMin } = settings;
  const metrics = fcmMetrics(deps.metrics);
  const account = parseServiceAccount(serviceAccount);
  const pace = createPace(perMin);
  const lineOptions = { caFile, connectMs: Math.min(5_000, deadlineMs), retireMs: deadlineMs };
  const lines = createLines({ ...lineOptions, origin: endpoint, connections: maxConnections });
  const tokenLines =
    account === undefined
      ? undefined
      : createLines({ ...lineOptions, origin: new URL(account.tokenUri).origin, connections: 1 });
  const tokens: AccessTokens | undefined =
    account === undefined || tokenLines === undefined
      ? undefined
      : createAccessTokens(
          account,
          {
            clock,
            random,
            logger,
            tokens: metrics.tokens,
            post: (request, deadline) => post(tokenLines, request, deadline),
          },
          // Over before the push that waits for it is.
          { deadlineMs: deadlineMs * 0.8 },
        );
  const path = `/v1/projects/${encodeURIComponent(account?.projectId ?? '')}/messages:send`;
  const channel = createChannelWait(random);
  let inFlight = 0;
  let failuresInRow = 0;
  let trouble: string | undefined;
  let closing: Promise<void> | undefined;
  let onQuiet: (() => void) | undefined;

  async function post(over: Lines, request: Exchange, deadline: number): Promise<ExchangeResult> {
    const opening = over.pool();
    if (!(await withDeadline(opening, Math.max(0, deadline - performance.now())))) {
      return { kind: 'failed', failure: 'connect', detail: 'caFile: deadline', isSent: false };
    }
    const found = await opening;
    if ('code' in found) return { kind: 'failed', failure: 'tls', detail: `caFile: ${found.code}`, isSent: false };
    const result = await exchange(found.pool, request, deadline);
    // Nothing came back: a way that was forgotten without a word looks like that. And the file may be another by now.
    if (result.kind === 'failed' && (result.failure === 'timeout' || result.failure === 'tls')) {
      logger.warn({ failure: result.failure, detail: result.detail }, 'push.fcm.connections.replaced');
      metrics.replaced.inc({ reason: result.failure });
      over.replace(found.pool);
    }
    return result;
  }

  const circumstances = (): Circumstances => {
    const nowMs = clock();
    return {
      nowMs,
      random: random(),
      isRow: failuresInRow >= rowLength,
      channelMs: () => channel.next(nowMs),
    };
  };

  async function attempt(push: Sendable, deadline: number): Promise<Outcome> {
    if (tokens === undefined) return { kind: 'halt', reason: 'service-account', status: undefined };
    for (let isSecond = false; ; isSecond = true) {
      const granted = await tokens.get(deadline);
      if ('outcome' in granted) return granted.outcome;
      const headers = { 'content-type': 'application/json', ...push.headers, authorization: `Bearer ${granted.token}` };
      const result = await post(lines, { path, headers, body: push.body }, deadline);
      const judged: FcmJudgement =
        result.kind === 'answer' ? judge(result.answer, circumstances()) : failed(result, circumstances());
      if (judged.kind !== 'reauthorize') return judged;
      tokens.drop(granted.token);
      metrics.tokens.inc({ event: 'refused' });
      // It was made for this: the account may not do it, or is of another place.
      if (isSecond) return { kind: 'halt', reason: 'UNAUTHENTICATED', status: judged.status };
    }
  }

  function failed({ failure, isSent }: ExchangeResult & { kind: 'failed' }, about: Circumstances): Outcome {
    if (isSent) return uncertain(failure, undefined, about);
    const wait = { reason: failure, status: undefined, isSure: true } as const;
    if (failure === 'refused') return { kind: 'retry', ...wait, afterMs: 1_000, scope: 'push' };
    return { kind: 'retry', ...wait, afterMs: about.channelMs(), scope: 'channel' };
  }

  function note(outcome: Outcome): void {
    if (outcome.kind === 'retry') {
      if (outcome.scope === 'device') return;
      failuresInRow += 1;
      trouble = outcome.reason;
      if (outcome.status === 429) pace.slow(performance.now());
    } else if (outcome.kind === 'halt') {
      trouble = outcome.reason;
    } else {
      // Whatever it says of the message, the service is there.
      failuresInRow = 0;
      trouble = undefined;
      channel.reset();
    }
  }

  return {
    room: () =>
      closing === undefined ? Math.max(0, Math.min(maxInFlight - inFlight, pace.room(performance.now()))) : 0,

    async send(push) {
      if (closing !== undefined) {
        return { kind: 'retry', reason: 'closed', status: undefined, afterMs: 0, scope: 'push', isSure: true };
      }
      inFlight += 1;
      metrics.inFlight.inc();
      pace.take(performance.now());
      try {
        const outcome = await attempt(push, performance.now() + deadlineMs);
        note(outcome);
        metrics.outcome(outcome);
        return outcome;
      } catch (error) {
        logger.error({ err: error }, 'push.fcm.failed');
        return uncertain('failed', undefined, { ...circumstances(), channelMs: () => leastRetryMs });
      } finally {
        inFlight -= 1;
        metrics.inFlight.dec();
        if (inFlight === 0) onQuiet?.();
      }
    },

    figures: () => ({ connections: lines.count + (tokenLines?.count ?? 0), inFlight, trouble }),

    close() {
      closing ??= end();
      return closing;
    },
  };

  /** Waits for what is under way, then ends it. */
  async function end(): Promise<void> {
    if (inFlight > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, closeGraceMs);
        onQuiet = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    await Promise.all([lines.close(), tokenLines?.close()]);
  }
}

/** How long the channel rests while its service is not there: from 10 s on, twice as long each time, and as long for all who ask meanwhile. */
function createChannelWait(random: () => number) {
  let stepMs = leastRetryMs;
  let untilMs = 0;
  let sinceMs = 0;
  return {
    next(nowMs: number): number {
      // A clock that was set back makes no rest longer.
      if (nowMs >= untilMs || nowMs < sinceMs) {
        sinceMs = nowMs;
        untilMs = nowMs + Math.round(stepMs * (1 + random() / 2));
        stepMs = Math.min(longestChannelMs, stepMs * 2);
      }
      return untilMs - nowMs;
    },
    reset(): void {
      stepMs = leastRetryMs;
      untilMs = 0;
    },
  };
}
