import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { once } from 'node:events';
import { sql } from 'kysely';
import t from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { createProviderTokens } from '../../src/push/apns/index.ts';
import {
  dueMs,
  isUsable,
  keyFingerprint,
  mintProviderToken,
  nextStep,
  type ProviderKey,
  type ProviderToken,
} from '../../src/push/apns/provider-token.ts';
import { createSealer } from '../../src/store/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { metricOf } from '../support/metrics.ts';

const minMs = 60_000;
const startMs = Date.UTC(2026, 10, 26, 12);
const sealer = createSealer([Buffer.alloc(32, 7)]);
const { db, logger, events } = await openTestDatabase(t);

function makeKey(keyId = 'ABCDEFGHIJ'): ProviderKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { teamId: 'TEAMTEAMTE', keyId, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** A process that has the key. */
function makeProcess(key: ProviderKey, now: { ms: number }) {
  const metrics = createMetrics();
  const source = createProviderTokens({ db, sealer, clock: () => now.ms, logger, metrics }).of(key);
  return {
    ...source,
    async token(): Promise<ProviderToken> {
      const found = source.peek() ?? (await source.get());
      if ('text' in found) return found;
      throw new Error(`none for ${found.afterMs} ms: ${found.reason}`);
    },
    count: (event: string) => metricOf(metrics, 'qalgate_push_apns_provider_tokens_total', { event }),
  };
}

async function rowsOf({ keyId }: ProviderKey): Promise<{ key_id: string; issued_ms: number; sealed: string }[]> {
  const { rows } = await sql<{ key_id: string; issued_ms: number; sealed: string }>`
    select key_id, issued_ms, sealed from push_provider_token where key_id like ${`${keyId}:%`}`.execute(db.kysely);
  return rows;
}

t.test('a provider token is a JWT of ES256 that names team, key and time', async (t) => {
  const key = makeKey();
  const { text, issuedMs } = mintProviderToken(key, startMs + 123);
  const [head = '', claims = '', signature = ''] = text.split('.');
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as unknown;
  t.same(read(head), { alg: 'ES256', kid: key.keyId });
  t.same(read(claims), { iss: key.teamId, iat: startMs / 1_000 });
  t.equal(issuedMs, startMs + 123);
  const isSigned = verify(
    'sha256',
    Buffer.from(`${head}.${claims}`),
    { key: createPublicKey(key.key), dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  t.ok(isSigned);
  t.notMatch(keyFingerprint(key.key), keyFingerprint(makeKey().key));
});

t.test('a token is used for 45 ± 2 minutes, and at most 59 where there is no other', async (t) => {
  const dues = new Set<number>();
  for (let i = 0; i < 1_000; i += 1) {
    const token = { text: 't', issuedMs: startMs + i * 997 };
    const due = dueMs(token) - token.issuedMs;
    dues.add(due);
    if (due < 43 * minMs || due >= 47 * minMs) t.fail(`due after ${due} ms`);
    if (nextStep({ token, heldUntilMs: 0 }, dueMs(token) - 1, undefined) !== 'use') t.fail('changed too soon');
    if (nextStep({ token, heldUntilMs: 0 }, dueMs(token), undefined) !== 'mint') t.fail('changed too late');
  }
  t.ok(dues.size > 100, 'keys do not change all at once');
  const token = { text: 't', issuedMs: startMs };
  t.ok(isUsable(token, startMs + 59 * minMs - 1));
  t.notOk(isUsable(token, startMs + 59 * minMs));
});

t.test('what is done when, for each state of a token', async (t) => {
  const at = (ageMin: number, more: { expired?: string; heldMin?: number } = {}) =>
    nextStep(
      {
        token: { text: 't', issuedMs: startMs },
        heldUntilMs: more.heldMin === undefined ? 0 : startMs + more.heldMin * minMs,
      },
      startMs + ageMin * minMs,
      more.expired,
    );
  t.equal(nextStep({ token: undefined, heldUntilMs: 0 }, startMs, undefined), 'mint');
  t.equal(at(0), 'use');
  t.equal(at(-1), 'use', 'clocks of processes differ a little');
  t.equal(at(-1.01), 'mint', 'the clock was put back');
  t.equal(at(47), 'mint');
  t.equal(at(30, { expired: 't' }), 'mint');
  t.equal(at(30, { expired: 'another' }), 'use', 'another process has made a new one already');
  t.same(at(5, { expired: 't' }), { waitMs: 15 * minMs }, 'the next one would be too many');
  t.equal(at(20, { expired: 't' }), 'mint');
  t.equal(at(50, { heldMin: 65 }), 'use', 'held: the old one goes on');
  t.same(at(59, { heldMin: 65 }), { waitMs: 6 * minMs }, 'held, and the old one over');
  t.equal(at(65, { heldMin: 65 }), 'mint');
  t.equal(at(50, { heldMin: 71 }), 'mint', 'no hold is longer than twenty minutes: the clock was put back');
});

t.test('[S7] processes that need a token at once make one between them, and it is sealed', async (t) => {
  const key = makeKey('ONEFORALLX');
  const now = { ms: startMs };
  const processes = Array.from({ length: 6 }, () => makeProcess(key, now));
  const tokens = await Promise.all(processes.flatMap((one) => [one.token(), one.token()]));
  t.equal(new Set(tokens.map(({ text }) => text)).size, 1);
  const minted = await Promise.all(processes.map((one) => one.count('minted')));
  t.equal(
    minted.reduce((sum, each) => sum + each, 0),
    1,
  );
  const [row, ...others] = await rowsOf(key);
  t.same(others, []);
  t.equal(row?.issued_ms, startMs);
  t.notMatch(row?.sealed, tokens[0]?.text, 'what stands in the table gives nothing away');
  t.match(row?.sealed, /^v1\./);

  // All at the same moment, once more.
  now.ms = dueMs(tokens[0] as ProviderToken);
  t.equal((await processes[0]?.token())?.text, tokens[0]?.text, 'goes on with the old one while the new one is made');
  const next = await Promise.all(processes.map((one) => one.get()));
  t.equal(new Set(next.map((one) => 'text' in one && one.text)).size, 1);
  t.not('text' in (next[0] ?? {}) && (next[0] as ProviderToken).text, tokens[0]?.text);
  t.equal((await rowsOf(key))[0]?.issued_ms, now.ms);
});

t.test('the database is asked when there is need, not for each push', async (t) => {
  const now = { ms: startMs };
  const one = makeProcess(makeKey('FROMMEMORY'), now);
  const first = await one.token();
  for (let i = 0; i < 100; i += 1) {
    now.ms += 20_000;
    if (one.peek()?.text !== first.text) t.fail('not from memory');
  }
  t.equal(await one.count('read'), 1);
  now.ms = dueMs(first);
  t.equal(one.peek()?.text, first.text);
  await until(() => one.peek()?.text !== first.text);
  t.equal(await one.count('minted'), 2, 'nobody had to wait for the next one');
});

t.test('a token that APNs calls expired is replaced once, by whoever hears it first', async (t) => {
  const key = makeKey('EXPIREDXXX');
  const now = { ms: startMs };
  const [a, b] = [makeProcess(key, now), makeProcess(key, now)];
  const old = await a.token();
  t.equal((await b.token()).text, old.text);
  now.ms += 25 * minMs;
  // Five hundred in flight all hear the same.
  for (let i = 0; i < 500; i += 1) a.expired(old);
  t.equal(a.peek(), undefined);
  const next = await a.token();
  t.not(next.text, old.text);
  t.equal(await a.count('expired'), 1);
  a.expired(old);
  t.equal(a.peek()?.text, next.text, 'what is said of the old one says nothing of the new one');
  b.expired(old);
  t.equal((await b.token()).text, next.text, 'another process takes it over');
  b.expired(next);
  b.expired(old);
  t.equal(b.peek(), undefined, 'nor does it make the new one good again');
  t.equal(await b.count('minted'), 0);
});

t.test(
  'one that APNs calls expired at once is not replaced before it may be: the clock is wrong, and somebody is told',
  async (t) => {
    const now = { ms: startMs };
    const one = makeProcess(makeKey('WRONGCLOCK'), now);
    const first = await one.token();
    now.ms += 1_000;
    one.expired(first);
    t.same(await one.get(), { afterMs: 20 * minMs - 1_000, reason: 'ExpiredProviderToken' });
    const reads = await one.count('read');
    now.ms += 5_000;
    t.same(await one.get(), { afterMs: 20 * minMs - 6_000, reason: 'ExpiredProviderToken' });
    t.equal(await one.count('read'), reads, 'nor is the database asked again and again');
    t.ok(events.includes('push.apns.token.expired'));
    now.ms = startMs + 20 * minMs;
    t.not((await one.token()).text, first.text);
  },
);

t.test(
  'after "too many updates" no process makes one for twenty minutes, and the one that there is goes on',
  async (t) => {
    const key = makeKey('TOOMANYXXX');
    const now = { ms: startMs };
    const [a, b] = [makeProcess(key, now), makeProcess(key, now)];
    const old = await a.token();
    now.ms = startMs + 42 * minMs;
    await b.token();
    a.tooMany();
    a.tooMany();
    t.equal(await a.count('held'), 1);
    // The row says so to all.
    await a.get();
    now.ms = dueMs(old) + minMs;
    for (const one of [a, b]) {
      const found = await one.get();
      t.equal('text' in found && found.text, old.text);
    }
    now.ms = startMs + 59 * minMs;
    for (const one of [a, b]) t.same(await one.get(), { afterMs: 3 * minMs, reason: 'ExpiredProviderToken' });
    now.ms = startMs + 62 * minMs;
    const next = await b.token();
    t.not(next.text, old.text);
    t.equal((await a.token()).text, next.text);
  },
);

t.test('a hold that comes while a token is being made is not lost with what the database said before', async (t) => {
  const key = makeKey('HELDMEANWH');
  const now = { ms: startMs };
  const [a, b] = [makeProcess(key, now), makeProcess(key, now)];
  // Locks of ours by which its writing can be held up, and its next look.
  const [writing, looking] = [7_001, 7_002];
  await sql`
    create function hold_up() returns trigger language plpgsql as $$
    begin
      if new.team_id || ' ' || new.key_id like 'TEAMTEAMTE HELDMEANWH:%' then
        perform pg_advisory_lock(tg_argv[0]::bigint);
        perform pg_advisory_unlock(tg_argv[0]::bigint);
      end if;
      return new;
    end $$`.execute(db.kysely);
  for (const [event, lock] of [
    ['update', writing],
    ['insert', looking],
  ] as const) {
    await sql
      .raw(
        `create trigger hold_up_${event} before ${event} on push_provider_token for each row execute function hold_up(${lock})`,
      )
      .execute(db.kysely);
  }
  const client = db.createClient();
  await client.connect();
  const waiting = (lock: number) =>
    until(async () => {
      const { rows } = await client.query(
        "select 1 from pg_locks where locktype = 'advisory' and objid = $1 and not granted",
        [lock],
      );
      return rows.length > 0;
    });
  await client.query('select pg_advisory_lock($1)', [writing]);
  const first = a.get();
  await waiting(writing);
  await client.query('select pg_advisory_lock($1)', [looking]);
  // The token is ten minutes old by now.
  now.ms += 10 * minMs;
  a.tooMany();
  await waiting(looking);
  await client.query('select pg_advisory_unlock($1)', [writing]);
  const found = await first;
  await client.query('select pg_advisory_unlock($1)', [looking]);
  await until(async () => (await a.count('read')) === 2);
  const ended = once(client, 'end');
  await client.end();
  await ended;
  await sql`drop function hold_up cascade`.execute(db.kysely);

  t.ok('text' in found);
  if (!('text' in found)) return;
  t.equal((await b.token()).text, found.text);
  b.expired(found);
  now.ms = startMs + 25 * minMs;
  t.same(await b.get(), { afterMs: 5 * minMs, reason: 'ExpiredProviderToken' }, 'the others hear of it, too');
  t.equal(await a.count('held'), 1);
});

t.test('a clock that was put back makes a new token', async (t) => {
  const now = { ms: startMs };
  const one = makeProcess(makeKey('BACKWARDSX'), now);
  const ahead = await one.token();
  now.ms -= 3 * 60 * minMs;
  t.equal(one.peek(), undefined);
  const next = await one.token();
  t.not(next.text, ahead.text);
  t.equal(next.issuedMs, now.ms);
});

t.test('another key under the same id has a token of its own, whoever comes first', async (t) => {
  const now = { ms: startMs };
  const [wrong, right] = [makeKey('SAMEIDXXXX'), makeKey('SAMEIDXXXX')];
  const ofWrong = await makeProcess(wrong, now).token();
  const ofRight = await makeProcess(right, now).token();
  t.not(ofWrong.text, ofRight.text);
  t.equal((await makeProcess(wrong, now).token()).text, ofWrong.text);
  t.equal((await rowsOf(right)).length, 2);
});

t.test('what cannot be opened is as good as none', async (t) => {
  const key = makeKey('UNREADABLE');
  const now = { ms: startMs };
  const first = await makeProcess(key, now).token();
  await sql`update push_provider_token set sealed = 'v1.00000000.AAAA' where key_id like 'UNREADABLE:%'`.execute(
    db.kysely,
  );
  t.not((await makeProcess(key, now).token()).text, first.text);
});

t.test(
  'without the database the token that there is goes on; without a token there is an answer all the same',
  async (t) => {
    const key = makeKey('DATABASEXX');
    const now = { ms: startMs };
    const [a, b] = [makeProcess(key, now), makeProcess(key, now)];
    const old = await a.token();
    // Its row is locked, as by a process that hangs.
    const client = db.createClient();
    await client.connect();
    await client.query('begin');
    await client.query("select 1 from push_provider_token where key_id like 'DATABASEXX:%' for update");
    now.ms = dueMs(old);
    t.equal(a.peek()?.text, old.text);
    const none = await b.get();
    t.same(none, { afterMs: 5_000, reason: 'provider-token' });
    t.equal(await b.count('failed'), 1);
    await client.query('rollback');
    const ended = once(client, 'end');
    await client.end();
    await ended;
    now.ms += 5_000;
    t.equal((await b.token()).issuedMs >= old.issuedMs, true);
  },
);
