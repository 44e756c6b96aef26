import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { signUserSig } from '../auth/index.ts';
import type { Logger } from '../observe/index.ts';
import type { AppSettings } from '../store/index.ts';
import { checkApp } from './config/index.ts';
import type { RunningServer } from './serve.ts';

/** The demo app's number. */
export const demoAppId = 1_400_000_000;
const demoAccounts = ['admin', 'alice', 'bob'];
const userSigSec = 180 * 86_400;
const backendStartMs = 10_000;
const restartMs = 1_000;

export interface Demo {
  app: AppSettings;
  /** Tells the backend what its chat page needs, now that it is known where the listeners are. */
  opened(addresses: RunningServer['addresses']): void;
  /** What to try, for a person. */
  describe(addresses: RunningServer['addresses']): string;
  close(): Promise<void>;
}

/**
 * The demo app of `npm start`: a secret made on first start and kept in the data folder, and the example backend in a
 * process of its own behind the proxy. The backend ends with this process, however that ends.
 */
export async function startDemo(deps: { dataDir: string; logger: Logger }): Promise<Demo> {
  const { dataDir, logger } = deps;
  const script = fileURLToPath(new URL('../../examples/backend/server.ts', import.meta.url));
  if (!existsSync(script)) throw new Error('--demo needs a checkout: the example backend is not part of the package');
  const secret = await readSecret(dataDir, 'demo.secret', () => randomBytes(32).toString('hex'));
  const callbackSecret = await readSecret(
    dataDir,
    'demo-callbacks.secret',
    () => `whsec_${randomBytes(32).toString('base64')}`,
  );

  let stopping = false;
  let child: ChildProcess;
  /** What a backend knows of its app; it gets it again when it had to be started again. */
  let chat: object | undefined;
  let restart: NodeJS.Timeout | undefined;

  /** Starts the backend; a port that is given once stays the app's upstream over restarts. */
  async function startBackend(port: number): Promise<string> {
    const started = fork(script, ['--port', String(port)], {
      // The demo's pages are served from the sources, types stripped.
      execArgv: [...process.execArgv, '--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // A Ctrl-C is for us: the backend stays while requests in flight finish, and ends when we do.
      detached: true,
    });
    child = started;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const timer = setTimeout(() => reject(new Error('the example backend did not start in time')), backendStartMs);
    started.once('message', (message) => resolve((message as { url: string }).url));
    started.once('error', reject);
    started.once('exit', (code, signal) => {
      reject(new Error('the example backend did not start'));
      if (stopping) return;
      logger.warn({ code, signal }, 'demo.backend.exited');
      restart = setTimeout(() => {
        startBackend(Number(new URL(url).port)).catch((error: unknown) =>
          logger.error({ err: error }, 'demo.backend.failed'),
        );
      }, restartMs);
    });
    try {
      const url = await promise;
      tellBackend();
      return url;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Over the channel: the secrets are in no argument and no environment that others can read. */
  function tellBackend(): void {
    const told = { callbacks: { secret: callbackSecret }, ...(chat === undefined ? {} : { chat }) };
    if (child.connected) child.send(told, () => {}); // it may have ended just now: its exit tells
  }

  const url = await startBackend(0);
  const app = checkApp({
    sdkAppId: demoAppId,
    name: 'Demo',
    secret,
    access: { routes: [{ host: '*', prefix: '/', upstream: [url] }] },
    callbacks: {
      url: `${url}/callbacks/receive`,
      secret: callbackSecret,
      events: 'all',
      // It listens on this machine alone.
      allowPrivateNetwork: true,
    },
  });
  if (!app.ok) throw new Error(`the demo app is malformed: ${app.field} ${app.reason}`);

  const { admins } = app.value;

  return {
    app: app.value,
    opened({ im }) {
      chat = im === undefined ? undefined : { sdkAppId: demoAppId, secret, administrators: admins, imUrl: im };
      tellBackend();
    },
    describe(addresses) {
      const access = addresses.access ?? '(no access listener)';
      const issuedAtSec = Math.floor(Date.now() / 1_000);
      const userSigs = demoAccounts.map((identifier) => {
        const userSig = signUserSig({ sdkAppId: demoAppId, identifier, secret, expireSec: userSigSec, issuedAtSec });
        return `    ${identifier.padEnd(6)} ${userSig}`;
      });
      return [
        '',
        '  qalgate is running.',
        '',
        `    access   ${access}   client apps; everything but /.qal/ goes to the backend`,
        `    im       ${addresses.im ?? '(none)'}   messaging: /v4 REST, /im/v1/link, docs at /im/v1/docs`,
        `    ops      ${addresses.ops ?? '(none)'}   /healthz /readyz /metrics`,
        `    backend  ${url}   the example backend behind the proxy`,
        '',
        `  Demo app ${demoAppId}, secret ${secret}`,
        '  UserSigs for 180 days:',
        ...userSigs,
        '',
        ...(addresses.access === undefined || addresses.im === undefined
          ? []
          : [...chatLines(access), ...callbackLines(access)]),
        '  Try:',
        `    curl -i -H 'QAL-Identifier: forged' ${access}/headers`,
        `    curl -s ${access}/.qal/v1/session -H 'Content-Type: application/json' \\`,
        `      -d '{"sdkAppId":${demoAppId},"device":{"os":"iOS","device":"iPhone"},"network":{"apn":"wifi","rat":"LTE"}}'`,
        `    curl -i -H 'QAL-Session: <the session of that answer>' ${access}/headers`,
        `    curl -i ${access}/cache/answer/swr    several times: Cache-Status says what the cache did`,
        `    ${access}/cache/    in a browser: the same in the client's own cache`,
        '',
        '  Stop with Ctrl-C. Everything is kept in the data folder.',
        '',
      ].join('\n');
    },
    async close() {
      stopping = true;
      clearTimeout(restart);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await exited;
    },
  };
}

function chatLines(access: string): string[] {
  const windows = ['alice', 'bob'].map((name) => `    ${access}/chat/?as=${name}`);
  return ['  Chat, in two browser windows:', ...windows, ''];
}

function callbackLines(access: string): string[] {
  return [
    '  Callbacks: the backend is asked before each message, and told of what happens:',
    `    ${access}/callbacks/   what it got, and a switch that makes it fail`,
    '    write “scam” in the chat, which it refuses, or “darn”, which it changes',
    `    bin/qalgate.js callbacks test --app ${demoAppId}    sends it one that nothing caused`,
    '',
  ];
}

/** A secret of the demo, made once and kept. */
async function readSecret(dataDir: string, name: string, make: () => string): Promise<string> {
  const file = join(dataDir, name);
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const secret = make();
  await writeFile(file, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  await chmod(file, 0o600);
  return secret;
}
