import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createKeyRing, createSessionCheck, createSessionTokens, userSigSecretId } from '../../src/auth/index.ts';
import { createRevokedBefore } from '../../src/auth/revoked-before.ts';
import { createMetrics } from '../../src/observe/index.ts';
import type { AppSettings } from '../../src/store/index.ts';
import type { AccountId, TerminalId } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';

const sdkAppId = 1_400_000_000;
const secret = 'the first secret of the app';

function appWith(secrets: string | string[]): AppSettings {
  return completeApp({ sdkAppId, secret: secrets, access: { cache: 'off' } });
}

/** A session check whose world the test changes. */
function createWorld(options = { maxCached: 100, maxCachedBytes: 1_000_000 }) {
  const world = { nowMs: 1_000_000_000, app: appWith(secret) as AppSettings | undefined, revoked: false };
  const clock = () => world.nowMs;
  const real = createSessionTokens(
    { keyRing: createKeyRing([randomBytes(32)]), clock },
    { lifetimeSec: 900, rotationSec: 86_400 },
  );
  let verified = 0;
  const tokens = {
    ...real,
    verify(token: unknown) {
      verified++;
      return real.verify(token);
    },
  };
  const metrics = createMetrics();
  const apps = { get: (id: number) => (id === sdkAppId ? world.app : undefined) };
  const revocations = { isRevoked: () => world.revoked };
  const check = createSessionCheck({ tokens, revocations, apps, clock, metrics }, options);
  let serial = 0;
  return {
    world,
    check: check.check,
    ended: check.ended,
    verifiedCount: () => verified,
    cachedCount: async () =>
      (await metrics.registry.getSingleMetric('qalgate_auth_session_cache_entries')?.get())?.values[0]?.value,
    token: (boundBy?: string) =>
      real.issue({
        sdkAppId,
        terminalId: `terminal${String(serial++).padStart(4, '0')}` as TerminalId,
        ...(boundBy === undefined ? {} : { account: 'alice' as AccountId, secretId: userSigSecretId(boundBy) }),
        issuedAtMs: world.nowMs,
        expiresAtMs: world.nowMs + 900_000,
        device: {},
        network: {},
      }),
  };
}

t.test('[A13] a token is verified once, and its claims stay the same object', async (t) => {
  const { check, token, verifiedCount, cachedCount } = createWorld();
  const one = token(secret);
  const first = check(one);
  t.match(first, { ok: true, claims: { sdkAppId, account: 'alice' } });
  for (let i = 0; i < 3; i++) {
    const again = check(one);
    t.ok(first.ok && again.ok && first.claims === again.claims);
  }
  t.equal(verifiedCount(), 1);
  t.equal(await cachedCount(), 1);
  t.strictSame(check(`${one}x`), { ok: false, code: 'SESSION_INVALID' });
  t.strictSame(check('x'), { ok: false, code: 'SESSION_INVALID' });
  t.equal(await cachedCount(), 1, 'what is not valid is not remembered');
});

t.test('[A13] a remembered MAC vouches for its own token only', async (t) => {
  const { check, token, cachedCount } = createWorld();
  const [mine, other] = [token(), token(secret)];
  const first = check(mine);
  t.ok(check(other).ok);
  const [generation, , mac] = mine.split('.');
  const [, claims] = other.split('.');
  const invalid = { ok: false, code: 'SESSION_INVALID' };
  t.strictSame(check(`${generation}.${claims}.${mac}`), invalid, 'the claims of another');
  t.strictSame(check(`x${mine}`), invalid);
  t.strictSame(check(mac ?? ''), invalid);
  const again = check(mine);
  t.ok(first.ok && again.ok && first.claims === again.claims, 'and the token itself is still known');
  t.equal(await cachedCount(), 2);
});

