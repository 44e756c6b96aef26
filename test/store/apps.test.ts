import { randomBytes } from 'node:crypto';
import t from 'tap';
import {
  type AppSettings,
  createAppStore,
  createControlBus,
  createSealer,
  parseServiceAccount,
  type Result,
  StoreError,
} from '../../src/store/index.ts';
import { testRoute } from '../support/access.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase, until } from '../support/database.ts';
import {
  apnsCertificate,
  apnsIds,
  apnsKey,
  makeApnsKey,
  makeServiceAccount,
  serviceAccount,
  traceOf,
} from '../support/push-credentials.ts';

const { db, logger, events, metrics } = await openTestDatabase(t);
const masterKey = randomBytes(32);
const bus = createControlBus(db, { logger }, { keepaliveMs: 50 });
t.teardown(() => bus.close());
await bus.ready();
const store = createAppStore(db, { sealer: createSealer([masterKey]), bus });

function app(sdkAppId: number, prefix: string, more: Partial<AppSettings> = {}): AppSettings {
  const routes = [testRoute(['http://127.0.0.1:9000'], { prefix })];
  const name = `应用 ${sdkAppId}`;
  return completeApp({ sdkAppId, name, secret: `secret-of-${sdkAppId}-0123456789`, access: { routes }, ...more });
}

function refusalOf(result: Result) {
  if (result.ok) throw new Error('it was not refused');
  return result;
}

t.beforeEach(async () => {
  await db.pool.query('delete from app');
  await db.pool.query('delete from session_revocation');
});

t.test('an app that an older release stored has the defaults of what came later', async (t) => {
  await store.create(app(7, '/seven'));
  await db.pool.query(
    `update app set settings = settings - 'admins' - 'im' #- '{access,cache}' #- '{access,routes,0,cacheScope}'`,
  );
  const read = await store.get(7);
  t.equal(read?.settings.access.cache, 'qal');
  t.equal(read?.settings.access.routes[0]?.cacheScope, 'standard');
  t.same(read?.settings, app(7, '/seven'), 'admins and im, too');
});

t.test('an app comes back as it was stored, with its secrets sealed in the table', async (t) => {
  const one = app(4_294_967_295, '/one');
  const two = app(2, '/two', { secret: ['newer-secret-0123456789', 'older-secret-0123456789'] });
  t.same(await store.create(one), { ok: true, value: undefined });
  t.same(await store.create(two), { ok: true, value: undefined });
  t.same((await store.get(one.sdkAppId))?.settings, one);
  const listed = await store.list();
  t.same(
    listed.map((stored) => stored.settings),
    [two, one],
    'by number, and a list of secrets stays a list',
  );
  t.equal(listed[0]?.origin, 'api');
  t.ok(listed[0]?.createdAt instanceof Date && listed[0].updatedAt instanceof Date);
  t.equal(await store.get(3), undefined);

  const { rows } = await db.pool.query('select * from app order by sdk_app_id');
  t.match(rows[0].sealed_secrets, /^v1\.[0-9a-f]{8}\./);
  t.notMatch(JSON.stringify(rows), /secret-of|er-secret/, 'no secret is readable in the table');
  t.notOk('secret' in rows[0].settings);
  t.not(rows[0].sealed_secrets, rows[1].sealed_secrets);
});

t.test('set replaces, delete ends the app with its revocations', async (t) => {
  await store.create(app(1, '/a'));
  const changed = app(1, '/b', { secret: 'another-secret-0123456789' });
  t.ok((await store.set(changed)).ok);
  const stored = await store.get(1);
  t.same(stored?.settings, changed);
  t.ok(stored !== undefined && stored.updatedAt > stored.createdAt);

  for (const sdk_app_id of [1, 2]) {
    const row = { sdk_app_id, scope: 'account', subject: 'alice', revoked_before: new Date() } as const;
    await db.kysely.insertInto('session_revocation').values(row).execute();
  }
  t.ok((await store.delete(1)).ok);
  t.equal(await store.get(1), undefined);
  const left = await db.kysely.selectFrom('session_revocation').selectAll().execute();
  t.same(
    left.map((row) => row.sdk_app_id),
    [2],
    'those of another app stay',
  );
});

