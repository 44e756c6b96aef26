import { randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Test } from 'tap';
import { createLogger, createMetrics, type Metrics } from '../../src/observe/index.ts';
import type { ProviderTokens } from '../../src/push/apns/index.ts';
import { type ApnsSenderOptions, createApnsSender } from '../../src/push/apns/sender.ts';
import type { Outcome, Sendable, Sender } from '../../src/push/index.ts';
import { type ApnsSandbox, type ApnsSandboxOptions, openApnsSandbox } from '../../src/push/sandbox/apns.ts';
import type { ApnsSettings } from '../../src/store/index.ts';
import { createCertificate } from './certificates.ts';
import { makeDataDir } from './database.ts';

export const topic = 'com.example.chat';
const certificate = createCertificate('apns');

/** Apple's service, closed after the test. */
export async function openApns(t: Test, options: Partial<ApnsSandboxOptions> = {}): Promise<ApnsSandbox> {
  const sandbox = await openApnsSandbox({ tls: certificate, topics: [topic], maxArrivals: 100_000, ...options });
  t.teardown(() => sandbox.close());
  return sandbox;
}

/** File of who vouches for it. */
export async function writeCa(t: Test, pem = certificate.cert): Promise<string> {
  const folder = await makeDataDir(t);
  await mkdir(folder);
  const file = path.join(folder, 'ca.pem');
  await writeFile(file, pem);
  return file;
}

export interface TestSender {
  sender: Sender;
  metrics: Metrics;
  /** What was logged, an object a line. */
  logged: Record<string, unknown>[];
}

/** A client of that service, closed after the test. */
export async function makeApnsSender(
  t: Test,
  sandbox: Pick<ApnsSandbox, 'url' | 'credentials'>,
  deps: { tokens: ProviderTokens; clock?: () => number },
  { settings = {}, ...options }: ApnsSenderOptions & { settings?: Partial<ApnsSettings> } = {},
): Promise<TestSender> {
  const logged: Record<string, unknown>[] = [];
  const write = (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>);
  const logger = createLogger({ level: 'debug', destination: { write } });
  const metrics = createMetrics();
  const sender = createApnsSender(
    { clock: Date.now, random: () => 0.5, logger, metrics, ...deps },
    {
      ...sandbox.credentials,
      topic,
      endpoint: sandbox.url,
      sandboxEndpoint: sandbox.url,
      caFile: await writeCa(t),
      connections: 1,
      ...settings,
    },
    options,
  );
  t.teardown(() => sender.close());
  return { sender, metrics, logged };
}

/** A token of a device, by number. */
export function deviceToken(number: number): string {
  return number.toString(16).padStart(64, '0');
}

/** A push to a device, with a collapse id of its own. */
export function pushTo(
  token: string,
  more: { headers?: Record<string, string>; environment?: 'sandbox' } = {},
): Sendable {
  const id = randomUUID();
  return {
    token,
    environment: more.environment ?? 'production',
    headers: {
      'apns-topic': topic,
      'apns-push-type': 'alert',
      'apns-priority': '10',
      'apns-id': id,
      'apns-collapse-id': `c-${id}`,
      ...more.headers,
    },
    body: JSON.stringify({ aps: { alert: 'Lín: hello', badge: 1 } }),
  };
}

/**
 * What a queue does with a client, without its rows: never has more under way than there is room for, and sends what is to be sent again.
 * Gives back all outcomes of each push. Rejects where one is not done after `limitMs`.
 */
export async function deliver(
  sender: Sender,
  pushes: readonly Sendable[],
  { limitMs = 30_000, waitMs = 50 }: { limitMs?: number; waitMs?: number } = {},
): Promise<Outcome[][]> {
  const outcomes = pushes.map((): Outcome[] => []);
  const waiting = pushes.map((_, at) => at);
  const until = performance.now() + limitMs;
  let underWay = 0;
  while (waiting.length > 0 || underWay > 0) {
    if (performance.now() > until)
      throw new Error(`${waiting.length} wait, ${underWay} are under way after ${limitMs} ms`);
    for (let room = sender.room(); room > 0; room -= 1) {
      const at = waiting.shift();
      if (at === undefined) break;
      underWay += 1;
      void sender.send(pushes[at] as Sendable).then(async (outcome) => {
        outcomes[at]?.push(outcome);
        // The true waits of the rules are too long for a test.
        if (outcome.kind === 'retry') {
          await new Promise((resolve) => setTimeout(resolve, Math.min(outcome.afterMs, waitMs)));
          waiting.push(at);
        }
        underWay -= 1;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return outcomes;
}
