import type { SdkAppId } from '../../wire/index.ts';
import { indexedDbStorage, memoryStorage, type QalStorage } from '../index.ts';
import { assertText, invalid, readUrl } from './arguments.ts';
import type { ConnectionReason, ConnectionState } from './connection.ts';
import { type ImConversation, idOf, openConversation } from './conversation.ts';
import { within } from './deadline.ts';
import { ImError, toImError } from './error.ts';
import type { ImEvent } from './events.ts';
import { fieldsOf, listOf } from './frames.ts';
import { defaultImLimits, type ImLimits } from './limits.ts';
import type { LinkSocketConstructor } from './link.ts';
import type { ImMessage } from './message.ts';
import { onReturn } from './page-events.ts';
import { openSession, type Session } from './session.ts';
import {
  createSignals,
  type ForcedOffline,
  listenersOf,
  type ProfileNotice,
  type ReadNotice,
  type RecalledNotice,
} from './signals.ts';
import { openStore } from './store.ts';
import type { Extension } from './sync.ts';

export const imPlatforms = ['iOS', 'iPad', 'Android', 'Web', 'Windows', 'Mac', 'Linux'] as const;
export type ImPlatform = (typeof imPlatforms)[number];

/** A logout waits no longer for the service; it is over here all the same. */
const logoutMs = 3_000;

export interface ImClientOptions {
  /** The im listener: `https://im.example.com`, or with `wss:`. Without a path `/im/v1/link` is meant. */
  readonly url: string | URL;
  readonly sdkAppId: SdkAppId;
  /** The kind of terminal that this is: which ones may be online together is the app's policy (P5). */
  readonly platform: ImPlatform;
  /** Where messages are kept. Default: IndexedDB (`qalgate-im`) in browsers, memory elsewhere. */
  readonly storage?: QalStorage;
  /** Keeps no messages; `getMessage` then always asks the service (H1). */
  readonly disableStorage?: boolean;
  /** Only `setReadMessage` ends the offline delivery of a message: other terminals get it at their login, too (M7). */
  readonly disableAutoReport?: boolean;
  /** Leaves out the last messages of recent contacts at login (M9). */
  readonly disableRecentContact?: boolean;
  /** Default: the platform's own. */
  readonly WebSocket?: LinkSocketConstructor;
  /** Milliseconds since the epoch. Default: Date.now. */
  readonly clock?: () => number;
  /** From 0 up to, not including, 1: for back-off. Default: Math.random. */
  readonly random?: () => number;
  readonly limits?: Partial<ImLimits>;
  /** Told what happens inside, for logs; what it throws is ignored. */
  readonly onEvent?: (event: ImEvent) => void;
}

export interface LoginInfo {
  readonly account: string;
  /** A terminal of another kind had ended this one while it could not be told; told once (P5). `at`: Unix seconds. */
  readonly kickedWhileAway: { readonly platform: string; readonly at: number } | undefined;
}

/** What another part of the SDK gets of the client that it extends. */
export interface Inside {
  /** @throws ImError `CLOSED`, `NOT_LOGGED_IN` */
  current(): Session;
  emit(event: ImEvent): void;
}

/** A listener comes off by the function that it was given back. */
type Listen<Args extends unknown[]> = (listener: (...args: Args) => unknown) => () => void;