t.test('what cannot be is refused by name of field and reason', async (t) => {
  await store.create(app(1, '/a'));
  t.match(refusalOf(await store.create(app(1, '/z'))), { code: 'CONFLICT', field: 'sdkAppId', reason: /exists/ });
  t.match(refusalOf(await store.set(app(9, '/z'))), { code: 'APP_UNKNOWN', reason: /no app has the number 9/ });
  t.match(refusalOf(await store.delete(9)), { code: 'APP_UNKNOWN' });

  const upper = app(2, '/a');
  for (const [first, second] of [
    ['*', '*'],
    ['API.example.com', 'api.EXAMPLE.com'],
  ] as const) {
    await store.set(
      app(1, '/a', { access: { ...upper.access, routes: upper.access.routes.map((r) => ({ ...r, host: first })) } }),
    );
    const claim = { ...upper.access, routes: upper.access.routes.map((r) => ({ ...r, host: second })) };
    const refusal = refusalOf(await store.create(app(2, '/a', { access: claim })));
    t.match(refusal, { code: 'CONFLICT', field: 'access.routes[0]', reason: /app 1 \(应用 1\) has it/ });
  }
  const twice = { ...upper.access, routes: [...upper.access.routes, ...upper.access.routes] };
  const refusal = refusalOf(await store.create(app(2, '/q', { access: twice })));
  t.match(refusal, { code: 'INVALID_FIELD', field: 'access.routes[1]', reason: /twice/ });
  t.match(refusalOf(await store.create(app(3, '/c', { name: 'a\0b' }))), { code: 'INVALID_FIELD', field: 'name' });
  t.match(refusalOf(await store.create(app(3, '/c', { name: '\ud800' }))), { code: 'INVALID_FIELD', field: 'name' });
  t.equal((await store.list()).length, 1, 'nothing of it was stored');
});

t.test('the configuration file owns its apps', async (t) => {
  await store.create(app(5, '/e'));
  const takeover = await store.applyConfigured([app(1, '/from-file'), app(5, '/e')]);
  t.match(refusalOf(takeover), { code: 'CONFLICT', field: 'apps[1].sdkAppId', reason: /app 5 is in the database/ });
  t.equal((await store.get(5))?.origin, 'api', 'an app of the database is not replaced by the file');
  t.equal(await store.get(1), undefined);
  t.ok((await store.applyConfigured([app(1, '/from-file'), app(2, '/b')])).ok);
  const origins = (await store.list()).map((stored) => [stored.settings.sdkAppId, stored.origin]);
  t.same(origins, [
    [1, 'config'],
    [2, 'config'],
    [5, 'api'],
  ]);
  t.equal((await store.get(1))?.settings.access.routes[0]?.prefix, '/from-file');
  for (const result of [await store.create(app(2, '/x')), await store.set(app(2, '/x')), await store.delete(2)]) {
    t.match(refusalOf(result), { code: 'CONFLICT', reason: /comes from the configuration/ });
  }

  const before = await store.get(2);
  t.ok((await store.applyConfigured([app(2, '/b')])).ok);
  t.equal(await store.get(1), undefined, 'gone from the file, gone from the store');
  t.same(await store.get(2), before, 'unchanged settings are not written again');
  t.ok(await store.get(5));

  const clash = await store.applyConfigured([app(3, '/new'), app(4, '/e')]);
  t.match(refusalOf(clash), { code: 'CONFLICT', field: 'apps[1].access.routes[0]', reason: /app 5/ });
  const same = await store.applyConfigured([app(3, '/x'), app(3, '/y')]);
  t.match(refusalOf(same), { code: 'INVALID_FIELD', field: 'apps[1].sdkAppId' });
  const routes = await store.applyConfigured([app(3, '/x'), app(4, '/x')]);
  t.match(refusalOf(routes), { code: 'CONFLICT', field: 'apps[1].access.routes[0]', reason: /app 3/ });
  t.equal(await store.get(3), undefined, 'all or nothing');
  t.ok(await store.get(2));
});

t.test('of changes at the same instant that clash, one wins', async (t) => {
  const claims = Array.from({ length: 8 }, (_, n) => store.create(app(10 + n, '/same')));
  const results = await Promise.all(claims);
  t.equal(results.filter((result) => result.ok).length, 1);
  t.equal((await store.list()).length, 1);
});

