import { LRUCache } from 'lru-cache';
import type { Metrics } from '../observe/index.ts';
import { type AppSettings, appSecrets } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import type { Revocations } from './revocations.ts';
import { type Clock, macChars, type SessionClaims, type SessionTokens } from './session-token.ts';
import { userSigSecretId } from './user-sig.ts';

/** The apps as this process knows them now. The settings object must be the same one until the app changes. */
export interface AppLookup {
  get(sdkAppId: SdkAppId): AppSettings | undefined;
}

export type SessionCheckResult =
  | { ok: true; claims: SessionClaims }
  | { ok: false; code: 'SESSION_INVALID' | 'SESSION_EXPIRED' | 'SESSION_REVOKED' };

export interface SessionCheck {
  /**
   * Is the token a live session? Synchronous, no database. For a token that it has seen lately the claims are the identical
   * object, so that what is derived from them can be kept beside them in a WeakMap.
   */
  check(token: string): SessionCheckResult;
  /**
   * Has the session that these claims stood for been ended by logout, kick, a change of secrets or the end of its app?
   * Its running out is no end: what was opened under it (a WebSocket) may go on.
   */
  ended(claims: SessionClaims): boolean;
}

export interface SessionCheckOptions {
  /** Verified tokens kept, at most. */
  maxCached: number;
  /** Bytes of tokens and claims kept, at most (estimated). */
  maxCachedBytes: number;
}

const revoked = { ok: false, code: 'SESSION_REVOKED' } as const;

/**
 * The one check of sessions, for the proxied path and the session endpoints.
 *
 * What cannot change (signature, claims) is remembered in a bounded LRU; what can (expiry, revocation, the app, its
 * UserSig keys) is looked at on every call: so a session ends in a process the moment the process hears of it (A14).
 * Tokens that fail are not remembered: a flood of bad tokens cannot push out the good ones.
 */
export function createSessionCheck(
  deps: {
    tokens: SessionTokens;
    revocations: Pick<Revocations, 'isRevoked'>;
    apps: AppLookup;
    clock: Clock;
    metrics: Metrics;
  },
  options: SessionCheckOptions,
): SessionCheck {
  const depth = deps.metrics.gauge('qalgate_auth_session_cache_entries', 'Verified session tokens remembered.');
  /** By MAC: it names a token as well as all of it does, and a short key is found in a third of the time. */
  const cache = new LRUCache<string, { token: string; verified: { ok: true; claims: SessionClaims } }>({
    max: options.maxCached,
    maxSize: options.maxCachedBytes,
    sizeCalculation: ({ token }) => token.length * 3 + 1_024,
  });
  /** Fingerprints of an app's UserSig keys, as long as its settings object lives. */
  const secretIds = new WeakMap<AppSettings, string[]>();

  function secretIdsOf(app: AppSettings): string[] {
    let ids = secretIds.get(app);
    if (ids === undefined) {
      ids = appSecrets(app).map(userSigSecretId);
      secretIds.set(app, ids);
    }
    return ids;
  }

  function ended(claims: SessionClaims): boolean {
    if (deps.revocations.isRevoked(claims)) return true;
    const app = deps.apps.get(claims.sdkAppId);
    if (app === undefined) return true;
    return claims.secretId !== undefined && !secretIdsOf(app).includes(claims.secretId);
  }

  return {
    ended,
    check(token) {
      const mac = token.slice(-macChars);
      const known = cache.get(mac);
      // Who has the MAC has the token; what else he may have put in front of it was never verified.
      let verified = known?.token === token ? known.verified : undefined;
      if (verified === undefined) {
        const result = deps.tokens.verify(token);
        if (!result.ok) return result;
        verified = result;
        cache.set(mac, { token, verified });
        depth.set(cache.size);
      }
      const { claims } = verified;
      if (deps.clock() >= claims.expiresAtMs) {
        cache.delete(mac);
        depth.set(cache.size);
        return { ok: false, code: 'SESSION_EXPIRED' };
      }
      if (ended(claims)) return revoked;
      return verified;
    },
  };
}