t.test('[A14] what ends a session ends it at the next check, also when its token is remembered', async (t) => {
  const { world, check, ended, token, cachedCount } = createWorld();
  const bound = token(secret);
  const anonymous = token();
  const verdicts = () => [check(bound), check(anonymous)].map((result) => (result.ok ? 'ok' : result.code));
  const claims = [bound, anonymous].map(check).flatMap((result) => (result.ok ? result.claims : []));
  /** For what was opened under the sessions. */
  const endings = () => claims.map(ended);
  t.strictSame(verdicts(), ['ok', 'ok']);

  world.revoked = true;
  t.strictSame(verdicts(), ['SESSION_REVOKED', 'SESSION_REVOKED']);
  t.strictSame(endings(), [true, true]);
  world.revoked = false;
  t.strictSame(endings(), [false, false]);

  const next = 'the next secret of the app';
  world.app = appWith([next, secret]);
  t.strictSame(verdicts(), ['ok', 'ok'], 'both keys while they rotate');
  world.app = appWith(next);
  t.strictSame(verdicts(), ['SESSION_REVOKED', 'ok'], 'the key that bound it is gone; an anonymous session has none');
  t.strictSame(endings(), [true, false]);
  t.ok(check(token(next)).ok);
  world.app = undefined;
  t.strictSame(verdicts(), ['SESSION_REVOKED', 'SESSION_REVOKED'], 'the app is gone');
  t.strictSame(endings(), [true, true]);
  world.app = appWith(secret);
  t.strictSame(verdicts(), ['ok', 'ok']);

  world.nowMs += 899_999;
  t.strictSame(verdicts(), ['ok', 'ok']);
  world.nowMs += 1;
  t.strictSame(verdicts(), ['SESSION_EXPIRED', 'SESSION_EXPIRED']);
  t.strictSame(endings(), [false, false], 'to run out is no end for what was opened under it');
  t.equal(await cachedCount(), 1, 'expired tokens are dropped; one of the three was not asked for again');
});

t.test('[A13] memory of tokens is bounded by number and by bytes', async (t) => {
  for (const options of [
    { maxCached: 3, maxCachedBytes: 1_000_000 },
    { maxCached: 1_000, maxCachedBytes: 6_000 },
  ]) {
    const { check, token, verifiedCount, cachedCount } = createWorld(options);
    const tokens = Array.from({ length: 20 }, () => token());
    t.ok(tokens.every((one) => check(one).ok));
    const cached = (await cachedCount()) ?? 0;
    t.ok(cached >= 2 && cached <= 4, `${cached} remembered`);
    t.ok(check(tokens[0] ?? '').ok, 'one that fell out is verified again');
    t.equal(verifiedCount(), 21);
    t.ok(check(tokens[0] ?? '').ok);
    t.equal(verifiedCount(), 21);
  }
});

t.test(
  '[A14] the revoked-before map: moments move forward only, and being full ends too much rather than too little',
  async (t) => {
    const map = createRevokedBefore({ maxEntries: 3 });
    t.equal(map.get(1, 'a'), undefined);
    t.ok(map.add(1, 'a', 100));
    t.ok(map.add(1, 'a', 50));
    t.equal(map.get(1, 'a'), 100);
    t.equal(map.get(2, 'a'), undefined, 'another app');
    t.ok(map.add(1, 'b', 200));
    t.ok(map.add(2, 'a', 300));
    t.equal(map.size, 3);

    t.notOk(map.add(1, 'c', 400), 'full');
    t.equal(map.size, 3);
    t.equal(map.get(1, 'a'), 100, 'what was forgotten is still ended');
    t.equal(map.get(1, 'never heard of'), 100, 'and everything of its app until then');
    t.equal(map.get(1, 'b'), 200);
    t.equal(map.get(2, 'a'), 300, 'not the other app, which has fewer');
    t.equal(map.get(2, 'b'), undefined);
    t.ok(map.add(1, 'a', 100), 'reading the forgotten one again changes nothing');
    t.equal(map.size, 3);

    map.prune(100);
    t.equal(map.get(1, 'a'), 100);
    map.prune(101);
    t.equal(map.get(1, 'a'), undefined);
    map.prune(301);
    t.equal(map.size, 1);
    t.equal(map.get(1, 'c'), 400);
    t.equal(map.get(2, 'a'), undefined);
  },
);
