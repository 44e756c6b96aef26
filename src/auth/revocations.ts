import { type Kysely, sql } from 'kysely';
import type { Logger, Metrics } from '../observe/index.ts';
import type { ControlBus, Database, Schema } from '../store/index.ts';
import type { AccountId, SdkAppId, TerminalId } from '../wire/index.ts';
import { createRevokedBefore } from './revoked-before.ts';
import type { Clock, SessionClaims } from './session-token.ts';

export interface Revocations {
  /** Has the session been ended by a logout of its terminal or a kick of its account? From memory, two map look-ups. */
  isRevoked(claims: SessionClaims): boolean;
  /**
   * Ends the sessions that the terminal was issued so far (logout). Resolves when that is committed; this process refuses
   * them at once, the others as soon as the bus has told them. Rejects if the database fails: then repeat.
   */
  revokeTerminal(sdkAppId: SdkAppId, terminalId: TerminalId): Promise<void>;
  /**
   * Ends the account's sessions, and makes its UserSigs issued until this second invalid (kick, I4); else as above. With
   * `within` as a part of that transaction: should it fail, this process alone refuses older sessions.
   */
  revokeAccount(sdkAppId: SdkAppId, account: AccountId, within?: Kysely<Schema>): Promise<void>;
  /** When the account was last kicked, read from the database, for login. Rejects if the database fails. */
  accountRevokedBeforeMs(sdkAppId: SdkAppId, account: AccountId): Promise<number | undefined>;
  /** When the terminal was last logged out, from memory; undefined also when its sessions of then have expired. */
  terminalRevokedBeforeMs(sdkAppId: SdkAppId, terminalId: TerminalId): number | undefined;
  /**
   * Calls `fn` for each kick by this process before `revokeAccount` resolves: committed, unless it is part of a transaction.
   * Then the bus tells of it once more after the commit, as it does of those of other processes.
   */
  onAccountRevoked(fn: (sdkAppId: SdkAppId, account: string) => void): () => void;
  close(): Promise<void>;
}

export interface RevocationsOptions {
  /** Longest life of a session: memory needs nothing that was revoked longer ago. */
  sessionLifetimeMs: number;
  /** Pause between two readings of the table, the safety net under the bus. */
  refreshMs?: number;
  /** Terminals and accounts in memory, at most so many of each. */
  maxEntries?: number;
}

type Scope = 'terminal' | 'account';
interface Revocation {
  scope: Scope;
  sdkAppId: SdkAppId;
  subject: string;
  revokedBeforeMs: number;
}

/**
 * A revocation also ends sessions that seem to be issued up to this much after it: by a process whose clock is ahead, or
 * while it was being committed. Sessions that are rightly issued after it know it, and are dated behind that (`issueTimeMs`).
 */
const graceMs = 2_000;

/** Terminals' rows stay this much longer than memory needs them, for processes whose clock is behind. */
const rowSlackMs = 3_600_000;

/**
 * The issue time of a session that is made now, in the knowledge of these revocations: one that they do not end.
 * `nowMs` is to be taken before they were asked for, so that one that comes meanwhile does end it.
 */
export function issueTimeMs(nowMs: number, revocationsMs: readonly (number | undefined)[]): number {
  return Math.max(nowMs, ...revocationsMs.map((momentMs) => (momentMs ?? 0) + graceMs + 1));
}

/**
 * The revoked-before map (A14): for accounts and terminals the moment up to which their issued sessions have ended.
 *
 * The table `session_revocation` is the truth; memory holds what a living session could still meet. It is loaded at the
 * start, fed by the bus, and read again every 30 s and whenever the bus has reconnected. While the database is away what is
 * known stays: an ended session never comes back. Moments only move forward, and two kicks never carry the same one, so
 * a session issued after the first is ended by the second. Processes' clocks may differ by two seconds.
 *
 * Rejects when the first load fails.
 */
