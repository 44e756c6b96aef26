import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import type { Counter } from 'prom-client';
import type { Logger } from '../../observe/index.ts';
import type { parseServiceAccount } from '../../store/index.ts';
import type { Outcome } from '../provider.ts';
import { retryAfterMs } from '../retry-after.ts';
import type { Exchange, ExchangeResult } from './exchange.ts';

export type ServiceAccount = NonNullable<ReturnType<typeof parseServiceAccount>>;

/** The access token of a service account: made once, used by all until shortly before its end. */
export interface AccessTokens {
  /** Waits for one where there is none; never longer than until `deadline`. */
  get(deadline: number): Promise<{ readonly token: string } | { readonly outcome: Outcome }>;
  /** The service does not take it: the next one gets another. */
  drop(token: string): void;
}

export interface AccessTokensDeps {
  readonly clock: () => number;
  readonly random: () => number;
  readonly logger: Logger;
  readonly tokens: Counter<'event'>;
  /** To the account's `token_uri`. */
  post(request: Exchange, deadline: number): Promise<ExchangeResult>;
}

const scope = 'https://www.googleapis.com/auth/firebase.messaging';
const grantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const grantSec = 3_600;
/** So long before its end another is made, or after half its life where that is short. */
const earlyMs = 300_000;
/** The endpoint is left alone for so long after a failure, longer after each. */
const leastRestMs = 10_000;
const longestRestMs = 300_000;
/** A clock that is so far off makes grants that nobody takes. */
const clockOffMs = 240_000;
const maxTokenChars = 8_192;

type Retry = Extract<Outcome, { kind: 'retry' }>;

interface Token {
  readonly text: string;
  readonly renewMs: number;
  readonly endMs: number;
}

export function createAccessTokens(
  account: ServiceAccount,
  { clock, random, logger, tokens, post }: AccessTokensDeps,
  { deadlineMs }: { readonly deadlineMs: number },
): AccessTokens {
  const key: KeyObject = createPrivateKey(account.privateKey);
  const path = pathOf(account.tokenUri);
  let current: Token | undefined;
  /** The one request that is under way, for everybody. */
  let making: Promise<Outcome | undefined> | undefined;
  let restUntilMs = 0;
  let restSinceMs = 0;
  let restMs = leastRestMs;
  /** What those hear that come before {@link restUntilMs}; undefined: they may try. */
  let lastFailure: Retry | undefined;

  async function make(): Promise<Outcome | undefined> {
    const nowMs = clock();
    const body = new URLSearchParams({ grant_type: grantType, assertion: grant(account, key, nowMs) }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' };
    const result = await post({ path, headers, body }, performance.now() + deadlineMs);
    const read = readToken(result, clock());
    if ('token' in read) {
      const lifeMs = read.lifeSec * 1_000;
      const endMs = nowMs + lifeMs;
      tokens.inc({ event: 'made' });
      current = { text: read.token, endMs, renewMs: endMs - Math.min(earlyMs, lifeMs / 2) };
      restMs = leastRestMs;
      restUntilMs = 0;
      lastFailure = undefined;
      return undefined;
    }
    tokens.inc({ event: 'failed' });
    logger.warn({ reason: read.reason, status: read.status }, 'push.fcm.token.failed');
    const waitMs = Math.max(read.afterMs ?? 0, Math.round(restMs * (1 + random() / 2)));
    restMs = Math.min(longestRestMs, restMs * 2);
    restSinceMs = clock();
    restUntilMs = restSinceMs + waitMs;
    // Who has no token need not wait where it has been refused: waiting mends nothing, and whoever mends it wants to see that.
    lastFailure = read.isFinal ? undefined : retry(read.reason, read.status, waitMs);
    return lastFailure ?? { kind: 'halt', reason: read.reason, status: read.status };
  }

  /** A clock that was set back makes no rest longer. */
  const isResting = (nowMs: number): boolean => nowMs >= restSinceMs && nowMs < restUntilMs;

  const makeOnce = (): Promise<Outcome | undefined> => {
    making ??= make().finally(() => {
      making = undefined;
    });
    return making;
  };

  return {
    async get(deadline) {
      const nowMs = clock();
      if (current !== undefined && nowMs < current.endMs) {
        // Nobody waits for the next one while this one is good.
        if (nowMs >= current.renewMs && !isResting(nowMs)) void makeOnce();
        return { token: current.text };
      }
      if (making === undefined && isResting(nowMs) && lastFailure !== undefined) {
        return { outcome: { ...lastFailure, afterMs: Math.max(1_000, restUntilMs - nowMs) } };
      }
      const failure = await within(makeOnce(), deadline);
      if (failure !== undefined) return { outcome: failure };
      if (current === undefined) return { outcome: retry('token-timeout', undefined, leastRestMs) };
      return { token: current.text };
    },
    drop(token) {
      if (current?.text === token) current = undefined;
    },
  };
}

/** Nothing was sent to a device: it is certain that none shows anything. */
function retry(reason: string, status: number | undefined, afterMs: number): Retry {
  return { kind: 'retry', reason, status, afterMs, scope: 'channel', isSure: true };
}

/** The signed word of the account that it wants a token (RFC 7523). Pure. */
export function grant({ clientEmail, tokenUri }: ServiceAccount, key: KeyObject, nowMs: number): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const iat = Math.floor(nowMs / 1_000);
  const claims = { iss: clientEmail, scope, aud: tokenUri, iat, exp: iat + grantSec };
  const signed = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
}

type TokenRead =
  | { readonly token: string; readonly lifeSec: number }
  | {
      readonly reason: string;
      readonly status: number | undefined;
      /** Will be refused again however often it is asked for. */
      readonly isFinal: boolean;
      readonly afterMs?: number | undefined;
    };

/** What the token endpoint's answer comes to. Pure. */
export function readToken(result: ExchangeResult, nowMs: number): TokenRead {
  if (result.kind === 'failed') return { reason: `token-${result.failure}`, status: undefined, isFinal: false };
  const { status, body, retryAfter } = result.answer;
  const value = parse(body);
  if (status === 200) {
    const { access_token: token, expires_in: lifeSec } = value;
    // Goes into a field of each request: nothing but what may stand there.
    const isToken = typeof token === 'string' && token.length <= maxTokenChars && /^[\x21-\x7e]+$/.test(token);
    return isToken && typeof lifeSec === 'number' && lifeSec > 0
      ? { token, lifeSec: Math.min(lifeSec, 86_400) }
      : { reason: 'token-malformed', status, isFinal: false };
  }
  const { error } = value;
  const isRefused = status >= 400 && status < 500 && ![408, 429].includes(status);
  if (isRefused && typeof error === 'string' && /^[a-z_]{1,64}$/.test(error)) {
    const theirsMs = Date.parse(result.date ?? '');
    const isOff = error === 'invalid_grant' && Math.abs(theirsMs - nowMs) > clockOffMs;
    return { reason: isOff ? 'clock-off' : error, status, isFinal: true };
  }
  return { reason: `token-http-${status}`, status, isFinal: false, afterMs: retryAfterMs(retryAfter, nowMs) };
}

function parse(body: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(body));
  } catch {
    return {};
  }
}

function pathOf(uri: string): string {
  const { pathname, search } = new URL(uri);
  return pathname + search;
}

/** What it comes to, or undefined at the deadline. */
async function within<T>(work: Promise<T>, deadline: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), Math.max(0, deadline - performance.now()));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
