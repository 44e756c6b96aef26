import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { SdkAppId } from '../../src/wire/index.ts';
import {
  callbackApp,
  entriesOf,
  numbersOf,
  openCallbacks,
  openRecordingBackend,
  type RecordingBackend,
  type WrittenEvent,
  writeEvents,
} from '../support/callbacks.ts';
import { openTestDatabase, until } from '../support/database.ts';

t.setTimeout(240_000);
const database = await openTestDatabase(t);
const { db } = database;
let nextApp = 1;
let nextKey = 1;
const command = 'Group.CallbackAfterSendMsg';
const concurrency = 32;
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

/** A backend that says how many requests it has at once, by what they are told of. */
async function openCounting(t: Test, behaviour: (kind: string) => number | undefined | Promise<number | undefined>) {
  const now = new Map<string, number>();
  const most = new Map<string, number>();
  const backend = await openRecordingBackend(t, async ({ body }, response) => {
    const kind = String(body.kind);
    const count = (now.get(kind) ?? 0) + 1;
    now.set(kind, count);
    most.set(kind, Math.max(most.get(kind) ?? 0, count));
    response.once('close', () => now.set(kind, (now.get(kind) ?? 0) - 1));
    return await behaviour(kind);
  });
  return { ...backend, now, most };
}

interface Conversation {
  app: SdkAppId;
  key: string;
  kind: 'healthy' | 'failing' | 'hanging';
}

/** Writes so many events of each conversation, an event of each in turn, and wakes their lanes as im does. */
async function tellAll(
  { callbacks }: Pick<Awaited<ReturnType<typeof openCallbacks>>, 'callbacks'>,
  conversations: readonly Conversation[],
  each: number,
): Promise<void> {
  for (const number of range(each)) {
    await writeEvents(
      database,
      conversations.map(({ app, key, kind }): WrittenEvent => ({ app, key, body: { fields: { key, kind, number } } })),
    );
    for (const { app, key } of conversations) callbacks.written(app, key, command);
  }
}

function checkInOrder(
  t: Test,
  backends: readonly RecordingBackend[],
  conversations: readonly Conversation[],
  each: number,
): void {
  const came = Map.groupBy(
    backends.flatMap(({ received }) => received),
    ({ body }) => String(body.key),
  );
  const wrong = conversations.filter(({ key }) => String(numbersOf(came.get(key) ?? [])) !== String(range(each)));
  t.strictSame(wrong, [], 'each healthy conversation is told of once, in order');
}

t.test(
  '[K7] of 1,000 conversations 50 fail for ever, and one of three endpoints hangs: the others notice nothing',
  async (t) => {
    const each = 3;
    const answer = (kind: string) => (kind === 'hanging' ? undefined : kind === 'failing' ? 500 : 200);
    const backends = [await openCounting(t, answer), await openCounting(t, answer), await openCounting(t, answer)];
    const apps = backends.map(({ url }) => callbackApp(nextApp++, { url, timeoutMs: 5_000 }));
    const conversationsOf = (hanging: boolean): Conversation[] =>
      range(1_000).map((n) => ({
        app: apps[n % 3]?.sdkAppId ?? 0,
        key: String(nextKey++),
        kind: n % 20 === 7 ? 'failing' : n % 3 === 2 && hanging ? 'hanging' : 'healthy',
      }));
    const healthyOf = (all: readonly Conversation[]) =>
      all.filter(({ kind, app }) => kind === 'healthy' && app !== apps[2]?.sdkAppId);
    const relay = await openCallbacks(t, database, apps, { concurrency });

    /** Deliveries a second of these. */
    const measure = async (told: readonly Conversation[], counted: readonly Conversation[]): Promise<number> => {
      const keys = new Set(counted.map(({ key }) => key));
      const startMs = performance.now();
      await tellAll(relay, told, each);
      const came = () =>
        backends.reduce(
          (sum, { received }) => sum + received.filter(({ body }) => keys.has(String(body.key))).length,
          0,
        );
      await until(() => came() >= counted.length * each, 60_000);
      return (counted.length * each * 1_000) / (performance.now() - startMs);
    };
    const alone = healthyOf(conversationsOf(false));
    const before = await measure(alone, alone);

    const all = conversationsOf(true);
    const [bad, hanging] = [all.filter(({ kind }) => kind === 'failing'), all.filter(({ kind }) => kind === 'hanging')];
    const healthy = healthyOf(all);
    t.strictSame([bad.length, hanging.length > 300, healthy.length > 600], [50, true, true]);
    const inFlight: number[] = [];
    const sampling = setInterval(() => {
      const circuit = relay.callbacks.circuits().find(({ url }) => url === backends[2]?.url);
      inFlight.push(circuit?.inFlight ?? 0);
    }, 10);
    const startMs = performance.now();
    const beside = await measure(all, healthy);
    clearInterval(sampling);
    t.comment(
      `${Math.round(before)}/s alone, ${Math.round(beside)}/s beside the others: ${(beside / before).toFixed(2)}`,
    );

    checkInOrder(t, backends, [...alone, ...healthy], each);
    t.ok(Math.max(...inFlight) <= 8, 'the endpoint that hangs has no more than its places');
    t.ok((backends[2]?.most.get('hanging') ?? 0) <= 8);
    for (const { received, most } of backends) {
      const failing = received.filter(({ body }) => body.kind === 'failing');
      t.ok((most.get('failing') ?? 0) <= 8);
      t.ok(
        failing.every(({ body }) => body.number === 0),
        'nothing behind a head that fails',
      );
      // A second, two, four, a quarter shorter at most: a conversation that fails takes a POST now and then.
      const mostPosts = 2 + Math.log2(1 + (performance.now() - startMs) / 750);
      for (const some of Map.groupBy(failing, ({ body }) => body.key).values()) t.ok(some.length <= mostPosts);
    }
    const lagOf = async (some: readonly Conversation[]): Promise<number> => {
      const { rows } = await db.pool.query<{ lag: number }>(
        `select done_ms - created_ms as lag from outbox where outcome = 'delivered' and drain_key = any ($1) order by 1`,
        [some.map(({ key }) => key)],
      );
      return rows[Math.floor(rows.length * 0.99)]?.lag ?? 0;
    };
    const [lag, lagAlone] = [await lagOf(healthy), await lagOf(alone)];
    t.comment(`p99 of the healthy ones' lag: ${lag} ms, alone ${lagAlone} ms`);
    // Behind those that hang it would be minutes.
    t.ok(lag < Math.max(15_000, 10 * lagAlone), `${lag} ms`);

    // It counts as dead by now: a probe at a time, and none of the runs.
    await until(() =>
      relay.callbacks.circuits().some(({ url, state }) => url === backends[2]?.url && state !== 'closed'),
    );
    await until(() => (backends[2]?.now.get('hanging') ?? 9) <= 1, 15_000);
    inFlight.splice(0);
    const more = setInterval(() => inFlight.push(backends[2]?.now.get('hanging') ?? 9), 10);
    const others = healthyOf(conversationsOf(true)).slice(0, 200);
    await measure([...others, ...hanging], others);
    clearInterval(more);
    t.ok(Math.max(...inFlight) <= 1);
    checkInOrder(t, backends, others, each);
  },
);

