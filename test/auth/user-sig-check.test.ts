import t, { type Test } from 'tap';
import {
  createRevocations,
  createUserSigCheck,
  signUserSig,
  type UserSigCheck,
  type UserSigCheckResult,
} from '../../src/auth/index.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { type AppSettings, createControlBus, openDatabase } from '../../src/store/index.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase, until } from '../support/database.ts';

const sdkAppId = 1_400_000_000;
const secret = 'the first secret of the app';
const nextSecret = 'the next secret of the app';
const alice = 'alice' as AccountId;
const logger = createLogger({ level: 'silent' });

function appWith(secrets: string | string[], id = sdkAppId): AppSettings {
  return completeApp({ sdkAppId: id, secret: secrets });
}

function sign(options: Partial<Parameters<typeof signUserSig>[0]> = {}): string {
  return signUserSig({ sdkAppId, identifier: 'alice', secret, expireSec: 100, issuedAtSec: 1_000_000, ...options });
}

const outcome = (result: UserSigCheckResult) => (result.ok ? 'ok' : result.error);

/** A check whose world the test changes: clock, app, kicks, and whether the database answers. */
function createWorld(t: Test, { maxCached = 100 } = {}) {
  const world = {
    nowMs: 1_000_000_500,
    app: appWith(secret) as AppSettings | undefined,
    kickedMs: undefined as number | undefined,
    reads: 0,
    read: undefined as (() => Promise<number | undefined>) | undefined,
  };
  const heard = {
    revoked: new Set<(id: number, account: string) => void>(),
    bus: new Set<(payload: unknown) => void>(),
  };
  const reconnects = new Set<() => void>();
  let secretReads = 0;
  const metrics = createMetrics();
  const check = createUserSigCheck(
    {
      apps: {
        get(id) {
          const { app } = world;
          if (id !== sdkAppId || app === undefined) return undefined;
          return app;
        },
      },
      revocations: {
        accountRevokedBeforeMs() {
          world.reads++;
          return world.read?.() ?? Promise.resolve(world.kickedMs);
        },
        onAccountRevoked(fn) {
          heard.revoked.add(fn);
          return () => heard.revoked.delete(fn);
        },
      },
      bus: {
        subscribe(topic, fn) {
          t.equal(topic, 'revocations');
          heard.bus.add(fn);
          return () => heard.bus.delete(fn);
        },
        onReconnect(fn) {
          reconnects.add(fn);
          return () => reconnects.delete(fn);
        },
      },
      clock: () => world.nowMs,
      metrics,
    },
    { maxCached },
  );
  t.teardown(() => check.close());
  return {
    world,
    check: async (userSig: unknown, identifier = 'alice', id = sdkAppId) =>
      outcome(await check.check(id, identifier as AccountId, userSig)),
    full: check.check,
    close: check.close,
    listeners: () => heard.revoked.size + heard.bus.size + reconnects.size,
    tell: (payload: unknown) => {
      for (const fn of heard.bus) fn(payload);
    },
    tellHere: (account: string) => {
      for (const fn of heard.revoked) fn(sdkAppId, account);
    },
    reconnect: () => {
      for (const fn of reconnects) fn();
    },
    /** Settings whose secret counts how often it is read: each verification reads it once. */
    watchSecret(app: AppSettings) {
      const { secret: value, ...rest } = app;
      world.app = Object.defineProperty({ ...rest } as AppSettings, 'secret', {
        get() {
          secretReads++;
          return value;
        },
      });
    },
    verifications: () => Math.ceil(secretReads / 2),
    cached: async () =>
      (await metrics.registry.getSingleMetric('qalgate_auth_user_sigs_cached')?.get())?.values[0]?.value,
    counted: async () =>
      Object.fromEntries(
        ((await metrics.registry.getSingleMetric('qalgate_auth_user_sig_checks_total')?.get())?.values ?? []).map(
          ({ labels, value }) => [labels.result, value],
        ),
      ),
  };
}

