import type { Test } from 'tap';
import { createUserSigCheck } from '../../src/auth/index.ts';
import { createRestEdge, type RestEdgeDeps, type RestEdgeOptions } from '../../src/im/rest/index.ts';
import { createLogger, createMetrics, type Metrics } from '../../src/observe/index.ts';
import { createListenerMetrics, openListener } from '../../src/server/listeners.ts';
import type { Database } from '../../src/store/index.ts';
import { imAppId, type TestIm } from './im.ts';

/** A request that must be refused: `valid` with this change, the number, and the field that ErrorInfo must begin with. */
export type Refusal = readonly [change: object, code: number, field: string];

const tables = [
  'account',
  'conversation',
  'conversation_day',
  'member',
  'message',
  'dirty_word',
  'session_revocation',
  'chat_group',
  'group_mute',
  'group_request',
  'group_quota',
  'audience_attribute',
  'audience_mark',
  'campaign',
];

/** A fingerprint of everything that commands can change. */
export async function snapshot(db: Database): Promise<string> {
  const sums = tables.map(
    (table) => `(select coalesce(md5(string_agg(x::text, '|' order by x::text)), '') from ${table} x)`,
  );
  const { rows } = await db.pool.query<{ sum: string }>(`select concat_ws('/', ${sums.join(', ')}) as sum`);
  return rows[0]?.sum ?? '';
}

/** Each change of a valid request is refused with its number and names its field, and none changes anything. */
export async function refuses(
  t: Test,
  service: Pick<TestIm, 'call' | 'db'>,
  command: string,
  valid: object,
  refusals: readonly Refusal[],
): Promise<void> {
  const before = await snapshot(service.db);
  for (const [change, code, field] of refusals) {
    const answer = await service.call(command, { ...valid, ...change });
    const shown = `${command} ${JSON.stringify(change, (_, value) => (value === undefined ? 'absent' : value)).slice(0, 120)}`;
    t.match(answer, { ActionStatus: 'FAIL', ErrorCode: code, ErrorInfo: new RegExp(`^${literally(field)}: `) }, shown);
  }
  t.equal(await snapshot(service.db), before, `${command}: nothing was changed`);
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

export const ok = { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' };

export function text(content: string) {
  return { MsgType: 'TIMTextElem', MsgContent: { Text: content } };
}

/** A name of 32 bytes, and one of 33. */
export const longestName = 'é'.repeat(16);
export const tooLongName = `${longestName}x`;

export interface TestEdge {
  url: string;
  metrics: Metrics;
  /** Lines of its log. */
  lines: Record<string, unknown>[];
  /** Calls a command as the administrator, or as told; gives the parsed answer. */
  call(command: string, body: unknown, query?: Record<string, string>): Promise<Record<string, unknown>>;
}

/** Another REST edge on the services of `service`, with a listener, log and options of its own. */
export async function openEdge(
  t: Test,
  service: TestIm,
  { deps = {}, options = {} }: { deps?: Partial<RestEdgeDeps>; options?: Partial<RestEdgeOptions> } = {},
): Promise<TestEdge> {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  const logger = createLogger({ level: 'info', destination: { write } });
  const metrics = createMetrics();
  const apps = { get: (sdkAppId: number) => (sdkAppId === imAppId ? service.app : undefined) };
  // Of kicks the tests of the whole service tell.
  const userSigs = createUserSigCheck(
    {
      apps,
      revocations: { accountRevokedBeforeMs: async () => undefined, onAccountRevoked: () => () => {} },
      bus: { subscribe: () => () => {}, onReconnect: () => () => {} },
      clock: service.clock,
      metrics,
    },
    { maxCached: 100 },
  );
  const edge = await createRestEdge(
    {
      ...service.im,
      apps,
      checkUserSig: userSigs.check,
      clock: service.clock,
      random: Math.random,
      logger,
      metrics,
      ...deps,
    },
    { bodyBytes: 65_536, commandMs: 30_000, ...options },
  );
  const listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    { name: 'im', address: { host: '127.0.0.1', port: 0 }, handlers: { request: edge.handler } },
  );
  t.teardown(async () => {
    await listener.close(0);
    await edge.close();
  });
  lines.length = 0;
  return {
    url: listener.url,
    metrics,
    lines,
    async call(command, body, query = {}) {
      const parameters = new URLSearchParams({
        sdkappid: String(imAppId),
        identifier: 'admin',
        usersig: service.userSig(query.identifier ?? 'admin'),
        ...query,
      });
      const response = await fetch(`${listener.url}/v4/${command}?${parameters}`, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
      return (await response.json()) as Record<string, unknown>;
    },
  };
}