export async function createRevocations(
  deps: { db: Pick<Database, 'kysely'>; bus: ControlBus; clock: Clock; logger: Logger; metrics: Metrics },
  options: RevocationsOptions,
): Promise<Revocations> {
  const { db, bus, clock, logger, metrics } = deps;
  const { sessionLifetimeMs, refreshMs = 30_000, maxEntries = 500_000 } = options;
  const failures = metrics.counter(
    'qalgate_auth_revocation_failures_total',
    'Revocations that could not be read or written.',
    ['operation'],
  );
  const inMemory = metrics.gauge('qalgate_auth_revocations', 'Revocations in memory.', ['scope']);
  const forgotten = metrics.counter(
    'qalgate_auth_revocations_forgotten_total',
    'Revocations that gave way because memory was full; their whole app had to renew its sessions.',
    ['scope'],
  );
  const accountListeners = new Set<(sdkAppId: SdkAppId, account: string) => void>();
  const moments = { terminal: createRevokedBefore({ maxEntries }), account: createRevokedBefore({ maxEntries }) };

  function remember({ scope, sdkAppId, subject, revokedBeforeMs }: Revocation): void {
    if (!moments[scope].add(sdkAppId, subject, revokedBeforeMs)) forgotten.inc({ scope });
    inMemory.set({ scope }, moments[scope].size);
  }

  function failed(operation: 'refresh' | 'write' | 'login', err: unknown): void {
    failures.inc({ operation });
    logger.error({ err, operation }, 'auth.revocations.failed');
  }

  async function load(): Promise<void> {
    const oldestMs = clock() - sessionLifetimeMs - graceMs;
    const rows = await db.kysely
      .selectFrom('session_revocation')
      .selectAll()
      // Both scopes named, so that the index (scope, revoked_before) serves.
      .where('scope', 'in', ['terminal', 'account'])
      .where('revoked_before', '>=', new Date(oldestMs))
      .orderBy('revoked_before')
      .execute();
    for (const row of rows) {
      remember({
        scope: row.scope,
        sdkAppId: row.sdk_app_id,
        subject: row.subject,
        revokedBeforeMs: row.revoked_before.getTime(),
      });
    }
    for (const scope of ['terminal', 'account'] as const) {
      moments[scope].prune(oldestMs);
      inMemory.set({ scope }, moments[scope].size);
    }
    await db.kysely
      .deleteFrom('session_revocation')
      .where('scope', '=', 'terminal')
      .where('revoked_before', '<', new Date(oldestMs - rowSlackMs))
      .execute();
  }

  async function write(transaction: Kysely<Schema>, scope: Scope, sdkAppId: SdkAppId, subject: string, nowMs: number) {
    const row = await transaction
      .insertInto('session_revocation')
      .values({ sdk_app_id: sdkAppId, scope, subject, revoked_before: new Date(nowMs) })
      .onConflict((conflict) =>
        conflict.columns(['sdk_app_id', 'scope', 'subject']).doUpdateSet({
          revoked_before: sql<Date>`greatest(
            excluded.revoked_before, session_revocation.revoked_before + interval '1 millisecond')`,
        }),
      )
      .returning('revoked_before')
      .executeTakeFirstOrThrow();
    const revocation: Revocation = { scope, sdkAppId, subject, revokedBeforeMs: row.revoked_before.getTime() };
    remember(revocation);
    // The others are told if and only if it is committed.
    await bus.publish('revocations', revocation, transaction);
  }

  async function revoke(scope: Scope, sdkAppId: SdkAppId, subject: string, within?: Kysely<Schema>): Promise<void> {
    const nowMs = clock();
    remember({ scope, sdkAppId, subject, revokedBeforeMs: nowMs });
    try {
      if (within !== undefined) await write(within, scope, sdkAppId, subject, nowMs);
      else await db.kysely.transaction().execute((own) => write(own, scope, sdkAppId, subject, nowMs));
    } catch (err) {
      failed('write', err);
      throw err;
    }
    if (scope === 'account') for (const fn of accountListeners) fn(sdkAppId, subject);
    logger.info({ scope, sdkAppId, subject }, 'auth.sessions.revoked');
  }

  // Listening before loading: nothing falls between the two.
  const unsubscribe = bus.subscribe('revocations', (payload) => {
    const revocation = parseRevocation(payload);
    if (revocation === undefined) logger.warn({}, 'auth.revocations.message_unreadable');
    else remember(revocation);
  });
  await load().catch((err: unknown) => {
    unsubscribe();
    throw err;
  });
  const refresher = createRefresher(load, refreshMs, (err) => failed('refresh', err));
  const offReconnect = bus.onReconnect(refresher.now);

  return {
    isRevoked({ sdkAppId, terminalId, account, issuedAtMs }) {
      const loggedOutMs = moments.terminal.get(sdkAppId, terminalId);
      if (loggedOutMs !== undefined && issuedAtMs <= loggedOutMs + graceMs) return true;
      if (account === undefined) return false;
      const kickedMs = moments.account.get(sdkAppId, account);
      return kickedMs !== undefined && issuedAtMs <= kickedMs + graceMs;
    },
    revokeTerminal: (sdkAppId, terminalId) => revoke('terminal', sdkAppId, terminalId),
    revokeAccount: (sdkAppId, account, within) => revoke('account', sdkAppId, account, within),
    async accountRevokedBeforeMs(sdkAppId, account) {
      try {
        const row = await db.kysely
          .selectFrom('session_revocation')
          .select('revoked_before')
          .where('sdk_app_id', '=', sdkAppId)
          .where('scope', '=', 'account')
          .where('subject', '=', account)
          .executeTakeFirst();
        return row?.revoked_before.getTime();
      } catch (err) {
        failed('login', err);
        throw err;
      }
    },
    terminalRevokedBeforeMs: (sdkAppId, terminalId) => moments.terminal.get(sdkAppId, terminalId),
    onAccountRevoked(fn) {
      accountListeners.add(fn);
      return () => accountListeners.delete(fn);
    },
    async close() {
      unsubscribe();
      offReconnect();
      await refresher.close();
    },
  };
}

/** Runs a task every so often and on demand, one run at a time; failures are reported and the next run comes all the same. */
function createRefresher(task: () => Promise<void>, everyMs: number, onError: (err: unknown) => void) {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let wanted = false;
  let closed = false;

  async function run(): Promise<void> {
    do {
      wanted = false;
      await task().catch(onError);
    } while (wanted && !closed);
    running = undefined;
    if (!closed) timer = setTimeout(now, everyMs).unref();
  }

  function now(): void {
    wanted = true;
    clearTimeout(timer);
    if (!closed) running ??= run();
  }

  timer = setTimeout(now, everyMs).unref();
  return {
    now,
    async close(): Promise<void> {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

/** Reads a bus message; undefined for what a later version may send. */
function parseRevocation(payload: unknown): Revocation | undefined {
  if (typeof payload !== 'object' || payload === null) return undefined;
  const { scope, sdkAppId, subject, revokedBeforeMs } = payload as Record<string, unknown>;
  if ((scope !== 'terminal' && scope !== 'account') || typeof subject !== 'string') return undefined;
  if (typeof sdkAppId !== 'number' || typeof revokedBeforeMs !== 'number') return undefined;
  return { scope, sdkAppId, subject, revokedBeforeMs };
}
