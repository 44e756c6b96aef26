import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Metrics } from '../observe/index.ts';
import { type AppSettings, appSecrets, type ControlBus } from '../store/index.ts';
import type { AccountId, ImErrorName, SdkAppId } from '../wire/index.ts';
import type { Revocations } from './revocations.ts';
import type { AppLookup } from './session-check.ts';
import type { Clock } from './session-token.ts';
import { maxUserSigChars, type UserSigFault, verifyUserSig } from './user-sig.ts';

export type UserSigCheckError = Extract<
  ImErrorName,
  UserSigFault | 'APP_UNKNOWN' | 'USERSIG_REVOKED' | 'DATABASE_UNAVAILABLE'
>;

export type UserSigCheckResult =
  /** Unix seconds. */
  { ok: true; issuedAtSec: number; expiresAtSec: number } | { ok: false; error: UserSigCheckError };

export interface UserSigCheck {
  /**
   * Is it a UserSig of that account, good now? Steps 1–7 of API reference §1.4, in that order. Never rejects; the database is
   * asked at most once in 30 s for an account.
   */
  check(sdkAppId: SdkAppId, identifier: AccountId, userSig: unknown): Promise<UserSigCheckResult>;
  close(): void;
}

export interface UserSigCheckOptions {
  /** Verified UserSigs, and accounts' kicks, kept at most. */
  maxCached: number;
}

/** The bus may have lost a kick: after so long it is looked up again. */
const maxKickAgeMs = 30_000;

/** A UserSig whose signature was found good. */
interface Verified {
  /** Its settings at that time: another object may have other secrets. */
  app: AppSettings;
  identifier: string;
  issuedAtSec: number;
  expiresAtSec: number;
}

interface Kick {
  /** Undefined: the account was never kicked. */
  momentMs: number | undefined;
  readAtMs: number;
}

/**
 * The check of UserSigs for whoever calls the messaging service, over REST or a link.
 *
 * That a signature is good is remembered by the SHA-256 of the UserSig, never by itself; what can change (expiry, the app's
 * secrets, kicks) is looked at on every call. The moment of an account's last kick comes from the database; it is
 * forgotten when a kick of the account is heard of, when one may have been missed, and after 30 s.
 */
export function createUserSigCheck(
  deps: {
    apps: AppLookup;
    revocations: Pick<Revocations, 'accountRevokedBeforeMs' | 'onAccountRevoked'>;
    bus: Pick<ControlBus, 'subscribe' | 'onReconnect'>;
    clock: Clock;
    metrics: Metrics;
  },
  { maxCached }: UserSigCheckOptions,
): UserSigCheck {
  const { apps, revocations, bus, clock, metrics } = deps;
  const verified = new LRUCache<string, Verified>({ max: maxCached });
  const kicks = new LRUCache<string, Kick>({ max: maxCached });
  /** Look-ups in flight; one that a kick overtook is not in here any more. */
  const reading = new Map<string, Promise<number | undefined>>();
  metrics.gaugeOf('qalgate_auth_user_sigs_cached', 'Verified UserSigs remembered.', () => verified.size);
  const results = metrics.counter(
    'qalgate_auth_user_sig_checks_total',
    'UserSigs of the messaging service that were checked, by result: ok or the error.',
    ['result'],
  );

  function forgetKick(sdkAppId: SdkAppId, account: string): void {
    kicks.delete(keyOf(sdkAppId, account));
    reading.delete(keyOf(sdkAppId, account));
  }

  const stops = [
    revocations.onAccountRevoked(forgetKick),
    bus.subscribe('revocations', (payload) => {
      const { scope, sdkAppId, subject } = (payload ?? {}) as Record<string, unknown>;
      if (scope === 'account' && typeof sdkAppId === 'number' && typeof subject === 'string') {
        forgetKick(sdkAppId, subject);
      }
    }),
    bus.onReconnect(() => {
      kicks.clear();
      reading.clear();
    }),
  ];

  function verify(app: AppSettings, identifier: string, userSig: unknown) {
    const nowSec = Math.floor(clock() / 1_000);
    const key =
      typeof userSig === 'string' && userSig !== '' && userSig.length <= maxUserSigChars
        ? hash('sha256', userSig, 'base64url')
        : undefined;
    const known = key === undefined ? undefined : verified.get(key);
    if (known?.app === app && known.identifier === identifier && nowSec < known.expiresAtSec) {
      return { ok: true, value: known } as const;
    }
    const { sdkAppId } = app;
    const result = verifyUserSig(userSig, { sdkAppId, identifier, secrets: appSecrets(app), nowSec });
    if (!result.ok) {
      // It has expired, or its secret is gone; asked for in another name or app it is as good as before.
      if (key !== undefined && known?.identifier === identifier && known.app.sdkAppId === sdkAppId)
        verified.delete(key);
      return { ok: false, error: result.code } as const;
    }
    const { issuedAtSec, expiresAtSec } = result;
    const value: Verified = { app, identifier, issuedAtSec, expiresAtSec };
    if (key !== undefined) verified.set(key, value);
    return { ok: true, value } as const;
  }

  async function kickOf(sdkAppId: SdkAppId, account: AccountId): Promise<number | undefined> {
    const key = keyOf(sdkAppId, account);
    const readAtMs = clock();
    const known = kicks.get(key);
    if (known !== undefined && Math.abs(readAtMs - known.readAtMs) < maxKickAgeMs) return known.momentMs;
    const running = reading.get(key);
    if (running !== undefined) return await running;
    const read = revocations.accountRevokedBeforeMs(sdkAppId, account);
    reading.set(key, read);
    try {
      const momentMs = await read;
      // Not what was read before a kick that came meanwhile.
      if (reading.get(key) === read) kicks.set(key, { momentMs, readAtMs });
      return momentMs;
    } finally {
      if (reading.get(key) === read) reading.delete(key);
    }
  }

  async function check(sdkAppId: SdkAppId, identifier: AccountId, userSig: unknown): Promise<UserSigCheckResult> {
    const app = apps.get(sdkAppId);
    if (app === undefined) return { ok: false, error: 'APP_UNKNOWN' };
    const signature = verify(app, identifier, userSig);
    if (!signature.ok) return signature;
    const { issuedAtSec, expiresAtSec } = signature.value;
    let kickedMs: number | undefined;
    try {
      kickedMs = await kickOf(sdkAppId, identifier);
    } catch {
      // Logged where it was read. Nobody is let in on the hope that he was not kicked.
      return { ok: false, error: 'DATABASE_UNAVAILABLE' };
    }
    // I4: every UserSig issued until that second.
    if (kickedMs !== undefined && issuedAtSec <= Math.floor(kickedMs / 1_000)) {
      return { ok: false, error: 'USERSIG_REVOKED' };
    }
    return { ok: true, issuedAtSec, expiresAtSec };
  }

  return {
    async check(sdkAppId, identifier, userSig) {
      const result = await check(sdkAppId, identifier, userSig);
      results.inc({ result: result.ok ? 'ok' : result.error });
      return result;
    },
    close() {
      for (const stop of stops) stop();
    },
  };
}

function keyOf(sdkAppId: SdkAppId, account: string): string {
  return `${sdkAppId}/${account}`;
}
