import t, { type Test } from 'tap';
import { createRevocations, issueTimeMs, type SessionClaims } from '../../src/auth/index.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { createControlBus, openDatabase } from '../../src/store/index.ts';
import type { AccountId, TerminalId } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { dataDir } = await openTestDatabase(t);
const logger = createLogger({ level: 'silent' });
const sessionLifetimeMs = 900_000;
const never = 3_600_000;

/** One process of several: a pool, a bus and revocations of its own. Its clock may be wrong. */
async function startProcess(t: Test, options: { refreshMs?: number; clockErrorMs?: number; deaf?: boolean } = {}) {
  const metrics = createMetrics();
  const db = await openDatabase({ logger, metrics }, { dataDir, database: 'embedded', use: 'command' });
  const bus = createControlBus(db, { logger });
  await bus.ready();
  if (options.deaf) await bus.close();
  const clock = () => Date.now() + (options.clockErrorMs ?? 0);
  const revocations = await createRevocations(
    { db, bus, clock, logger, metrics },
    { sessionLifetimeMs, refreshMs: options.refreshMs ?? never },
  );
  t.teardown(async () => {
    await revocations.close();
    await bus.close();
    await db.close();
  });
  return { ...revocations, db, clock, metrics };
}

let apps = 1_400_000_000;
let terminals = 0;

/** Claims of a session that was issued then, of an app that no other test uses. */
function sessionOf(issuedAtMs: number, sdkAppId: number, account?: string): SessionClaims {
  return {
    sdkAppId,
    terminalId: `terminal${String(terminals++).padStart(4, 'x')}` as TerminalId,
    ...(account === undefined ? {} : { account: account as AccountId, secretId: 'x' }),
    issuedAtMs,
    expiresAtMs: issuedAtMs + sessionLifetimeMs,
    device: {},
    network: {},
  };
}

const alice = 'alice' as AccountId;
const failuresOf = async (metrics: ReturnType<typeof createMetrics>, operation: string) => {
  const values = (await metrics.registry.getSingleMetric('qalgate_auth_revocation_failures_total')?.get())?.values;
  return values?.find(({ labels }) => labels.operation === operation)?.value ?? 0;
};

t.test('[A14] a logout and a kick reach the other process, and only those whom they are for', async (t) => {
  const one = await startProcess(t);
  const other = await startProcess(t);
  const sdkAppId = apps++;
  const mine = sessionOf(Date.now(), sdkAppId, 'alice');
  const otherDevice = sessionOf(Date.now(), sdkAppId, 'alice');
  const anonymous = sessionOf(Date.now(), sdkAppId);
  const bob = sessionOf(Date.now(), sdkAppId, 'bob');
  const namesake = sessionOf(Date.now(), apps++, 'alice');
  const livingIn = ({ isRevoked }: typeof one) =>
    Object.entries({ mine, otherDevice, anonymous, bob, namesake }).flatMap(([name, claims]) =>
      isRevoked(claims) ? [] : name,
    );
  t.strictSame(livingIn(one), ['mine', 'otherDevice', 'anonymous', 'bob', 'namesake']);

  await one.revokeTerminal(sdkAppId, mine.terminalId);
  t.strictSame(livingIn(one), ['otherDevice', 'anonymous', 'bob', 'namesake'], 'at once where it was asked for');
  t.ok(await until(() => other.isRevoked(mine)), 'the other process knows');
  t.strictSame(livingIn(other), ['otherDevice', 'anonymous', 'bob', 'namesake']);

  await other.revokeAccount(sdkAppId, alice);
  t.strictSame(livingIn(other), ['anonymous', 'bob', 'namesake']);
  t.ok(await until(() => one.isRevoked(otherDevice)), 'the other process knows');
  t.strictSame(livingIn(one), ['anonymous', 'bob', 'namesake']);

  const restarted = await startProcess(t);
  t.strictSame(
    livingIn(restarted),
    ['anonymous', 'bob', 'namesake'],
    'a process that starts later knows it from the start',
  );
});

t.test('[A14] sessions issued in the knowledge of a kick live, until the next one', async (t) => {
  const one = await startProcess(t);
  const sdkAppId = apps++;
  t.equal(await one.accountRevokedBeforeMs(sdkAppId, alice), undefined);
  t.equal(issueTimeMs(5_000, [undefined, undefined]), 5_000);
  for (let round = 1; round <= 3; round++) {
    const nowMs = Date.now();
    const kickedMs = await one.accountRevokedBeforeMs(sdkAppId, alice);
    const session = sessionOf(issueTimeMs(nowMs, [kickedMs, undefined]), sdkAppId, 'alice');
    t.notOk(one.isRevoked(session), `round ${round}: issued after the last kick`);
    await one.revokeAccount(sdkAppId, alice);
    t.ok(one.isRevoked(session), `round ${round}: ended by the next`);
  }
  const session = sessionOf(Date.now(), sdkAppId);
  await one.revokeTerminal(sdkAppId, session.terminalId);
  const loggedOutMs = one.terminalRevokedBeforeMs(sdkAppId, session.terminalId);
  t.ok(loggedOutMs !== undefined);
  t.ok(one.isRevoked(session));
  t.notOk(one.isRevoked({ ...session, issuedAtMs: issueTimeMs(Date.now(), [loggedOutMs]) }));
});