/** Messaging for one account at a time. All methods can be called detached. */
export interface ImClient {
  readonly sdkAppId: SdkAppId;
  /** Whose conversations these are; undefined: nobody's. */
  readonly account: string | undefined;
  readonly connectionState: ConnectionState;
  /**
   * Opens what is stored for the account, connects, and fetches what came while it was away: offline messages and the last
   * message of each recent contact come through `onNewMessage`, then comes `onRefresh` (M5). From then on the connection is kept.
   * Another account that was logged in is logged out first. Stored messages can be read while this is under way.
   *
   * @param userSig made by the app's own login server; kept in memory only
   * @returns once the service has accepted it
   * @throws ImError for good: `USERSIG_*`, `APP_UNKNOWN`, …; `NETWORK`, `TIMEOUT`, … after `limits.loginTimeoutMs`: then the client
   *   stays with the account, goes on trying, and `onConnection` tells when it worked
   */
  login(identifier: string, userSig: string): Promise<LoginInfo>;
  /**
   * Tells the service that the terminal is gone, as far as there is a connection, and leaves the account. What is stored stays for its next login,
   * unless `forget`.
   */
  logout(options?: { readonly forget?: boolean }): Promise<void>;
  /** Ends the client without a logout, and writes what is to be written. Afterwards everything throws `CLOSED`. */
  close(): Promise<void>;
  /** @param peer the other account; or a conversation's id, `c2c:…` or `group:…` */
  getConversation(peer: string): ImConversation;
  /** All that have a message and were not deleted, the latest first. */
  getConversations(): Promise<ImConversation[]>;
  /** Profile fields of up to 100 accounts (M11); those that do not exist are left out. @throws ImError as the service says */
  getProfiles(accounts: readonly string[], fields: readonly string[]): Promise<ProfileNotice[]>;
  /** Changes the account's own profile. @throws ImError `PROFILE_*`, `NETWORK`, … */
  setProfile(fields: Readonly<Record<string, unknown>>): Promise<void>;
  /** The app went to the background, with so many unread messages on its badge; or came back. @throws ImError `NETWORK`, … */
  report(state: 'background' | 'foreground', unread?: number): Promise<void>;
  /**
   * For other parts of the SDK (`createGroups`, `createPush`), not for applications.
   * @param extension what adds conversations
   * @throws ImError `INVALID_ARGUMENT`: there is one already, or an account, that would not hear of it
   */
  extend(extension?: Extension): Inside;
  /** A message: new, offline, or the last one of a recent contact (M4). Each once, in the order of its conversation. */
  readonly onNewMessage: Listen<[message: ImMessage]>;
  /** What was missed is here: after a login, and after each interruption. */
  readonly onRefresh: Listen<[]>;
  readonly onConnection: Listen<[state: ConnectionState, reason: ConnectionReason | undefined]>;
  readonly onForceOffline: Listen<[notice: ForcedOffline]>;
  /** The UserSig is no good any more, while logged in: call `login` with a new one. */
  readonly onUserSigExpired: Listen<[error: ImError]>;
  readonly onRecalled: Listen<[notice: RecalledNotice]>;
  readonly onRead: Listen<[notice: ReadNotice]>;
  /** A message that this client sends is there, sent, or has failed. */
  readonly onStatus: Listen<[message: ImMessage]>;
  readonly onProfile: Listen<[notice: ProfileNotice]>;
  /** A conversation's unread number, read positions or last message changed. */
  readonly onConversation: Listen<[conversation: string]>;
}

/**
 * Makes a client. It does nothing until `login`.
 *
 * @example
 * const client = createImClient({ url: 'https://im.example.com', sdkAppId: 1400000000, platform: 'Web' });
 * client.onNewMessage((message) => console.log(message.from, textOf(message)));
 * await client.login('alice', userSig);
 * client.getConversation('bob').sendMessage('hi');
 *
 * @throws ImError `INVALID_ARGUMENT`, with `field`
 */
