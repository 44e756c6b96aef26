import { sql } from 'kysely';
import type { Logger, Metrics } from '../../observe/index.ts';
import { type Database, type Sealer, withDeadline } from '../../store/index.ts';
import { type ApnsMetrics, apnsMetrics } from './metrics.ts';
import {
  betweenMs,
  dueMs,
  isUsable,
  keyFingerprint,
  mintProviderToken,
  nextStep,
  type ProviderKey,
  type ProviderToken,
  type TokenState,
} from './provider-token.ts';

/** The token of one key, of which there is one at a time for all processes. */
export interface TokenSource {
  /** The one to send with, from memory. Undefined: ask {@link get}. One that becomes due is replaced in the background. */
  peek(): ProviderToken | undefined;
  /** Never rejects. `afterMs`: there is none to be had sooner; `reason` in a word why. */
  get(): Promise<ProviderToken | { readonly afterMs: number; readonly reason: string }>;
  /** APNs called it expired: another one is made, once for each, if APNs allows it yet. */
  expired(token: ProviderToken): void;
  /** APNs says that tokens change too often: none is made for twenty minutes. */
  tooMany(): void;
}

export interface ProviderTokens {
  of(key: ProviderKey): TokenSource;
}

export interface ProviderTokensDeps {
  readonly db: Pick<Database, 'kysely'>;
  readonly sealer: Sealer;
  /** Unix milliseconds. */
  readonly clock: () => number;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

interface Row {
  issued_ms: number;
  sealed: string;
}

/** Longest wait for the database. */
const databaseMs = 5_000;
/** Between two looks in the background, and after one that brought none. */
const againMs = 5_000;

/**
 * Provider tokens, shared through table `push_provider_token`: whoever needs a new one makes it under the row's lock, all others take it
 * from there. Each process that made its own would change the key's token behind the others' back, which APNs punishes (PUSH §1.3).
 */
export function createProviderTokens(deps: ProviderTokensDeps): ProviderTokens {
  const metrics = apnsMetrics(deps.metrics);
  return { of: (key) => createTokenSource({ ...deps, metrics }, key) };
}

function createTokenSource(
  deps: Omit<ProviderTokensDeps, 'metrics'> & { metrics: ApnsMetrics },
  key: ProviderKey,
): TokenSource {
  const { db, sealer, clock, logger, metrics } = deps;
  const { teamId } = key;
  const fingerprint = keyFingerprint(key.key);
  // A key that was replaced under its id has a row of its own.
  const keyId = `${key.keyId}:${fingerprint}`;
  const context = `provider token ${teamId} ${keyId}`;
  /** As the database had it last. */
  let state: TokenState = { token: undefined, heldUntilMs: 0 };
  /** As this process was told itself; the database may not know it yet. */
  let heldUntilMs = 0;
  /** The last that APNs called expired. */
  let expired: string | undefined;
  let renewing: Promise<ProviderToken | { afterMs: number; reason: string }> | undefined;
  /** The last look brought none; not to be asked again before `untilMs`. */
  let none: { readonly untilMs: number; readonly atMs: number; readonly reason: string } | undefined;
  let lookMs = 0;

  /** Under the row's lock: takes what is there, or what has to be made. */
  async function step(): Promise<TokenState> {
    return await db.kysely.transaction().execute(async (trx) => {
      await sql`
        insert into push_provider_token (team_id, key_id, issued_ms, sealed) values (${teamId}, ${keyId}, 0, '')
        on conflict do nothing`.execute(trx);
      const { rows } = await sql<Row>`
        select issued_ms, sealed from push_provider_token where team_id = ${teamId} and key_id = ${keyId} for update`.execute(
        trx,
      );
      const stored = open(rows[0]?.sealed ?? '');
      const next = renewed(stored, clock());
      if (next === stored) return stored;
      await sql`
        update push_provider_token
        set issued_ms = ${next.token?.issuedMs ?? 0}, sealed = ${sealer.seal(JSON.stringify(next), context)}
        where team_id = ${teamId} and key_id = ${keyId}`.execute(trx);
      return next;
    });
  }

  function renewed(stored: TokenState, nowMs: number): TokenState {
    const known = stored.heldUntilMs >= heldUntilMs ? stored : { ...stored, heldUntilMs };
    if (nextStep(known, nowMs, expired) !== 'mint') return known;
    metrics.tokens.inc({ event: 'minted' });
    return { ...known, token: mintProviderToken(key, nowMs) };
  }

  /** What cannot be opened, or is of another form, is as good as none. */
  function open(sealed: string): TokenState {
    try {
      return JSON.parse(sealer.open(sealed, context)) as TokenState;
    } catch {
      return { token: undefined, heldUntilMs: 0 };
    }
  }

  async function renew(): Promise<ProviderToken | { afterMs: number; reason: string }> {
    try {
      const stepping = step();
      if (!(await withDeadline(stepping, databaseMs))) throw new Error('the database is late');
      state = await stepping;
      metrics.tokens.inc({ event: 'read' });
    } catch (error) {
      metrics.tokens.inc({ event: 'failed' });
      logger.warn({ err: error }, 'push.apns.token.failed');
    }
    const nowMs = clock();
    lookMs = nowMs + againMs;
    none = undefined;
    const { token } = state;
    if (token !== undefined && token.text !== expired && isUsable(token, nowMs)) return token;
    const next = nextStep(state, nowMs, expired);
    const afterMs = typeof next === 'object' ? next.waitMs : againMs;
    const reason = typeof next === 'object' ? 'ExpiredProviderToken' : 'provider-token';
    none = { untilMs: nowMs + afterMs, atMs: nowMs, reason };
    return { afterMs, reason };
  }

  async function renewOnce(): Promise<ProviderToken | { afterMs: number; reason: string }> {
    const nowMs = clock();
    if (none !== undefined && nowMs < none.untilMs && nowMs >= none.atMs) {
      return { afterMs: none.untilMs - nowMs, reason: none.reason };
    }
    renewing ??= startRenewal();
    return await renewing;
  }

  function startRenewal(): Promise<ProviderToken | { afterMs: number; reason: string }> {
    const started = renew().finally(() => {
      if (renewing === started) renewing = undefined;
    });
    return started;
  }

  return {
    peek() {
      const { token } = state;
      const nowMs = clock();
      if (token === undefined || token.text === expired || !isUsable(token, nowMs)) return undefined;
      if (nowMs >= dueMs(token) && (nowMs >= lookMs || lookMs > nowMs + againMs)) void renewOnce();
      return token;
    },
    get: renewOnce,
    expired(token) {
      if (token.text === expired || token.text !== state.token?.text) return;
      expired = token.text;
      metrics.tokens.inc({ event: 'expired' });
      logger.warn({ ageMs: clock() - token.issuedMs }, 'push.apns.token.expired');
    },
    tooMany() {
      const untilMs = clock() + betweenMs;
      // All that are in flight on the connection hear the same.
      if (Math.abs(untilMs - heldUntilMs) < 1_000) return;
      heldUntilMs = untilMs;
      metrics.tokens.inc({ event: 'held' });
      logger.warn({}, 'push.apns.token.held');
      // For the other processes, at once: one that is under way does not know of it.
      none = undefined;
      renewing = startRenewal();
    },
  };
}
