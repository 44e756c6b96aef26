/**
 * The access service in a process of its own, so that its CPU time and memory can be measured: `openAccess` with one
 * app, on real sockets, without the database. Started by `startMeasured`.
 */
import { userSigSecretId } from '../../src/auth/index.ts';
import type { AppSettings } from '../../src/store/index.ts';
import type { AccountId, TerminalId } from '../../src/wire/index.ts';
import { openAccess, testApp, testOptions } from './access.ts';
import { parentOptions, serveParent } from './measured-process.ts';

export interface AccessProcessOptions {
  upstream: string[];
  /** Session tokens to issue: each for a terminal and an account of its own, with a whole device report. */
  sessions: number;
  /** Longest pause of either side. */
  idleTimeoutMs: number;
  /** How the app's answers are cached; `off` when absent. */
  cache?: AppSettings['access']['cache'];
}

export interface AccessStarted {
  port: number;
  sessions: string[];
}

const { upstream, sessions, idleTimeoutMs, cache = 'off' } = parentOptions<AccessProcessOptions>();
const app = testApp(upstream, { cache });
const access = await openAccess([app], {
  timeouts: { connectMs: idleTimeoutMs, headMs: idleTimeoutMs, bodyIdleMs: idleTimeoutMs, totalMs: 0 },
  limits: {
    ...testOptions.limits,
    bodyIdleTimeoutMs: idleTimeoutMs,
    responseWriteTimeoutMs: idleTimeoutMs,
    // Never reached, but counted: what they cost belongs to what a request costs.
    connectionsPerAddress: 10_000,
    requestsPerAddressPerSec: 1_000_000,
    requestBurstPerAddress: 1_000_000,
  },
});

const letters = (n: number): string => String.fromCharCode(97 + (n % 26), 97 + (Math.floor(n / 26) % 26));

serveParent({
  port: access.port,
  sessions: Array.from({ length: sessions }, (_, n) =>
    access.session({
      terminalId: `tarqqnwfrc${letters(n)}` as TerminalId,
      account: `user-${n}` as AccountId,
      secretId: userSigSecretId(app.secret as string),
      device: {
        sdkVersion: '1.2.0',
        appVersion: '5.4.1',
        appChannel: 'store',
        os: 'Android',
        osVersion: '8.1.0',
        device: 'Pixel 2',
        brand: 'Google',
        screenWidth: 1_080,
        screenHeight: 1_920,
      },
      network: { apn: 'wifi', rat: 'LTE' },
    }),
  ),
} satisfies AccessStarted);