t.test('[I4] each step of the check has its error, and the first that fails is told', async (t) => {
  const { check, full, world, cached, counted } = createWorld(t);
  world.nowMs = 1_000_050_000;
  t.equal(await check(sign(), 'alice', 7), 'APP_UNKNOWN');
  t.equal(await check(undefined), 'USERSIG_EMPTY');
  t.equal(await check(''), 'USERSIG_EMPTY');
  t.equal(await check('***'), 'USERSIG_MALFORMED');
  t.equal(await check({}), 'USERSIG_MALFORMED');
  t.equal(await check('a'.repeat(10_000)), 'USERSIG_MALFORMED');
  t.equal(await check(sign({ identifier: 'bob', secret: nextSecret })), 'USERSIG_IDENTIFIER_MISMATCH');
  t.equal(await check(sign({ sdkAppId: 7, secret: nextSecret })), 'USERSIG_APP_MISMATCH');
  t.equal(await check(sign({ secret: nextSecret, expireSec: 1 })), 'USERSIG_KEY_MISMATCH');
  t.equal(await check(sign({ expireSec: 50 })), 'USERSIG_EXPIRED', 'at the very second');
  t.equal(world.reads, 0, 'none of them is worth a question to the database');
  t.equal(await cached(), 0, 'nor remembered');
  t.strictSame(await full(sdkAppId, alice, sign({ expireSec: 51 })), {
    ok: true,
    issuedAtSec: 1_000_000,
    expiresAtSec: 1_000_051,
  });
  world.kickedMs = 1_000_000_999;
  t.equal(await check(sign({ identifier: 'bob' }), 'bob'), 'USERSIG_REVOKED');
  t.match(await counted(), { ok: 1, USERSIG_MALFORMED: 3, USERSIG_REVOKED: 1 });
});

t.test('[I4] a kick ends UserSigs issued until its second, and none after', async (t) => {
  const { check, world } = createWorld(t);
  world.kickedMs = 1_000_000_999;
  t.equal(await check(sign({ issuedAtSec: 999_999 })), 'USERSIG_REVOKED');
  t.equal(await check(sign({ issuedAtSec: 1_000_000 })), 'USERSIG_REVOKED', 'the same second');
  t.equal(await check(sign({ issuedAtSec: 1_000_001 })), 'ok');
  t.equal(world.reads, 1);
});

t.test('a UserSig is verified once, and again for another account, app, secret or when it fell out', async (t) => {
  const { check, world, watchSecret, verifications, cached } = createWorld(t, { maxCached: 2 });
  watchSecret(appWith(secret));
  const mine = sign();
  for (let i = 0; i < 3; i++) t.equal(await check(mine), 'ok');
  t.equal(verifications(), 1);
  t.equal(await check(mine, 'bob'), 'USERSIG_IDENTIFIER_MISMATCH', 'what is remembered is for its account only');
  t.equal(await check(mine), 'ok');
  t.equal(verifications(), 2, 'and still remembered');

  watchSecret(appWith([nextSecret, secret]));
  t.equal(await check(mine), 'ok', 'both secrets while they rotate');
  watchSecret(appWith(nextSecret));
  t.equal(await check(mine), 'USERSIG_KEY_MISMATCH', 'its secret is gone');
  t.equal(await check(sign({ secret: nextSecret })), 'ok');
  world.app = undefined;
  t.equal(await check(sign({ secret: nextSecret })), 'APP_UNKNOWN');

  world.app = appWith(secret);
  t.equal(await check(mine), 'ok');
  for (const expireSec of [200, 300, 400]) t.equal(await check(sign({ expireSec })), 'ok');
  t.equal(await cached(), 2, 'bounded');
  world.nowMs = 1_000_100_000;
  t.equal(await check(mine), 'USERSIG_EXPIRED');
  t.equal(await check(sign({ expireSec: 400 })), 'ok');
  world.nowMs = 1_000_400_000;
  t.equal(await check(sign({ expireSec: 400 })), 'USERSIG_EXPIRED', 'remembered, and expired all the same');
  t.equal(await cached(), 1, 'it was dropped; the other was not asked for');
});

