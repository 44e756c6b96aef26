import type { DeviceReport, NetworkReport, SdkAppId } from '../wire/index.ts';
import { answerFromNetwork } from './answer.ts';
import { codeOf, QalError } from './error.ts';
import { type CacheStats, emptyStats, type QalEvent } from './events.ts';
import type { CacheContext } from './fill.ts';
import { guardStorage } from './guarded-storage.ts';
import { createIdentity, type GetUserSig, type Identity } from './identity.ts';
import { defaultLimits, type QalLimits } from './limits.ts';
import { memoryStorage } from './memory-storage.ts';
import { appKey, openPartition, partitionKey } from './partition.ts';
import { createPrivateCache } from './private-cache.ts';
import { type ClientRequest, readRequest, refuseRedirect, resolveUrl } from './request.ts';
import { createSender } from './sender.ts';
import { createSessionEndpoint } from './session-endpoint.ts';
import { createSessions } from './sessions.ts';
import { keepPrefix, type QalStorage } from './storage.ts';
import type { Fetch } from './transport.ts';
import type { PrivateRules } from './variant.ts';
import { sdkVersion } from './version.ts';

export interface QalClientOptions {
  /** The access listener, `http://` or `https://`. Only its origin counts. */
  readonly baseUrl: string | URL;
  readonly sdkAppId: SdkAppId;
  /** What backends get as `QAL-OS`, `QAL-Device`, …; fields as in docs/reference/sessions.md. */
  readonly device?: DeviceReport;
  /** The network at the start; later {@link QalClient.reportNetwork}. */
  readonly network?: NetworkReport;
  /** Starts logged in; the same as {@link QalClient.login} before the first request, but waits for nothing. */
  readonly account?: { readonly identifier: string; readonly getUserSig: GetUserSig };
  /** Where the terminal's identity and the cache are kept. Default: {@link memoryStorage}, which forgets. */
  readonly storage?: QalStorage;
  /** How answers are cached: by rule C2, by RFC 9111, or not at all. Default: `qal`. */
  readonly cache?: 'qal' | 'rfc9111' | 'off';
  /** What sends requests. Default: the platform's own, as it is when it is called. */
  readonly fetch?: Fetch;
  /** Milliseconds since the epoch. Default: Date.now. */
  readonly clock?: () => number;
  /** From 0 up to, not including, 1: for back-off and renewal. Default: Math.random. */
  readonly random?: () => number;
  readonly limits?: Partial<QalLimits>;
  /** Told what happens; what it throws is ignored. */
  readonly onEvent?: (event: QalEvent) => void;
}

/** Who the server takes this client for. */
export interface SessionInfo {
  /** What backends see as `QAL-Identifier`: the terminal (A3). */
  readonly qalIdentifier: string;
  /** What backends see as `QAL-Account`; undefined: anonymous (A13). */
  readonly account: string | undefined;
}

