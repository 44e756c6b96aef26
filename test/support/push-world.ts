import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import type { ImPorts } from '../../src/im/index.ts';
import { createMetrics, type Metrics } from '../../src/observe/index.ts';
import { createDevices, createPush, type Push, type PushOptions } from '../../src/push/index.ts';
import { type ApnsSandbox, type ApnsSandboxOptions, openApnsSandbox } from '../../src/push/sandbox/apns.ts';
import { createCertificate } from '../../src/push/sandbox/certificate.ts';
import { type FcmSandbox, openFcmSandbox } from '../../src/push/sandbox/fcm.ts';
import { type AppSettings, createSealer, type Database } from '../../src/store/index.ts';
import { completeApp } from './app-settings.ts';
import { makeTestLogger } from './database.ts';
import { createMovableClock, imAppId, type MovableClock, openIm, type TestIm } from './im.ts';

/** The messaging core, the push gateway, and both services on sockets. */
export interface PushWorld {
  readonly im: TestIm;
  readonly push: Push;
  readonly apns: ApnsSandbox;
  readonly fcm: FcmSandbox;
  readonly clock: MovableClock;
  readonly metrics: Metrics;
  readonly events: string[];
  /** What waits for a device of the account and what became of it, oldest first. */
  items(account: string): Promise<Record<string, unknown>[]>;
  /** Another process that sends. */
  another(options?: Partial<PushOptions>): Promise<Push>;
  app(): AppSettings;
  /** Changes the app's pushes. */
  setPush(change: (push: AppSettings['push']) => Partial<AppSettings['push']>): void;
}

export async function openPushWorld(
  t: Test,
  database: { db: Database },
  {
    apns: apnsOptions = {},
    push: settings = {},
    options = {},
    ports: morePorts = {},
  }: {
    apns?: Partial<ApnsSandboxOptions>;
    push?: Partial<AppSettings['push']>;
    options?: Partial<PushOptions>;
    ports?: ImPorts;
  } = {},
): Promise<PushWorld> {
  const { db } = database;
  const folder = await mkdtemp(path.join(tmpdir(), 'qalgate push '));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const tls = createCertificate('localhost');
  const caFile = path.join(folder, 'ca.pem');
  await writeFile(caFile, tls.cert);
  const clock = createMovableClock();
  const apns = await openApnsSandbox({ tls, clock, ...apnsOptions });
  t.teardown(() => apns.close());
  const fcm = await openFcmSandbox({ tls, clock });
  t.teardown(() => fcm.close());
  const { key, keyId, teamId } = apns.credentials;
  const sdkAppId = imAppId;
  const makeApp = (push: object): AppSettings =>
    completeApp({
      sdkAppId,
      secret: 'a secret of sixteen or more',
      im: { commandPerSec: 0, appPerSec: 0, multiTerminal: 'all' },
      push,
    });
  const service = {
    key,
    keyId,
    teamId,
    topic: 'com.example.chat',
    endpoint: apns.url,
    sandboxEndpoint: apns.url,
    caFile,
  };
  const google = { serviceAccount: fcm.serviceAccount, endpoint: fcm.url, caFile, perMin: 100_000_000 };
  let app = makeApp({ apns: service, fcm: google, ...settings });
  const apps = { get: (id: number) => (id === sdkAppId ? app : undefined), list: () => [app] };
  const { logger, events } = makeTestLogger();
  const metrics = createMetrics();
  const sealer = createSealer([Buffer.alloc(32, 7)]);
  const open = async (more: Partial<PushOptions>, own: Metrics): Promise<Push> => {
    const push = await createPush(
      { db, apps, sealer, clock, random: Math.random, logger, metrics: own },
      { queue: { kind: 'postgres' }, isAlone: true, sends: true, concurrency: 8, ...options, ...more },
    );
    t.teardown(() => push.close());
    return push;
  };
  const push = await open({}, metrics);
  const devices = createDevices({ db, apps, clock, metrics });
  const ports = {
    consumers: (_: number, command: string) => (command.endsWith('CallbackAfterSendMsg') ? 2 : 0),
    written: () => push.written(),
    devices,
    ...morePorts,
  };
  const im = await openIm(t, { database, apps: [app], deps: { ports, clock } });
  return {
    im,
    push,
    apns,
    fcm,
    clock,
    metrics,
    events,
    async items(account) {
      const { rows } = await db.pool.query(
        'select i.* from push_item i join account a on a.id = i.account_id where a.identifier = $1 order by i.id',
        [account],
      );
      return rows;
    },
    app: () => app,
    another: (more = {}) => open({ isAlone: false, ...more }, createMetrics()),
    setPush(change) {
      app = makeApp({ ...app.push, ...change(app.push) });
      im.setApps([app]);
    },
  };
}
