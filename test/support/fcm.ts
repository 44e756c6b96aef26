import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { createLogger, createMetrics, type Metrics } from '../../src/observe/index.ts';
import { createFcmSender, type FcmSenderOptions } from '../../src/push/fcm/index.ts';
import type { Sendable, Sender } from '../../src/push/provider.ts';
import { type FcmSandbox, type FcmSandboxOptions, openFcmSandbox } from '../../src/push/sandbox/fcm.ts';
import type { FcmFault } from '../../src/push/sandbox/fcm-faults.ts';
import type { FcmSettings } from '../../src/store/index.ts';
import { createCertificate } from './certificates.ts';

export const fcmCertificate = createCertificate('fcm sandbox');

/** Google's service and a client of it, which share a clock that goes when it is told to; closed behind the test. */
export interface FcmBench {
  readonly fcm: FcmSandbox;
  readonly settings: FcmSettings;
  /** Of both. */
  readonly clock: { nowMs: number };
  /** What becomes of messages to this token, the next time; a list: one after the other. */
  readonly faults: Map<string, FcmFault[]>;
  /** All that was logged, as text. */
  readonly log: () => string;
  readonly metrics: Metrics;
  sender(options?: FcmSenderOptions, settings?: Partial<FcmSettings>): Sender;
}

export async function openFcmBench(
  t: Test,
  options: Partial<FcmSandboxOptions> & { random?: () => number } = {},
): Promise<FcmBench> {
  const { random = () => 0, ...more } = options;
  const metrics = createMetrics();
  const clock = { nowMs: Date.now() };
  const faults = new Map<string, FcmFault[]>();
  const lines: string[] = [];
  const logger = createLogger({ level: 'debug', destination: { write: (line: string) => lines.push(line) } });
  const fcm = await openFcmSandbox({
    tls: fcmCertificate,
    clock: () => clock.nowMs,
    fault: (token) => faults.get(token)?.shift(),
    ...more,
  });
  t.teardown(() => fcm.close());
  const caFile = join(t.testdir(), 'ca.pem');
  writeFileSync(caFile, fcmCertificate.cert);
  const settings = { serviceAccount: fcm.serviceAccount, endpoint: fcm.url, caFile, perMin: 100_000_000 };
  return {
    fcm,
    settings,
    clock,
    faults,
    metrics,
    log: () => lines.join(''),
    sender(senderOptions, changed) {
      const deps = { clock: () => clock.nowMs, random, logger, metrics };
      const sender = createFcmSender(deps, { ...settings, ...changed }, { deadlineMs: 20_000, ...senderOptions });
      t.teardown(() => sender.close());
      return sender;
    },
  };
}

/** A push as the payload's writer makes it; `tag` is its collapse id. */
export function fcmPush(token: string, tag = 'm1', message: object = {}): Sendable {
  const android = { priority: 'HIGH', ttl: '86400s', notification: { tag, title: 'lin', body: 'hello' } };
  return {
    token,
    environment: 'production',
    headers: {},
    body: JSON.stringify({ message: { token, android, ...message } }),
  };
}