/** HTTP through the access service: sessions, and a private cache. All methods can be called detached. */
export interface QalClient {
  /**
   * As the platform's `fetch`, for URLs of the access listener: absolute, or relative to `baseUrl`. Adds the session, and
   * answers from the local cache where it may; `Cache-Status` says what it did (member `qal-sdk`, RFC 9211).
   *
   * - All of `init` counts, `cache` among it: `reload`, `no-cache`, `force-cache`, `no-store`; `only-if-cached` answers 504 when
   *   nothing is stored; with a `Range` or a condition of the caller's own, and without a cache, the request is sent.
   * - Fields that the Fetch standard forbids, and those that begin with `QAL-`, are left out.
   * - Redirects are followed within the origin: by the browser, on pages of the same origin, and by `qalgate/sdk/node`.
   *   Elsewhere they throw `REDIRECT`.
   * - When the session has ended, a new one is made and the request is sent once more, unless its body is a stream.
   *
   * @throws QalError without an answer: `NETWORK`, `TIMEOUT`, `WRONG_ORIGIN`, `REDIRECT`, `CLOSED`, …, or why there is no session
   *   (`USERSIG_*`, `APP_UNKNOWN`, `RATE_LIMITED`, …). An answer is a Response, whatever its status. An abort throws the
   *   signal's reason.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /**
   * Binds the client to an account, and drops what is cached for any other (C0). `getUserSig` is asked now, and again when
   * the server refuses the last UserSig; it is kept in memory only.
   *
   * @returns once the server has accepted it
   * @throws QalError `USERSIG_*`, `LOGIN_FAILED`, `INVALID_ARGUMENT`, or what the network did. The client is bound to the account
   *   all the same, so that what is cached for it can be read offline; requests then try again.
   */
  login(identifier: string, getUserSig: GetUserSig): Promise<SessionInfo>;
  /**
   * Ends the session on the server (A14), and drops what is cached for the account. The client goes on anonymously, as the
   * same terminal.
   *
   * @throws QalError when the server could not be told: here it is over all the same, there within 15 minutes
   */
  logout(): Promise<void>;
  /**
   * Says that the network changed (A12). Before there is a session it is only remembered.
   * @throws QalError when the server could not be told; the next session will tell it
   */
  reportNetwork(network: NetworkReport): Promise<void>;
  /** Who we are; asks for a session if there is none. @throws QalError as `fetch` */
  session(): Promise<SessionInfo>;
  /** Counters since the start. `storageDegraded`: the storage failed, and everything is kept in memory. */
  cacheStats(): Readonly<CacheStats> & { readonly storageDegraded: boolean };
  /**
   * Removes from the cache of the current account: everything, one URL, or, with a `*` at the end, all that begin with it.
   * @returns how many URLs had something stored
   */
  purge(urlOrPrefix?: string): Promise<number>;
  /** Ends what is under way in the background, writes what is to be written. Afterwards everything throws `CLOSED`. */
  close(): Promise<void>;
}

/**
 * Makes a client. It sends nothing until it is asked for something; with an `account`, what is stored for any other is removed.
 *
 * @example
 * const client = createQalClient({ baseUrl: 'https://api.example.com', sdkAppId: 1400000000, storage: indexedDbStorage() });
 * const response = await client.fetch('/news?page=1');
 *
 * @throws QalError `INVALID_ARGUMENT`
 */
