import type { Test } from 'tap';
import {
  createImClient,
  type ImClient,
  type ImClientOptions,
  type ImEvent,
  type ImMessage,
  memoryStorage,
  type QalStorage,
  textOf,
} from '../../src/sdk/im/index.ts';

/** A client, and everything that it told its application, in order: `new a`, `refresh`, `connected`, `status b sent`, … */
export interface WatchedClient {
  readonly client: ImClient;
  readonly told: string[];
  readonly messages: ImMessage[];
  readonly events: ImEvent[];
  /** Texts that `onNewMessage` got, in order. */
  texts(): string[];
  /** Waits until something was told so often. */
  until(what: string, count?: number): Promise<void>;
}

export const quickLimits = {
  backoffMs: 20,
  connectTimeoutMs: 2_000,
  requestTimeoutMs: 2_000,
  beatTimeoutMs: 2_000,
  loginTimeoutMs: 5_000,
};

export function watchClient(
  t: Test,
  options: Omit<ImClientOptions, 'sdkAppId' | 'platform'> & Partial<ImClientOptions>,
): WatchedClient {
  const told: string[] = [];
  const messages: ImMessage[] = [];
  const events: ImEvent[] = [];
  const client = createImClient({
    sdkAppId: 1_400_000_000,
    platform: 'Web',
    random: () => 0,
    onEvent: (event) => events.push(event),
    ...options,
    limits: { ...quickLimits, ...options.limits },
  });
  t.teardown(() => client.close());
  client.onNewMessage((message) => {
    messages.push(message);
    told.push(`new ${textOf(message)}`);
  });
  client.onRefresh(() => told.push('refresh'));
  client.onConnection((state) => told.push(state));
  client.onForceOffline(({ error }) => told.push(`forced ${error.code}`));
  client.onUserSigExpired((error) => told.push(`expired ${error.code}`));
  client.onRecalled(({ conversation, seqs }) => told.push(`recalled ${conversation} ${seqs.join(',')}`));
  client.onRead(({ conversation, readSeq, by }) => told.push(`read ${conversation} ${readSeq} ${by}`));
  client.onStatus((message) => told.push(`status ${textOf(message)} ${message.status}`));
  return {
    client,
    told,
    messages,
    events,
    texts: () => messages.map(textOf),
    async until(what, count = 1) {
      await until(
        () => told.filter((one) => one === what).length >= count,
        () => `${what} in … ${told.slice(-20).join(' | ')}`,
      );
    },
  };
}

/** Waits for a condition. @param what it is, for when it does not come */
export async function until(isSo: () => boolean, what: () => string = String): Promise<void> {
  const endMs = Date.now() + 10_000;
  while (!isSo()) {
    if (Date.now() > endMs) throw new Error(`did not come: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A storage that outlasts the client that is closed over it, as a disk outlasts a process. */
export function lasting(inner: QalStorage = memoryStorage()): QalStorage {
  return { ...inner, close: async () => {} };
}

/** A client of the scripted service that is logged in, its login's synchronisation done. */
export async function loggedIn(
  t: Test,
  service: { readonly url: string },
  options: Partial<ImClientOptions> = {},
  account = 'alice',
): Promise<WatchedClient> {
  const watched = watchClient(t, { url: service.url, ...options });
  await watched.client.login(account, 'sig');
  await watched.until('refresh');
  return watched;
}