t.test('a secret opens only with its master key, and keys rotate', async (t) => {
  await store.create(app(1, '/a'));
  const stranger = createAppStore(db, { sealer: createSealer([randomBytes(32)]), bus });
  const error = await stranger.get(1).catch((thrown: unknown) => thrown);
  t.ok(error instanceof StoreError && error.code === 'MASTER_KEY');
  t.match(error, { message: /secret of app 1 .* master key [0-9a-f]{8}.*give the master key back/ });
  await t.rejects(stranger.applyConfigured([]), { code: 'MASTER_KEY' }, 'a start with the wrong key stops');

  const newKey = randomBytes(32);
  const rotating = createAppStore(db, { sealer: createSealer([newKey, masterKey]), bus });
  t.same((await rotating.get(1))?.settings, app(1, '/a'));
  t.ok((await rotating.applyConfigured([])).ok);
  const rotated = createAppStore(db, { sealer: createSealer([newKey]), bus });
  t.same((await rotated.get(1))?.settings, app(1, '/a'), 'after one start with both keys the old one may go');

  // A program of the release before that wrote the app in between sealed anew only what it knows.
  const older = createAppStore(db, { sealer: createSealer([masterKey, newKey]), bus });
  for (const origin of ['api', 'config']) {
    const signing = completeApp({ ...app(4, '/d'), callbacks: { secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' } });
    const configured = origin === 'config' ? [signing] : [];
    await (origin === 'config' ? older.applyConfigured(configured) : older.create(signing));
    const secrets = createSealer([newKey]).seal(JSON.stringify(signing.secret), 'app 4');
    await db.pool.query('update app set sealed_secrets = $1 where sdk_app_id = 4', [secrets]);
    t.ok((await rotating.applyConfigured(configured)).ok);
    t.same((await rotated.get(4))?.settings, signing, `${origin}: the keys of callbacks, too`);
    await db.pool.query('delete from app where sdk_app_id = 4');
  }

  await rotated.delete(1);
  t.ok((await rotated.applyConfigured([app(1, '/a')])).ok);
  const lost = createAppStore(db, { sealer: createSealer([randomBytes(32)]), bus });
  t.ok((await lost.applyConfigured([app(1, '/a')])).ok, 'an app of the file brings its secret along');
  t.same((await lost.get(1))?.settings, app(1, '/a'));
});

t.test('[B5] campaigns of an app that is deleted wait for an operator', async (t) => {
  for (const sdkAppId of [1, 2]) await store.create(app(sdkAppId, `/${sdkAppId}`));
  await db.pool.query(`
    insert into campaign (sdk_app_id, task_id, admin, sender_id, random, msg_seq, day, terms, body, lifetime_sec, created_ms, state)
    select app, state, 'admin', 1, 1, 1, 1, '{}', '[]', 0, 1, state
    from unnest(array[1, 2]) as app, unnest(array['waiting', 'running', 'done', 'cancelled']) as state`);
  t.ok((await store.delete(1)).ok);
  const { rows } = await db.pool.query(
    `select sdk_app_id as app, task_id, state, actor from campaign where state <> task_id order by task_id`,
  );
  t.strictSame(rows, [
    { app: 1, task_id: 'running', state: 'paused', actor: 'app deleted' },
    { app: 1, task_id: 'waiting', state: 'paused', actor: 'app deleted' },
  ]);
});

t.test('[K7] an app with a long backlog goes a piece at a time: no statement is as long as the backlog', async (t) => {
  await db.pool.query(`
    create function refuse_many() returns trigger language plpgsql as $$ begin
      if (select count(*) from touched) > 5000 then raise exception 'too many rows at once'; end if;
      return null;
    end $$;
    create trigger few after update on outbox referencing new table as touched for each statement execute function refuse_many();
    create trigger few after delete on dead_letter referencing old table as touched for each statement execute function refuse_many()`);
  t.teardown(() => db.pool.query('drop function refuse_many cascade'));
  const fill = (sdkAppId: number) =>
    db.pool.query(
      `with o as (
         insert into outbox (day, consumer, sdk_app_id, drain_key, event, body, created_ms)
         select 20000 + n % 2, 1, $1, 'a1', 'State.StateChange', '{}', 1 from generate_series(1, 5500) n returning id
       )
       insert into dead_letter (sdk_app_id, outbox_id, origin_id, command, drain_key, reason, attempts, created_ms, died_ms)
       select $1, id, id, 'State.StateChange', 'a1', 'too-old', 1, 1, 1 from o`,
      [sdkAppId],
    );
  const left = async (sdkAppId: number) => {
    const { rows } = await db.pool.query<{ waiting: number; dropped: number; letters: number }>(
      `select count(*) filter (where done_ms is null) as waiting, count(*) filter (where outcome = 'dropped') as dropped,
         (select count(*) from dead_letter where sdk_app_id = $1) as letters from outbox where sdk_app_id = $1`,
      [sdkAppId],
    );
    return rows[0];
  };
  for (const sdkAppId of [1, 2, 3]) await fill(sdkAppId);
  await store.create(app(1, '/a'));
  await store.applyConfigured([app(2, '/b'), app(3, '/c')]);
  const stale = new Date(0);
  t.match(refusalOf(await store.delete(1, { ifUpdatedAt: stale })), { code: 'PRECONDITION_FAILED' });
  t.match(refusalOf(await store.delete(2)), { code: 'CONFLICT' });
  t.match(refusalOf(await store.applyConfigured([app(3, '/a')])), { code: 'CONFLICT' });
  const whole = { waiting: 5_500, dropped: 0, letters: 5_500 };
  for (const sdkAppId of [1, 2, 3]) t.same(await left(sdkAppId), whole, 'who is refused ends nothing');

  t.ok((await store.delete(1)).ok);
  t.ok((await store.applyConfigured([app(3, '/c')])).ok);
  const gone = { waiting: 0, dropped: 5_500, letters: 0 };
  t.same(await left(1), gone);
  t.same(await left(2), gone);
  t.same(await left(3), whole, 'those of another app stay');
  await db.pool.query('truncate outbox, dead_letter');
});

t.test('sealed text is bound to its context and cannot be changed', async (t) => {
  const sealer = createSealer([masterKey]);
  const sealed = sealer.seal('půlnoc', 'app 1');
  t.equal(sealer.open(sealed, 'app 1'), 'půlnoc');
  t.equal(sealer.open(sealer.seal('', 'x'), 'x'), '');
  t.not(sealer.seal('půlnoc', 'app 1'), sealed);
  t.throws(() => sealer.open(sealed, 'app 2'), { code: 'MASTER_KEY', message: /app 2 .* belongs to something else/ });
  const body = sealed.lastIndexOf('.') + 1;
  const flipped = sealed.slice(0, body) + (sealed[body] === 'A' ? 'B' : 'A') + sealed.slice(body + 1);
  for (const bad of [flipped, sealed.slice(0, -4), `${sealed.slice(0, body)}AAAA`, '', 'plain', `${sealed}.x`]) {
    t.throws(() => sealer.open(bad, 'app 1'), { code: 'MASTER_KEY' });
  }
  t.throws(() => createSealer([]), RangeError);
});

t.test('every change is told on the bus, and none that was rolled back', async (t) => {
  const told: unknown[] = [];
  t.teardown(bus.subscribe('apps', (payload) => told.push(payload)));
  // What earlier tests changed is told before this.
  await bus.publish('apps', { marker: true });
  await until(() => (told.at(-1) as { marker?: boolean } | undefined)?.marker);
  told.length = 0;
  t.teardown(
    bus.subscribe('apps', () => {
      throw new Error('a subscriber that fails harms no other');
    }),
  );
  await store.create(app(1, '/a'));
  await store.create(app(1, '/a'));
  await store.set(app(1, '/b'));
  await store.applyConfigured([app(2, '/c')]);
  await store.applyConfigured([app(2, '/c')]);
  await store.delete(1);
  await until(() => told.length >= 4);
  t.same(told, [{ sdkAppIds: [1] }, { sdkAppIds: [1] }, { sdkAppIds: [2] }, { sdkAppIds: [1] }]);
  t.ok(events.includes('store.bus.subscriber.failed'));

  const work = db.kysely.transaction().execute(async (trx) => {
    await bus.publish('apps', { sdkAppIds: [99] }, trx);
    throw new Error('rolled back');
  });
  await t.rejects(work, /rolled back/);
  await bus.publish('apps', { sdkAppIds: [3] });
  await until(() => told.length >= 5);
  t.same(told.at(-1), { sdkAppIds: [3] });
  t.equal(told.length, 5);
});

t.test('the bus keeps topics apart, checks sizes, and carries any text', async (t) => {
  const apps: unknown[] = [];
  const revocations: unknown[] = [];
  const unsubscribe = bus.subscribe('apps', (payload) => apps.push(payload));
  t.teardown(bus.subscribe('revocations', (payload) => revocations.push(payload)));
  const largest = { text: 'ü'.repeat(3_900), quote: `'"\\` };
  await bus.publish('revocations', largest);
  await t.rejects(bus.publish('apps', { text: 'ü'.repeat(3_950) }), /at most 7900 bytes/);
  await until(() => revocations.length === 1);
  t.same(revocations, [largest]);
  unsubscribe();
  await bus.publish('apps', { n: 1 });
  await bus.publish('revocations', { n: 2 });
  await until(() => revocations.length === 2);
  t.same(apps, []);
  await db.pool.query(
    `select pg_notify('qalgate_control', 'no json'), pg_notify('qalgate_control', '{"topic":"future"}')`,
  );
  await bus.publish('revocations', { n: 3 });
  await until(() => revocations.length === 3, 5_000);
  t.same(revocations[2], { n: 3 }, 'what is not understood is passed over');
});

t.test('[O5] the bus listens again when its connection is cut, and says so', async (t) => {
  const received: unknown[] = [];
  let reconnects = 0;
  t.teardown(bus.subscribe('apps', (payload) => received.push(payload)));
  t.teardown(
    bus.onReconnect(() => {
      reconnects += 1;
    }),
  );
  for (const round of [1, 2]) {
    const { rowCount } = await db.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where query in ('listen qalgate_control', 'select 1') and pid <> pg_backend_pid()`,
    );
    t.ok(rowCount !== null && rowCount >= 1);
    await until(() => reconnects === round);
    await bus.publish('apps', { round });
    await until(() => received.length === round);
  }
  t.same(received, [{ round: 1 }, { round: 2 }]);
  t.ok(events.includes('store.bus.disconnected'));
  t.match(await metrics.registry.getSingleMetricAsString('qalgate_store_bus_connects_total'), / 3$/m);
});

t.test('[K4] [K5] [K8] callbacks are complete, or the app is refused', async (t) => {
  const url = 'http://127.0.0.1:9100/cb';
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
  const cases: [callbacks: object, field: string | undefined][] = [
    [{}, undefined],
    [{ url, secret }, undefined],
    [{ url }, 'callbacks.secret'],
    [{ commands: [{ command: 'State.StateChange', url }] }, 'callbacks.secret'],
    [{ url: 'http://a:99999/', secret }, 'callbacks.url'],
    [{ url, secret, clientCertFile: 'cert.pem' }, 'callbacks.clientKeyFile'],
    [{ url, secret, clientKeyFile: 'key.pem' }, 'callbacks.clientCertFile'],
    [{ url, secret, allowPrivateNetwork: ['10.0.0.0/8', '::1', '10.0.0.1'] }, undefined],
    [{ url, secret, allowPrivateNetwork: ['::ffff:10.0.0.0/104', 'fc00::/7', '::/0'] }, undefined],
    ...['999.1/40', '10/8', '10', '127.1', '010.0.0.1', '::ffff:10.0.0.0/8', '10.0.0.0/33', '1:2'].map(
      (network): (typeof cases)[number] => [
        { url, secret, allowPrivateNetwork: ['10.0.0.0/8', network] },
        'callbacks.allowPrivateNetwork[1]',
      ],
    ),
    [
      { url, secret, commands: [{ command: 'State.StateChange' }, { command: 'State.StateChange', url }] },
      'callbacks.commands[1].command',
    ],
  ];
  for (const [index, [callbacks, field]] of cases.entries()) {
    const result = await store.create(completeApp({ ...app(100 + index, `/c${index}`), callbacks }));
    t.equal(result.ok ? undefined : refusalOf(result).field, field, JSON.stringify(callbacks));
  }
});

t.test('[K5] keys of callbacks are sealed beside the secret, and come back', async (t) => {
  const callbacks = {
    url: 'https://backend.example.com/',
    secret: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX'],
    signToken: 'a token of the vendor',
  };
  const one = completeApp({ ...app(9, '/nine'), callbacks });
  await store.create(one);
  t.same((await store.get(9))?.settings, one);
  const { rows } = await db.pool.query<{ text: string }>('select app::text as text from app where sdk_app_id = 9');
  t.notMatch(rows[0]?.text, /MfKQ9r8|AAECAwQF|token of the vendor/);
});

t.test('[S1] credentials of pushes are whole and fit for what they are, or the app is refused', async (t) => {
  const { cert: certificate, key: certificateKey } = apnsCertificate;
  const { topic, keyId, teamId } = apnsIds;
  const rsa = JSON.parse(serviceAccount).private_key as string;
  const account = (change: Record<string, unknown>) => ({ fcm: { serviceAccount: makeServiceAccount(change) } });
  const isMissing = /^is missing$/;
  const cases: [push: object, field?: string, reason?: RegExp][] = [
    [{}],
    [{ apns: { key: apnsKey, ...apnsIds } }],
    [{ apns: { certificate, certificateKey, topic } }],
    [{ apns: { certificate, certificateKey, keyId, topic } }],
    [{ fcm: { serviceAccount } }],
    [{ apns: { key: apnsKey, ...apnsIds }, fcm: { serviceAccount } }],
    [{ apns: { topic } }, 'apns.key', isMissing],
    [{ apns: { ...apnsIds } }, 'apns.key', isMissing],
    [{ apns: { key: apnsKey, teamId, topic } }, 'apns.keyId', isMissing],
    [{ apns: { key: apnsKey, keyId, topic } }, 'apns.teamId', isMissing],
    [{ apns: { certificate, topic } }, 'apns.certificateKey', isMissing],
    [{ apns: { key: apnsKey, certificate, certificateKey, ...apnsIds } }, 'apns.certificate', /^excludes key/],
    [{ apns: { key: makeApnsKey('secp384r1'), ...apnsIds } }, 'apns.key', /^is no key that signs provider tokens$/],
    [{ apns: { key: rsa, ...apnsIds } }, 'apns.key', /^is no key/],
    [{ apns: { key: certificate, ...apnsIds } }, 'apns.key', /^is no key/],
    [{ apns: { certificate, certificateKey: certificate, topic } }, 'apns.certificateKey', /^is no private key$/],
    [{ fcm: {} }, 'fcm.serviceAccount', isMissing],
    [{ fcm: { serviceAccount: '{}' } }, 'fcm.serviceAccount', /^is no service account$/],
    [{ fcm: { serviceAccount: '{' } }, 'fcm.serviceAccount', /^is no service account$/],
    ...['project_id', 'private_key', 'client_email'].flatMap((name): typeof cases => [
      [account({ [name]: undefined }), 'fcm.serviceAccount'],
      [account({ [name]: '' }), 'fcm.serviceAccount'],
      [account({ [name]: 7 }), 'fcm.serviceAccount'],
    ]),
    [account({ private_key: certificate }), 'fcm.serviceAccount'],
    [account({ token_uri: undefined })],
    [account({ token_uri: 'http://oauth2.example.com/token' }), 'fcm.serviceAccount'],
    [account({ token_uri: 'token' }), 'fcm.serviceAccount'],
    [account({ token_uri: null }), 'fcm.serviceAccount'],
  ];
  for (const [index, [push, field, reason]] of cases.entries()) {
    const result = await store.create(completeApp({ ...app(200 + index, `/p${index}`), push }));
    const label = JSON.stringify(push).replaceAll(/-----[^"]*/g, '…');
    if (field === undefined) t.ok(result.ok, label);
    else
      t.match(refusalOf(result), { code: 'INVALID_FIELD', field: `push.${field}`, ...(reason && { reason }) }, label);
  }
  const bad = completeApp({ ...app(999, '/bad'), push: { fcm: {} } });
  t.match(refusalOf(await store.applyConfigured([app(998, '/ok'), bad])), { field: 'apps[1].push.fcm.serviceAccount' });
  t.equal(await store.get(998), undefined, 'all or nothing');
  t.same(
    parseServiceAccount(makeServiceAccount({ token_uri: undefined }))?.tokenUri,
    'https://oauth2.googleapis.com/token',
  );
});

t.test('[S1] credentials of pushes are sealed beside the secret, come back, and follow the master key', async (t) => {
  const { cert: certificate, key: certificateKey } = apnsCertificate;
  const pushes = [
    { apns: { key: apnsKey, ...apnsIds }, fcm: { serviceAccount, perMin: 600 }, line: 'vendor' },
    { apns: { certificate, certificateKey, topic: 'com.example.chat' } },
    { fcm: { serviceAccount } },
    { sound: 'ding.caf' },
  ];
  for (const [index, push] of pushes.entries()) {
    const one = completeApp({ ...app(20 + index, `/s${index}`), push });
    await store.create(one);
    t.same((await store.get(20 + index))?.settings, one);
  }
  const { rows } = await db.pool.query<{ text: string; sealed: string | null; push: object }>(
    `select app::text as text, sealed_push as sealed, settings->'push' as push from app order by sdk_app_id`,
  );
  const text = rows.map((row) => row.text).join('\n');
  const account = JSON.parse(serviceAccount) as { private_key: string; client_email: string };
  for (const secret of [apnsKey, certificateKey, certificate, account.private_key])
    t.notOk(text.includes(traceOf(secret)));
  t.notOk(text.includes(account.client_email));
  t.match(rows[0]?.push, { apns: apnsIds, fcm: { perMin: 600 }, line: 'vendor' }, 'what is no secret can be read');
  t.equal(rows[3]?.sealed, null, 'nothing to seal');
  t.match(rows[0]?.sealed, /^v1\.[0-9a-f]{8}\./);

  await db.pool.query(
    'update app set sealed_push = (select sealed_push from app where sdk_app_id = 20) where sdk_app_id = 22',
  );
  await t.rejects(store.get(22), { code: 'MASTER_KEY', message: /pushes of app 22 .* belongs to something else/ });
  await db.pool.query('delete from app where sdk_app_id > 20');

  const whole = (await store.get(20))?.settings;
  const newKey = randomBytes(32);
  const rotating = createAppStore(db, { sealer: createSealer([newKey, masterKey]), bus });
  t.same((await rotating.get(20))?.settings, whole);
  t.ok((await rotating.applyConfigured([])).ok);
  const rotated = createAppStore(db, { sealer: createSealer([newKey]), bus });
  t.same((await rotated.get(20))?.settings, whole, 'after one start with both the old key may go');

  const older = createAppStore(db, { sealer: createSealer([masterKey, newKey]), bus });
  // A program of the release before sealed anew only what it knows.
  for (const origin of ['api', 'config']) {
    const one = completeApp({ ...app(30, '/thirty'), push: { fcm: { serviceAccount } } });
    const configured = origin === 'config' ? [one] : [];
    await (origin === 'config' ? older.applyConfigured(configured) : older.create(one));
    const secrets = createSealer([newKey]).seal(JSON.stringify(one.secret), 'app 30');
    await db.pool.query('update app set sealed_secrets = $1 where sdk_app_id = 30', [secrets]);
    t.ok((await rotating.applyConfigured(configured)).ok);
    t.same((await rotated.get(30))?.settings, one, origin);
    await db.pool.query('delete from app where sdk_app_id = 30');
  }

  const { fcm: _, ...withoutFcm } = whole?.push ?? {};
  await rotated.set(completeApp({ ...whole, push: withoutFcm }));
  t.same((await rotated.get(20))?.settings.push.fcm, undefined, 'what is removed is gone');
  await rotated.set(completeApp({ ...whole, push: {} }));
  const { rows: last } = await db.pool.query('select sealed_push from app where sdk_app_id = 20');
  t.same(last, [{ sealed_push: null }]);
});