t.test('[K7] an endpoint that is dead costs nothing but probes; back again, it has all that waited', async (t) => {
  let isDead = true;
  const backend = await openCounting(t, () => (isDead ? 503 : 200));
  const good = await openCounting(t, () => 200);
  const apps = [callbackApp(nextApp++, { url: backend.url }), callbackApp(nextApp++, { url: good.url })];
  const gate = { probeMs: 100, maxProbeMs: 400 };
  const relay = await openCallbacks(t, database, apps, { concurrency, tuning: { gate: { concurrency, ...gate } } });
  const conversations = (index: number): Conversation[] =>
    range(300).map(() => ({ app: apps[index]?.sdkAppId ?? 0, key: String(nextKey++), kind: 'healthy' }));
  const [dead, live] = [conversations(0), conversations(1)];
  await tellAll(relay, [...dead, ...live], 2);
  await until(() => good.received.length === 600, 30_000);
  checkInOrder(t, [good], live, 2);
  await until(() => relay.callbacks.circuits().some(({ url, state }) => url === backend.url && state !== 'closed'));
  const atMs = performance.now();
  const had = backend.received.length;
  t.ok(had < 60, `${had} POSTs to the dead one, of 600`);
  await until(() => performance.now() - atMs > 1_000 && backend.received.length > had);
  const probes = backend.received.length - had;
  t.ok(probes <= 12, `${probes} probes in a second`);
  t.ok(
    backend.received
      .slice(had)
      .every(({ atMs: at }, index, all) => index === 0 || at - (all[index - 1]?.atMs ?? 0) >= 85),
  );
  isDead = false;
  await until(() => new Set(backend.received.map(({ id }) => id)).size === 600, 30_000);
  const done = async (app: SdkAppId) =>
    (await entriesOf(database, app)).every(({ outcome }) => outcome === 'delivered');
  await until(async () => (await done(apps[0]?.sdkAppId ?? 0)) && (await done(apps[1]?.sdkAppId ?? 0)), 30_000);
  for (const some of Map.groupBy(backend.received, ({ body }) => String(body.key)).values()) {
    t.strictSame([...new Set(numbersOf(some))], [0, 1]);
  }
});

t.test(
  '[K7] an endpoint that is not quick has its places and a few that wait, and leaves the other runs alone',
  async (t) => {
    const slow = await openCounting(t, async () => {
      await delay(300);
      return 200;
    });
    const good = await openCounting(t, () => 200);
    const apps = [callbackApp(nextApp++, { url: slow.url }), callbackApp(nextApp++, { url: good.url })];
    const relay = await openCallbacks(t, database, apps, { concurrency });
    const conversations = (index: number, count: number): Conversation[] =>
      range(count).map(() => ({ app: apps[index]?.sdkAppId ?? 0, key: String(nextKey++), kind: 'healthy' }));
    await tellAll(relay, conversations(0, 300), 1);
    await until(() => slow.received.length >= 8);
    const live = conversations(1, 300);
    await tellAll(relay, live, 2);
    await until(() => good.received.length === 600, 30_000);
    t.ok(slow.received.length < 300, `${slow.received.length} of the slow ones went meanwhile`);
    checkInOrder(t, [good], live, 2);
    t.equal(slow.most.get('healthy'), 8, 'all places of the slow one were taken');
    // Those that were sent away are called back one for another.
    const [startMs, had] = [performance.now(), slow.received.length];
    await until(() => slow.received.length >= had + 80 || slow.received.length === 300, 30_000);
    const perSec = ((slow.received.length - had) * 1_000) / (performance.now() - startMs);
    t.comment(`${perSec.toFixed(1)}/s of at most ${((8 * 1_000) / 300).toFixed(1)}/s`);
  },
);