export function createQalClient(options: QalClientOptions): QalClient {
  const baseUrl = readBaseUrl(options.baseUrl);
  const { sdkAppId, clock = Date.now, random = Math.random, cache: mode = 'qal' } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const fetch: Fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  const device: DeviceReport = { sdkVersion, ...options.device };

  function emit(event: QalEvent): void {
    try {
      options.onEvent?.(event);
    } catch {
      // The application's.
    }
  }

  let storageFailures = 0;
  const storage = guardStorage(options.storage ?? memoryStorage(), limits.storageTimeoutMs, (failure) => {
    storageFailures += 1;
    emit({ type: 'storage-failed', ...failure });
  });
  const sessions = createSessions(
    { endpoint: createSessionEndpoint(fetch, baseUrl, limits), clock, random, storage },
    {
      sdkAppId,
      terminalKey: `${keepPrefix}terminal/${sdkAppId}/${baseUrl.origin}`,
      device,
      network: options.network ?? {},
      limits,
    },
  );
  const send = createSender({ fetch, sessions }, { ...limits, isSameOriginPage: pageOrigin() === baseUrl.origin });
  const rules: PrivateRules = { mode: mode === 'off' ? 'qal' : mode, kind: 'private' };
  const cache = mode === 'off' ? undefined : createPrivateCache({ rules, limits, clock, emit });
  const openFor = ({ account }: Identity) => openPartition(storage, partitionKey(sdkAppId, account), rules);

  let dropping = Promise.resolve();
  let identity = createIdentity(options.account);
  let partition = openFor(identity);
  // Who starts anonymously may be about to log in as the one whose answers are stored: they wait, unseen.
  if (identity.account !== undefined) dropping = dropOthers(identity);

  function assertOpen(): void {
    identity.ended.signal.throwIfAborted();
  }

  /** C0: only what is stored for this identity's account stays. */
  async function dropOthers({ account }: Identity): Promise<void> {
    const kept = partitionKey(sdkAppId, account);
    const keys = await storage.keys(appKey(sdkAppId));
    await Promise.all(keys.filter((key) => !key.startsWith(kept)).map((key) => storage.delete(key)));
  }

  function become(next: Identity): void {
    const old = partition;
    identity.ended.abort(new QalError('ACCOUNT_CHANGED', 'the account changed meanwhile'));
    cache?.supersede();
    old.close();
    identity = next;
    partition = openFor(next);
    dropping = dropping.then(() => old.flush()).then(() => dropOthers(next));
  }

  async function infoOf(who: Identity): Promise<SessionInfo> {
    const { qalIdentifier } = await sessions.token(who);
    return { qalIdentifier, account: who.account };
  }

  /** What the access service will make of our reports (C12: Vary on them works). */
  function injected(name: string): string {
    const isOfNetwork = name === 'qal-apn' || name.startsWith('qal-rat');
    return JSON.stringify(isOfNetwork ? sessions.network : device);
  }

  async function answer(request: ClientRequest, asker: Identity, context: CacheContext): Promise<Response> {
    if (cache !== undefined) return cache.answer(request, context);
    return answerFromNetwork({ exchange: await send(asker, request, {}) }, request, undefined);
  }

  return {
    async fetch(input, init) {
      assertOpen();
      const asker = identity;
      const context: CacheContext = {
        partition,
        ended: asker.ended.signal,
        send: (request, fields) => send(asker, request, fields),
        injected,
      };
      const request = await readRequest(input, init, baseUrl);
      request.signal?.throwIfAborted();
      const response = await answer(request, asker, context);
      // What was asked for as somebody else is not shown any more; what was done is told.
      if (asker.ended.signal.aborted && /^(?:GET|HEAD)$/.test(request.method)) {
        response.body?.cancel().catch(() => {});
        throw asker.ended.signal.reason;
      }
      refuseRedirect(request, response);
      return response;
    },
    async login(identifier, getUserSig) {
      assertOpen();
      become(createIdentity({ identifier, getUserSig }, identity.after));
      const mine = identity;
      await dropping;
      return infoOf(mine);
    },
    async logout() {
      assertOpen();
      const { token, after } = identity;
      const ending = token === undefined ? Promise.resolve() : after.then(() => sessions.end(token));
      // The next session of this terminal must not be among those that this ends.
      const ended = ending.catch(() => {});
      become(createIdentity(undefined, ended));
      await dropping;
      await ending.catch((error: unknown) => {
        if (!codeOf(error).startsWith('SESSION_')) throw error;
      });
    },
    async reportNetwork(network) {
      assertOpen();
      await sessions.reportNetwork(identity, network);
    },
    async session() {
      return infoOf(identity);
    },
    cacheStats: () => ({ ...(cache?.stats ?? emptyStats()), storageFailures, storageDegraded: storage.degraded }),
    async purge(urlOrPrefix = '/*') {
      assertOpen();
      const mine = partition;
      const isPrefix = urlOrPrefix.endsWith('*');
      const { href } = resolveUrl(urlOrPrefix.replace(/\*$/, ''), baseUrl);
      const isMeant = (url: string): boolean => (isPrefix ? url.startsWith(href) : url === href);
      cache?.supersede(isMeant);
      return mine.removeAll(isMeant);
    },
    async close() {
      if (identity.ended.signal.aborted) return;
      const reason = new QalError('CLOSED', 'the client was closed');
      identity.ended.abort(reason);
      cache?.close(reason);
      await Promise.all([partition.flush(), dropping]);
      // A body that ends later would open the storage again.
      partition.close();
      await storage.close();
    },
  };
}

function readBaseUrl(given: string | URL): URL {
  const { origin = '' } = URL.parse(String(given)) ?? {};
  if (!origin.startsWith('http')) throw new QalError('INVALID_ARGUMENT', `no http or https URL: ${given}`);
  return new URL(origin);
}

/** Of the page that we are in; undefined: we are in none. */
function pageOrigin(): string | undefined {
  return (globalThis as { location?: { readonly origin?: string } }).location?.origin;
}
