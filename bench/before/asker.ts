import { Pool } from 'undici';
import { createPoster } from '../../src/callbacks/endpoint/poster.ts';
import { createBeforeCalls, type Decision } from '../../src/callbacks/index.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import type { AppSettings } from '../../src/store/index.ts';
import type { SdkAppId } from '../../src/wire/index.ts';
import { completeApp } from '../../test/support/app-settings.ts';

const command = 'C2C.CallbackBeforeSendMsg';
const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const origin = { platform: 'Android', address: '198.51.100.7' } as const;

/** Fields of a message of 100 characters; it is found again by its key. */
function fieldsOf(key: string) {
  return {
    From_Account: 'lin',
    To_Account: 'mo',
    MsgSeq: 1,
    MsgRandom: 90_211,
    MsgTime: 1_543_500_123,
    MsgKey: key,
    MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'x'.repeat(100) } }],
  };
}

export type Ask = (key: string) => Promise<Decision['outcome']>;

export interface Asker {
  /** Asks the backend at that URL, as a send does: by an app of its own. */
  askerOf(url: string, caFile?: string): Ask;
  close(): Promise<void>;
}

/**
 * Before-calls as in the program: poster, signature, address guard, metrics. Traces and pauses stay in memory, and circuits never open,
 * or a backend that is always silent would be asked five times.
 */
export function openAsker(): Asker {
  const logger = createLogger({ level: 'error' });
  const metrics = createMetrics();
  const poster = createPoster({ clock: Date.now, ownAddresses: () => [], logger, metrics });
  const apps = new Map<SdkAppId, AppSettings>();
  const before = createBeforeCalls(
    {
      apps,
      poster,
      pauses: { find: () => undefined },
      traces: { write: () => {} },
      clock: Date.now,
      logger,
      metrics,
    },
    { failures: Number.POSITIVE_INFINITY },
  );
  return {
    askerOf(url, caFile) {
      const sdkAppId = (1_400_000_000 + apps.size) as SdkAppId;
      const callbacks = { url, secret, events: [command], allowPrivateNetwork: true, caFile };
      apps.set(sdkAppId, completeApp({ sdkAppId, secret: 'a secret of the bench', callbacks }));
      return async (key) => {
        const question = { sdkAppId, command, fields: fieldsOf(key), origin, about: { messageKey: key } } as const;
        return (await before.ask(question)).outcome;
      };
    },
    close: () => poster.close(),
  };
}

/** The same POST with undici alone: neither signed nor guarded, no deadline, nothing counted. */
export function openBare(url: string): { ask: Ask; close(): Promise<void> } {
  const { origin: server, pathname, search } = new URL(url);
  const pool = new Pool(server, { connections: 256 });
  const headers = { 'content-type': 'application/json' };
  return {
    async ask(key) {
      const body = JSON.stringify({ CallbackCommand: command, ...fieldsOf(key) });
      const answer = await pool.request({ method: 'POST', path: pathname + search, headers, body });
      const { ErrorCode } = (await answer.body.json()) as { ErrorCode: number };
      return ErrorCode === 0 ? 'allowed' : 'error';
    },
    close: () => pool.close(),
  };
}