t.test("[A14] processes whose clocks differ end each other's sessions", async (t) => {
  const ahead = await startProcess(t, { clockErrorMs: 900 });
  const behind = await startProcess(t, { clockErrorMs: -900 });
  const sdkAppId = apps++;
  const session = sessionOf(ahead.clock(), sdkAppId, 'alice');
  await behind.revokeAccount(sdkAppId, alice);
  t.ok(behind.isRevoked(session), 'although its clock says that the session was issued later');
  t.ok(await until(() => ahead.isRevoked(session)), 'the other process knows');

  // And a login after the kick is good everywhere.
  const nowMs = behind.clock();
  const again = sessionOf(
    issueTimeMs(nowMs, [await behind.accountRevokedBeforeMs(sdkAppId, alice)]),
    sdkAppId,
    'alice',
  );
  t.notOk(ahead.isRevoked(again));
  await behind.revokeAccount(sdkAppId, alice);
  t.ok(await until(() => ahead.isRevoked(again)), 'the second kick ends it');
});

t.test('[A14] a process that the bus does not reach reads the table every so often', async (t) => {
  const one = await startProcess(t);
  const deaf = await startProcess(t, { deaf: true, refreshMs: 20 });
  const session = sessionOf(Date.now(), apps++, 'alice');
  await one.revokeTerminal(session.sdkAppId, session.terminalId);
  t.ok(await until(() => deaf.isRevoked(session)), 'it has read the table');
});

t.test('[A14] a process whose bus connection broke reads the table when it is back', async (t) => {
  const one = await startProcess(t);
  const session = sessionOf(Date.now(), apps++, 'alice');
  const { rowCount } = await one.db.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen qalgate_control'`,
  );
  t.ok(rowCount !== null && rowCount > 0, 'the connection is cut');
  // Written while nobody could be told.
  await one.db.pool.query(
    `insert into session_revocation (sdk_app_id, scope, subject, revoked_before)
     values ($1, 'account', 'alice', now())`,
    [session.sdkAppId],
  );
  t.ok(await until(() => one.isRevoked(session)), 'it has read the table');
});

t.test('[A14] when the database fails, a revocation is refused loudly and nothing known is lost', async (t) => {
  const one = await startProcess(t, { refreshMs: 20 });
  const session = sessionOf(Date.now(), apps++, 'alice');
  await one.revokeTerminal(session.sdkAppId, session.terminalId);
  await one.db.close();
  const unlucky = sessionOf(Date.now(), apps++, 'alice');
  await t.rejects(one.revokeAccount(unlucky.sdkAppId, alice));
  await t.rejects(one.accountRevokedBeforeMs(unlucky.sdkAppId, alice));
  t.ok(await until(async () => (await failuresOf(one.metrics, 'refresh')) >= 2), 'refreshes have failed');
  t.equal(await failuresOf(one.metrics, 'write'), 1);
  t.equal(await failuresOf(one.metrics, 'login'), 1);
  t.ok(one.isRevoked(session), 'what is known stays');
  t.ok(one.isRevoked(unlucky), 'and what could not be stored holds here at least');
});

t.test('[A14] what no session can meet any more is forgotten; kicks stay in the table', async (t) => {
  const first = await startProcess(t);
  const sdkAppId = apps++;
  const insert = (scope: string, subject: string, age: string) =>
    first.db.pool.query(
      `insert into session_revocation (sdk_app_id, scope, subject, revoked_before)
     values ($1, $2, $3, now() - $4::interval)`,
      [sdkAppId, scope, subject, age],
    );
  await insert('terminal', 'long-gone', '3 hours');
  await insert('terminal', 'just-gone', '20 minutes');
  await insert('terminal', 'needed', '10 minutes');
  await insert('account', 'alice', '400 days');
  await insert('account', 'bob', '10 minutes');

  const one = await startProcess(t);
  const { rows } = await one.db.pool.query('select subject from session_revocation where sdk_app_id = $1 order by 1', [
    sdkAppId,
  ]);
  t.strictSame(
    rows.map(({ subject }) => subject),
    ['alice', 'bob', 'just-gone', 'needed'],
    'rows of terminals go an hour after they were needed',
  );
  t.ok(one.terminalRevokedBeforeMs(sdkAppId, 'needed' as TerminalId));
  t.equal(one.terminalRevokedBeforeMs(sdkAppId, 'just-gone' as TerminalId), undefined);
  const kickedMs = await one.accountRevokedBeforeMs(sdkAppId, alice);
  t.ok(
    kickedMs !== undefined && kickedMs < Date.now() - 399 * 86_400_000,
    'a kick of long ago is still known at login',
  );
  t.notOk(one.isRevoked(sessionOf(Date.now() - 60_000, sdkAppId, 'bob')), 'issued after the kick');
  t.ok(one.isRevoked(sessionOf(Date.now() - 660_000, sdkAppId, 'bob')), 'issued before it');
});

t.test('[A14] messages that it cannot read do it no harm', async (t) => {
  const one = await startProcess(t);
  const session = sessionOf(Date.now(), apps++, 'alice');
  const bus = createControlBus(one.db, { logger });
  t.teardown(() => bus.close());
  const good = { scope: 'account', sdkAppId: session.sdkAppId, subject: 'alice', revokedBeforeMs: Date.now() };
  for (const bad of [
    {},
    [],
    { ...good, scope: 'planet' },
    { ...good, revokedBeforeMs: 'now' },
    { ...good, subject: 1 },
  ]) {
    await bus.publish('revocations', bad);
  }
  await bus.publish('revocations', { ...good, more: 'from a later version' });
  t.ok(await until(() => one.isRevoked(session)), 'the good one has come');
});
