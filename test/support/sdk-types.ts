/**
 * The public surface as types: checked with the rest of the project, where the types are Node's, and by bundle.test.ts with
 * those of a browser. Nothing here runs.
 */
import {
  type CacheStats,
  createQalClient,
  defaultLimits,
  type GetUserSig,
  indexedDbStorage,
  keepPrefix,
  memoryStorage,
  type QalClient,
  QalError,
  type QalErrorCode,
  type QalEvent,
  type QalLimits,
  type QalStorage,
  type SessionInfo,
} from '../../src/sdk/index.ts';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Same<A, B>): void {}

export async function surface(): Promise<void> {
  const getUserSig: GetUserSig = async ({ signal, refused }) => {
    const response = await fetch('https://login.example.com/usersig', { signal });
    same<typeof refused, QalErrorCode | undefined>(true);
    return response.text();
  };
  const storage: QalStorage = {
    get: async (key: string) => (key === '' ? undefined : new Uint8Array()),
    set: async (_key: string, _value: Uint8Array) => {},
    delete: async (_key: string) => {},
    keys: async (prefix: string) => [prefix],
    close: async () => {},
  };
  const client = createQalClient({
    baseUrl: new URL('https://api.example.com'),
    sdkAppId: 1_400_000_000,
    device: { os: 'Web', screenWidth: 1_920 },
    network: { apn: 'wifi', rat: 'NR' },
    account: { identifier: 'alice', getUserSig },
    storage,
    cache: 'rfc9111',
    fetch: (input, init) => fetch(input, init),
    clock: () => 0,
    random: () => 0.5,
    limits: { entryBytes: 1_000 },
    onEvent(event) {
      same<typeof event, QalEvent>(true);
      if (event.type === 'answered') same<typeof event.status, number>(true);
      if (event.type === 'refreshed')
        same<typeof event.outcome, 'changed' | 'unchanged' | 'not-stored' | 'failed'>(true);
      if (event.type === 'storage-failed') same<typeof event.degraded, boolean>(true);
    },
  });
  same<typeof client, QalClient>(true);
  const response = await client.fetch('/a', {
    method: 'POST',
    body: 'x',
    cache: 'no-cache',
    signal: new AbortController().signal,
  });
  same<typeof response, Response>(true);
  await client.fetch(new Request('https://api.example.com/'));
  await client.fetch(new URL('https://api.example.com/'));
  const like: (input: string | URL | Request, init?: RequestInit) => Promise<Response> = client.fetch;
  const platform: typeof client.fetch = globalThis.fetch;
  const info = await client.login('alice', getUserSig);
  same<typeof info, SessionInfo>(true);
  same<typeof info.account, string | undefined>(true);
  same<Awaited<ReturnType<QalClient['purge']>>, number>(true);
  const { hits, storageDegraded }: CacheStats & { storageDegraded: boolean } = client.cacheStats();
  const limits: QalLimits = { ...defaultLimits, entryBytes: hits };
  const storages: QalStorage[] = [
    memoryStorage(),
    memoryStorage({ maxBytes: 1 }),
    indexedDbStorage({ name: keepPrefix }),
  ];
  const error = new QalError('NETWORK', 'no network', {
    retryable: true,
    cause: [like, platform, limits, storages, storageDegraded],
  });
  same<typeof error.code, QalErrorCode>(true);

  // @ts-expect-error baseUrl is needed
  createQalClient({ sdkAppId: 1 });
  // @ts-expect-error no such cache mode
  createQalClient({ baseUrl: '', sdkAppId: 1, cache: 'on' });
  // @ts-expect-error no such operating system
  createQalClient({ baseUrl: '', sdkAppId: 1, device: { os: 'BeOS' } });
  // @ts-expect-error no such radio technology
  await client.reportNetwork({ rat: '6G' });
  // @ts-expect-error a login needs a way to get a UserSig
  await client.login('alice');
}