t.test('[I4] the kick is looked up again when it is heard of, may have been missed, or is 30 s old', async (t) => {
  const { check, world, tell, tellHere, reconnect } = createWorld(t);
  const mine = sign();
  t.equal(await check(mine), 'ok');
  world.kickedMs = 1_000_000_900;
  t.equal(await check(mine), 'ok', 'not heard of yet');
  world.nowMs += 29_999;
  t.equal(await check(mine), 'ok');
  world.nowMs += 1;
  t.equal(await check(mine), 'USERSIG_REVOKED', 'after 30 s');
  t.equal(world.reads, 2);

  world.kickedMs = undefined;
  for (const payload of [
    undefined,
    null,
    'x',
    { scope: 'terminal', sdkAppId, subject: 'alice' },
    { scope: 'account', sdkAppId: 7, subject: 'alice' },
    { scope: 'account', sdkAppId, subject: 'bob' },
    { scope: 'account', sdkAppId, subject: 5 },
  ]) {
    tell(payload);
  }
  t.equal(await check(mine), 'USERSIG_REVOKED', 'none of this was for the account');
  t.equal(world.reads, 2);
  tell({ scope: 'account', sdkAppId, subject: 'alice', revokedBeforeMs: 1 });
  t.equal(await check(mine), 'ok');
  world.kickedMs = 1_000_000_900;
  tellHere('alice');
  t.equal(await check(mine), 'USERSIG_REVOKED', 'a kick by this process');
  world.kickedMs = undefined;
  reconnect();
  t.equal(await check(mine), 'ok', 'a kick may have been missed');
  t.equal(world.reads, 5);
});

t.test('[I4] what was read before a kick does not outlive it; one look-up serves all who wait', async (t) => {
  const { check, world, tell } = createWorld(t);
  const old = Promise.withResolvers<number | undefined>();
  world.read = () => old.promise;
  const early = [check(sign()), check(sign({ expireSec: 99 }))];
  tell({ scope: 'account', sdkAppId, subject: 'alice' });
  world.read = undefined;
  world.kickedMs = 1_000_000_900;
  t.equal(await check(sign()), 'USERSIG_REVOKED', 'who comes after the kick does not wait for the old answer');
  old.resolve(undefined);
  t.strictSame(await Promise.all(early), ['ok', 'ok'], 'they came before the kick');
  t.equal(await check(sign()), 'USERSIG_REVOKED', 'and theirs is not remembered');
  t.equal(world.reads, 2);
});

t.test('without the database nobody is let in who was not looked up lately', async (t) => {
  const { check, world } = createWorld(t);
  t.equal(await check(sign()), 'ok');
  world.read = () => Promise.reject(new Error('away'));
  t.equal(await check(sign()), 'ok', 'looked up a moment ago');
  t.equal(await check(sign({ identifier: 'bob' }), 'bob'), 'DATABASE_UNAVAILABLE');
  world.nowMs += 30_000;
  t.equal(await check(sign()), 'DATABASE_UNAVAILABLE');
  world.read = undefined;
  t.equal(await check(sign()), 'ok', 'a failure is not remembered');
});

t.test('a closed check listens to nobody', async (t) => {
  const { close, listeners } = createWorld(t);
  t.equal(listeners(), 3);
  close();
  t.equal(listeners(), 0);
});

t.test('[I4] a kick reaches the check of its own process at once and the others over the bus', async (t) => {
  const { dataDir } = await openTestDatabase(t);
  async function startProcess(): Promise<{ check: UserSigCheck; kick: () => Promise<void> }> {
    const metrics = createMetrics();
    const db = await openDatabase({ logger, metrics }, { dataDir, database: 'embedded', use: 'command' });
    const bus = createControlBus(db, { logger });
    await bus.ready();
    const revocations = await createRevocations(
      { db, bus, clock: Date.now, logger, metrics },
      { sessionLifetimeMs: 900_000 },
    );
    const app = appWith(secret);
    const check = createUserSigCheck(
      { apps: { get: () => app }, revocations, bus, clock: Date.now, metrics },
      { maxCached: 10 },
    );
    t.teardown(async () => {
      check.close();
      await revocations.close();
      await bus.close();
      await db.close();
    });
    return { check, kick: () => revocations.revokeAccount(sdkAppId, alice) };
  }
  const [one, other] = [await startProcess(), await startProcess()];
  const nowSec = Math.floor(Date.now() / 1_000);
  const mine = sign({ issuedAtSec: nowSec, expireSec: 1_000 });
  t.match(await one.check.check(sdkAppId, alice, mine), { ok: true });
  t.match(await other.check.check(sdkAppId, alice, mine), { ok: true });
  await one.kick();
  t.match(await one.check.check(sdkAppId, alice, mine), { ok: false, error: 'USERSIG_REVOKED' });
  t.ok(await until(async () => !(await other.check.check(sdkAppId, alice, mine)).ok));
  const later = sign({ issuedAtSec: nowSec + 60, expireSec: 1_000 });
  t.match(await other.check.check(sdkAppId, alice, later), { ok: true }, 'a new one is good');
});
