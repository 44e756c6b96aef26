import type { ImClient } from '../client.ts';
import { toImError } from '../error.ts';
import type { Fields } from '../frames.ts';
import { type PushedMessage, pushedMessageOf } from './pushed-message.ts';

/** Where this device is reached while the app is not there, as its system says it. */
export interface PushToken {
  readonly channel: 'apns' | 'fcm';
  /** Of APNs the bytes as hexadecimal digits. */
  readonly token: string;
  /** Of APNs: `sandbox` for a build that was signed for development. Default: `production`. */
  readonly environment?: 'production' | 'sandbox';
  /** BCP 47: of words such as `[Image]`. Default: the app's. */
  readonly language?: string;
}

/** What the account wants of its pushes, on all its devices. Sounds: a file of the app, '' for none, null for the app's own. */
export interface PushSettings {
  readonly isOn: boolean;
  readonly c2cSound: string | null;
  readonly groupSound: string | null;
  readonly videoSound: string | null;
}

/**
 * How a client's account is reached while the app is not there. What cannot be told now, as there is no account, no connection or no answer,
 * is told with the next connection, or when the app goes to the background; then its failures are events (`request-failed`). All methods can
 * be called detached.
 */
export interface Push {
  /**
   * Remembers the device's token and tells it to the service, now and after every login: call it at every start, also before `login`.
   *
   * @returns whether the service has it by now
   * @throws ImError `INVALID_FIELD`, with `field`: `channel` where the app has no credentials for it, …
   */
  setToken(token: PushToken): Promise<boolean>;
  /** This device is pushed to no more. A logout does not need it. @returns whether the service knows */
  removeToken(): Promise<boolean>;
  /** The app goes to the background. @param unread what its icon shows; default: all that is unread. @returns whether the service knows */
  background(unread?: number): Promise<boolean>;
  /** The app is back, and gets no pushes while it has a connection. @returns whether the service knows */
  foreground(): Promise<boolean>;
  /**
   * The app was opened by this push, for the service to count. @param push as the system handed it over, see {@link pushedMessageOf}
   * @returns its message, to be shown; undefined: it has none
   */
  opened(push: unknown): PushedMessage | undefined;
  /** @throws ImError `NETWORK`, `NOT_LOGGED_IN`, … */
  settings(): Promise<PushSettings>;
  /** What is not named stays. @throws ImError `INVALID_FIELD`, with `field`, `NETWORK`, `NOT_LOGGED_IN`, … */
  setSettings(changes: Partial<PushSettings>): Promise<void>;
}

/** What the service is to be told. */
interface Owed {
  readonly request: string;
  readonly fields: object;
  /** Whose it is; undefined: whoever logs in next. */
  readonly account?: string | undefined;
  underWay?: Promise<boolean> | undefined;
}

/** Pushes by which the app was opened that can wait; the oldest goes. */
const maxOpened = 20;

/**
 * Gives a client pushes, before or after its `login`.
 *
 * @example
 * const push = createPush(client);
 * push.setToken({ channel: 'fcm', token }).catch((error) => console.log(error.field, error.message));
 * await client.login('alice', userSig);
 * onPause(() => push.background());
 * onResume(() => push.foreground());
 * onTap((payload) => show(push.opened(payload)?.conversation));
 */
export function createPush(client: ImClient): Push {
  const { current, emit } = client.extend();
  /** By what it is about: `token`, `state`, a message. What is told later of the same takes its place. */
  const owed = new Map<string, Owed>();
  let token: PushToken | undefined;
  let isBackground = false;

  function failed(request: string, caught: unknown): void {
    emit({ type: 'request-failed', request, error: toImError(caught) });
  }

  const ask = async (request: string, fields: object): Promise<Fields> => current().request(request, fields);

  /** False: not now. */
  async function tell({ request, fields }: Owed): Promise<boolean> {
    try {
      await ask(request, fields);
      return true;
    } catch (caught) {
      const { retryable, code } = toImError(caught);
      if (code === 'NOT_LOGGED_IN' || code === 'NETWORK') return false;
      if (!retryable && code !== 'INTERNAL') throw caught;
      failed(request, caught);
      return false;
    }
  }

  async function settle(key: string): Promise<boolean> {
    const one = owed.get(key);
    if (one === undefined) return true;
    let isLeft = false;
    try {
      one.underWay ??= tell(one);
      isLeft = !(await one.underWay);
      return !isLeft;
    } finally {
      one.underWay = undefined;
      if (!isLeft && owed.get(key) === one) owed.delete(key);
    }
  }

  /** Tells everything that is owed, the token first: the service counts a badge where it has one. Gives what became of one of them. */
  function settleAll(mine?: string): Promise<boolean> {
    let result = Promise.resolve(true);
    for (const key of new Set(['token', ...owed.keys()])) {
      const { request = '', account = client.account } = owed.get(key) ?? {};
      if (client.account !== undefined && account !== client.account) owed.delete(key);
      const settled = settle(key);
      if (key === mine) result = settled;
      else settled.catch((error: unknown) => failed(request, error));
    }
    return result;
  }

  function owe(key: string, request: string, fields: object, account?: string): void {
    owed.delete(key);
    owed.set(key, { request, fields, account });
  }

  client.onConnection((state) => {
    if (state !== 'connected') return;
    // It goes on with the login that the token was told to.
    if (current().welcome?.resumed !== true && token !== undefined) owe('token', 'setToken', token);
    // To the service the terminal is in the foreground; its badge is as it was.
    if (isBackground && !owed.has('state')) owe('state', 'report', { state: 'background' });
    void settleAll();
  });

  function unreadOf(): number | undefined {
    if (client.account === undefined) return undefined;
    const { heads } = current().store;
    return [...heads.values()].reduce(
      (sum, { id, isHidden, unread }) => sum + (isHidden || id === 'system' ? 0 : unread),
      0,
    );
  }

  return {
    async setToken({ channel, token: text, environment, language }) {
      token = { channel, token: text, environment, language } as PushToken;
      owe('token', 'setToken', token);
      return settleAll('token');
    },
    async removeToken() {
      token = undefined;
      owe('token', 'removeToken', {});
      return settleAll('token');
    },
    async background(unread = unreadOf()) {
      isBackground = true;
      owe('state', 'report', { state: 'background', unread });
      return settleAll('state');
    },
    async foreground() {
      isBackground = false;
      owe('state', 'report', { state: 'foreground' });
      return settleAll('state');
    },
    opened(push) {
      const message = pushedMessageOf(push);
      if (message === undefined) return undefined;
      owe(`${message.conversation} ${message.seq}`, 'pushOpened', message, client.account);
      const waiting = [...owed].filter(([, { request }]) => request === 'pushOpened');
      for (const [key] of waiting.slice(0, -maxOpened)) owed.delete(key);
      void settleAll();
      return message;
    },
    async settings() {
      return (await ask('pushSettings', {})) as unknown as PushSettings;
    },
    async setSettings({ isOn, c2cSound, groupSound, videoSound }) {
      await ask('setPushSettings', { isOn, c2cSound, groupSound, videoSound });
    },
  };
}