export function createImClient(options: ImClientOptions): ImClient {
  const { sdkAppId, platform, clock = Date.now, random = Math.random, disableStorage = false } = options;
  const url = readUrl(options.url);
  if (!Number.isInteger(sdkAppId) || sdkAppId < 1 || sdkAppId > 4_294_967_295) {
    throw invalid('sdkAppId', 'must be an integer from 1 to 4294967295');
  }
  if (!imPlatforms.includes(platform)) throw invalid('platform', `must be one of ${imPlatforms.join(', ')}`);
  const WebSocket = options.WebSocket ?? (globalThis as { WebSocket?: LinkSocketConstructor }).WebSocket;
  if (WebSocket === undefined) throw invalid('WebSocket', 'must be given: this platform has none');
  const limits = { ...defaultImLimits, ...options.limits };
  const storage =
    options.storage ?? ('indexedDB' in globalThis ? indexedDbStorage({ name: 'qalgate-im' }) : memoryStorage());

  function emit(event: ImEvent): void {
    try {
      options.onEvent?.(event);
    } catch {
      // The application's.
    }
  }

  const signals = createSignals(emit);
  let session: Session | undefined;
  let extension: Extension | undefined;
  let state: ConnectionState = 'disconnected';
  let isClosed = false;
  /** Logins and logouts, one after another. */
  let turn: Promise<unknown> = Promise.resolve();
  const unsubscribe = signals.onConnection.on((next) => {
    state = next;
  });
  const unlisten = onReturn(() => session?.hurry());

  function inTurn<T>(run: () => Promise<T>): Promise<T> {
    const mine = turn.then(() => {
      if (isClosed) throw new ImError('CLOSED', 'the client was closed');
      return run();
    });
    turn = mine.catch(() => {});
    return mine;
  }

  function current(): Session {
    if (isClosed) throw new ImError('CLOSED', 'the client was closed');
    if (session === undefined) throw new ImError('NOT_LOGGED_IN', 'no account is logged in');
    return session;
  }

  const ask = async (what: string, fields: object) => current().request(what, fields);

  async function leave(isForgotten: boolean): Promise<void> {
    const old = session;
    if (old === undefined) return;
    try {
      void old.reports.flush();
      const told = old.ask()?.('logout');
      if (told !== undefined) await within(logoutMs, 'logout', told);
    } catch (error) {
      emit({ type: 'request-failed', request: 'logout', error: toImError(error) });
    }
    await old.close(new ImError('CLOSED', 'the account was logged out'));
    if (isForgotten) await old.store.reset(true);
    session = undefined;
    if (state !== 'disconnected') signals.onConnection.emit('disconnected', undefined);
  }

  async function enter(identifier: string): Promise<Session> {
    if (session?.account === identifier) return session;
    await leave(false);
    const store = await openStore(storage, { sdkAppId, account: identifier, isOff: disableStorage, limits }, emit);
    session = openSession({
      account: identifier,
      store,
      signals,
      emit,
      limits,
      clock,
      random,
      withRecents: options.disableRecentContact !== true,
      extension,
    });
    return session;
  }

  return {
    sdkAppId,
    get account() {
      return session?.account;
    },
    get connectionState() {
      return state;
    },
    async login(identifier, userSig) {
      assertText('identifier', identifier);
      assertText('userSig', userSig);
      const mine = await inTurn(() => enter(identifier));
      const { account, kickedWhileAway } = await mine.connect({
        url,
        WebSocket,
        login: { sdkAppId, identifier, userSig },
        platform,
        autoReport: options.disableAutoReport !== true,
      });
      return { account, kickedWhileAway };
    },
    logout: ({ forget = false } = {}) => inTurn(() => leave(forget)),
    async close() {
      if (isClosed) return;
      isClosed = true;
      unsubscribe();
      unlisten();
      await turn;
      state = 'disconnected';
      // What is written to the link now goes before its end.
      void session?.reports.flush();
      await session?.close(new ImError('CLOSED', 'the client was closed'));
      await storage.close().catch((error: unknown) => emit({ type: 'storage-failed', operation: 'set', error }));
    },
    getConversation(peer) {
      assertText('peer', peer);
      return openConversation(current(), idOf(peer));
    },
    async getConversations() {
      const { store, history, outbox } = current();
      const heads = [...store.heads.values()].filter(({ isHidden }) => !isHidden);
      await Promise.all(heads.map((head) => head.last ?? history.findLast(head)));
      const mine = current();
      return heads
        .map((head) => ({ head, unsent: outbox.unsent(head.id).at(-1) }))
        .filter(({ head, unsent }) => head.seq > 0 || unsent !== undefined)
        .sort((a, b) => Math.max(b.head.time, b.unsent?.time ?? 0) - Math.max(a.head.time, a.unsent?.time ?? 0))
        .map(({ head }) => openConversation(mine, head.id));
    },
    async getProfiles(accounts, fields) {
      const { profiles } = await ask('profiles', { accounts, fields });
      return listOf(profiles).map((one) => {
        const { account, fields } = fieldsOf(one);
        return { account: String(account), fields: fieldsOf(fields) };
      });
    },
    async setProfile(fields) {
      await ask('setProfile', { fields });
    },
    async report(state, unread) {
      await ask('report', { state, unread });
    },
    extend(given) {
      if (given && (session ?? extension)) throw invalid('client', 'must be new');
      extension ??= given;
      return { current, emit };
    },
    ...listenersOf(signals),
  };
}
