import t from 'tap';
import {
  type ExplainQuery,
  endpointsOf,
  type ListQuery,
  parseExplain,
  parseList,
  urlHash,
} from '../../src/callbacks/index.ts';
import type { Account } from '../../src/im/index.ts';
import type { AppSettings } from '../../src/store/index.ts';
import { type AccountId, type BeforeOutcome, messageKey } from '../../src/wire/index.ts';
import { appWithCallbacks, bury, openAdmin, stateBody, writeEvent } from '../support/callback-admin.ts';
import { openTestDatabase } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { asks, sendInput } from '../support/im-draft.ts';

const database = await openTestDatabase(t);
const { db } = database;
const app = appWithCallbacks(imAppId);
/** Who wants what, and what the backend says, of the message that is sent next. */
const port = { wantsBefore: true, consumers: 1, outcome: 'allowed' as BeforeOutcome };
const service = await openIm(t, {
  database,
  apps: [app],
  deps: {
    ports: {
      beforeSend: {
        wants: () => port.wantsBefore,
        ask: asks(async () =>
          port.outcome === 'refused'
            ? { kind: 'refuse', code: 120_001, reason: 'no' }
            : { kind: 'allow', outcome: port.outcome },
        ).ask,
      },
      consumers: () => port.consumers,
    },
  },
});
const { admin, pauses, circuits } = await openAdmin(t, db, service.clock);

/** A relay is there, unless a test says otherwise. */
const relayLease = (until: string) =>
  db.pool.query(
    `insert into task_lease (task, holder, lease_until) values ('callbacks-replays', 'test', ${until})
     on conflict (task) do update set lease_until = excluded.lease_until`,
  );
t.beforeEach(async () => {
  Object.assign(port, { wantsBefore: true, consumers: 1, outcome: 'allowed' });
  circuits.open.clear();
  await relayLease(`now() + interval '1 hour'`);
});

let names = 0;
async function pair(): Promise<[Account, Account]> {
  names += 1;
  const make = (name: string) => service.im.accounts.ensure(imAppId, `${name}${names}` as AccountId);
  return [await make('alice'), await make('bob')];
}

async function send(from: Account, to: Account, draft = {}, more = {}) {
  const sent = await service.im.messages.send(sendInput(from, to, draft, more));
  if (!sent.ok) throw new Error(sent.error);
  return { ...sent.value, key: messageKey(sent.value) };
}

function parsed(query: object): ExplainQuery {
  const read = parseExplain(query, service.clock());
  if (!read.ok) throw new Error(JSON.stringify(read));
  return read.value;
}
function listed(query: object): ListQuery {
  const read = parseList(query, service.clock());
  if (!read.ok) throw new Error(JSON.stringify(read));
  return read.value;
}
const ask = (query: object, settings: AppSettings = app) => admin.explain(settings, parsed(query));
async function one(query: object, settings: AppSettings = app) {
  const { explanations } = await ask(query, settings);
  if (explanations.length !== 1) throw new Error(`${explanations.length} explanations`);
  return explanations[0] as (typeof explanations)[number];
}
async function entryOf(from: Account, to: Account, seq: number) {
  const { rows } = await db.pool.query<{ id: number; drain_key: string }>(
    `select o.id, o.drain_key from outbox o join conversation c on c.id = o.conversation_id
     where account_a = $1 and account_b = $2 and seq = $3 order by o.id desc limit 1`,
    [Math.min(from.no, to.no), Math.max(from.no, to.no), seq],
  );
  return rows[0] ?? { id: 0, drain_key: '' };
}
async function trace(fields: Record<string, unknown>) {
  const all = { sdk_app_id: imAppId, at_ms: service.clock(), command: 'C2C.CallbackBeforeSendMsg', ...fields };
  const columns = Object.keys(all);
  await db.pool.query(
    `insert into callback_trace (${columns.join(', ')}) values (${columns.map((_, i) => `$${i + 1}`).join(', ')})`,
    Object.values(all),
  );
}

t.test('[O3] a message by its key: accepted, asked, told', async (t) => {
  const [alice, bob] = await pair();
  const { key, seq } = await send(alice, bob);
  const query = { from: alice.identifier, to: bob.identifier, key };
  const waiting = await one(query);
  t.match(waiting, {
    subject: `${alice.identifier}'s message ${key} to ${bob.identifier}`,
    key,
    seq,
    happened: { code: 'stored', text: /accepted and stored/ },
    asked: [{ code: 'allowed', text: /allowed it/ }],
    told: [{ code: 'waiting', attempts: 0, waits: [{ code: 'due' }] }],
  });
  const { id } = await entryOf(alice, bob, seq);
  t.match(waiting.told[0], { eventId: id, webhookId: new RegExp(`^cb_[0-9a-f]{8}_${id}$`) });
  await db.pool.query(
    `update outbox set done_ms = $2, outcome = 'delivered', status = 204, took_ms = 31, attempts = 2 where id = $1`,
    [id, service.clock()],
  );
  t.match(await one(query), {
    told: [{ code: 'delivered', status: 204, tookMs: 31, text: /HTTP 204 after 31 ms, at attempt 2/ }],
  });
  t.strictSame(await one({ from: bob.identifier, to: alice.identifier, seq }), await one(query), 'or by its number');
  t.strictSame(await one({ id }), await one(query), 'or by its entry');
  t.strictSame(await one({ id: waiting.told[0]?.webhookId }), await one(query), 'or by its webhook-id');
  t.strictSame(
    (await ask({ ...query, from: bob.identifier, to: alice.identifier })).explanations,
    [],
    'bob sent none of it',
  );
});

t.test('[O3] why there was none: off, forbidden, never of that kind; and what the question came to', async (t) => {
  const [alice, bob] = await pair();
  const explained = async (draft = {}, more = {}) => {
    const { seq } = await send(alice, bob, draft, more);
    const { asked, told } = await one({ from: alice.identifier, to: bob.identifier, seq });
    return [asked.at(-1)?.code, told.at(-1)?.code];
  };
  Object.assign(port, { wantsBefore: false, consumers: 0 });
  t.strictSame(await explained(), ['unasked-off', 'off']);
  Object.assign(port, { wantsBefore: true, consumers: 1 });
  t.strictSame(await explained({}, { withoutBefore: 'forbidden', withoutAfter: 'forbidden' }), [
    'unasked-forbidden',
    'forbidden',
  ]);
  t.strictSame(await explained({}, { withoutBefore: 'kind', withoutAfter: 'kind' }), ['unasked-kind', 'kind']);
  t.strictSame(await explained({ importedTime: Math.floor(Date.now() / 1_000) - 100 }), ['unasked-kind', 'kind']);
  for (const outcome of ['timeout', 'error', 'circuit-open', 'rewritten', 'unasked-paused'] as const) {
    port.outcome = outcome;
    t.strictSame(await explained(), [outcome, 'waiting']);
  }
  port.outcome = 'timeout';
  const { key } = await send(alice, bob);
  const [from, to] = [alice.identifier, bob.identifier];
  const about = { from_account: from, to_account: to, message_key: key };
  await trace({ ...about, outcome: 'timeout', detail: 'connecting took too long', took_ms: 2_001, webhook_id: 'cb_x' });
  t.match((await one({ from, to, key })).asked, [
    {
      code: 'timeout',
      text: /no answer in time after 2001 ms: connecting took too long/,
      webhookId: 'cb_x',
      tookMs: 2_001,
    },
  ]);
});

t.test('[O3] what is stored nowhere: refused, for those online alone, unknown', async (t) => {
  const [alice, bob] = await pair();
  const [from, to] = [alice.identifier, bob.identifier];
  const time = Math.floor(service.clock() / 1_000);
  await trace({
    from_account: from,
    to_account: to,
    message_key: `7_8_${time}`,
    outcome: 'refused',
    detail: 'code 120001',
  });
  t.match(await one({ from, to, key: `7_8_${time}` }), {
    happened: { code: 'refused' },
    asked: [{ code: 'refused', text: /refused it: code 120001/ }],
    told: [{ code: 'refused', text: /is not told, because it has refused/ }],
  });

  const sent = await send(alice, bob, { lifetimeSec: 0, msgSeq: 3, random: 4 });
  t.match(await one({ from, to, key: sent.key }), {
    happened: { code: 'online-only' },
    asked: [{ code: 'allowed' }],
    told: [{ code: 'waiting' }],
  });

  t.match(await ask({ from, to, key: '1_2_1700000000' }), { explanations: [], notes: [/is known/] });
  t.match(await ask({ from, to: 'nobody', key: '1_2_1700000000' }), {
    explanations: [],
    notes: [/no account nobody/, String],
  });
  const unwanted = await ask({ from, to, key: '1_2_1700000000' }, appWithCallbacks(imAppId, { events: [] }));
  t.match(unwanted.notes, [
    /is known/,
    /does not want C2C.CallbackBefore.*not among/,
    /does not want C2C.CallbackAfter/,
  ]);
  t.match(await ask({ from, to, seq: 99 }), { explanations: [], notes: [/no message 99/] });
  t.match(await ask({ id: 999_999 }), { explanations: [], notes: [/no event 999999/] });
});

t.test(
  '[O3] by what a backend has: the key of a question, the webhook-id of one, names of another database',
  async (t) => {
    const [alice, bob] = await pair();
    const [from, to] = [alice.identifier, bob.identifier];
    port.outcome = 'error';
    const sent = await send(alice, bob, { msgSeq: 5, random: 6 });
    // Another message was stored while the backend was asked about it: it has a later time than in the question.
    const asked = `5_6_${sent.time - 2}`;
    const webhookId = `cb_5b0c0000-0000-4000-8000-00000000${String(names).padStart(4, '0')}`;
    const about = { from_account: from, to_account: to, message_key: asked, webhook_id: webhookId };
    await trace({ ...about, outcome: 'error', detail: 'not asked: 9 questions are under way' });
    const found = await ask({ from, to, key: asked });
    t.match(found, {
      explanations: [{ key: sent.key, asked: [{ text: /^The backend was not asked: 9 questions/ }] }],
      notes: [/later MsgTime/],
    });
    t.equal(found.explanations.length, 1);
    t.match(await ask({ from, to, key: `0005_6_${sent.time}` }), { explanations: [{ key: sent.key }], notes: [] });
    t.match(await ask({ from, to, key: `5_6_${sent.time - 601}` }), { explanations: [], notes: [/is known/] });
    t.match(await ask({ from: to, to: from, key: sent.key }), {
      explanations: [],
      notes: [new RegExp(`^${from} has sent such a message to ${to}`)],
    });
    t.match(await ask({ id: webhookId }), { explanations: [{ key: sent.key }] }, 'by the webhook-id of the question');
    t.match(await ask({ id: webhookId.replace('5b0c', '0000') }), { explanations: [], notes: [/Nothing is noted/] });
    t.match(await ask({ id: webhookId }, appWithCallbacks(imAppId + 9)), {
      explanations: [],
      notes: [/Nothing is noted/],
    });

    const { id } = await entryOf(alice, bob, sent.seq);
    t.match(await ask({ id: `cb_00000000_${id}` }), {
      explanations: [],
      notes: [/no event of this database: .* begin with cb_[0-9a-f]{8}_\./],
    });
    const silent = appWithCallbacks(imAppId, { events: [] });
    t.match(await ask({ account: from }, silent), {
      notes: ['The app wants no callbacks now: it has none switched on, or no URL.'],
    });
  },
);

t.test('[O3] of accounts that were deleted: what they sent and got is found all the same', async (t) => {
  const [alice, bob] = await pair();
  const [from, to] = [alice.identifier, bob.identifier];
  const first = await send(alice, bob, { msgSeq: 1, random: 1 });
  port.outcome = 'timeout';
  const second = await send(alice, bob, { msgSeq: 2, random: 2 });
  await trace({ from_account: from, to_account: to, message_key: second.key, outcome: 'timeout' });
  await service.im.accounts.delete(imAppId, [to]);
  const gone = new RegExp(`^The account ${to} was deleted at 20`);
  t.match(await ask({ from, to, key: first.key }), {
    explanations: [{ key: first.key, told: [{ code: 'waiting' }] }],
    notes: [gone],
  });
  t.match(await ask({ from, to, seq: first.seq }), { explanations: [{ key: first.key }], notes: [gone] });
  for (const query of [{ account: to }, { account: from }, { from, to }]) {
    const { explanations } = await ask(query);
    t.match(explanations, [{ happened: { code: 'stored' }, asked: [{ code: 'timeout' }] }, { key: first.key }]);
    t.equal(explanations.length, 2, 'the question is told with its message');
  }
  t.match(await admin.list(app, listed({ account: to })), { events: [{ seq: second.seq }, { seq: first.seq }] });

  const again = await service.im.accounts.ensure(imAppId, to);
  await send(alice, again, { msgSeq: 3, random: 3 });
  const { explanations, notes } = await ask({ account: to });
  t.equal(explanations.length, 3);
  t.match(notes, [/was deleted at .*another has its name now/]);
  t.match(await ask({ from, to, key: first.key }), { explanations: [{ key: first.key }] });
});

t.test('[O3] a page of messages that were stored at once, out of the order of their times: each once', async (t) => {
  const [alice, bob] = await pair();
  for (let i = 0; i < 9; i++) await send(alice, bob);
  await db.pool.query(
    `update message x set stored_ms = $3 + ((x.seq * 5) % 9) from conversation c
     where c.id = x.conversation_id and c.account_a = $1 and c.account_b = $2`,
    [Math.min(alice.no, bob.no), Math.max(alice.no, bob.no), service.clock() - 1_000],
  );
  const seqs: (number | undefined)[] = [];
  let after: string | undefined;
  do {
    const page = await ask({ account: bob.identifier, limit: 2, ...(after === undefined ? {} : { after }) });
    seqs.push(...page.explanations.map(({ seq }) => seq));
    after = page.next;
  } while (after !== undefined);
  t.equal(seqs.length, 9);
  t.equal(new Set(seqs).size, 9);
});

t.test('[O3] what waits says why: all reasons that hold, what decides first', async (t) => {
  const [alice, bob] = await pair();
  const url = app.callbacks.url ?? '';
  const first = await send(alice, bob);
  const second = await send(alice, bob);
  const head = await entryOf(alice, bob, first.seq);
  const waits = async (seq: number, settings = app) => {
    const { told } = await one({ from: alice.identifier, to: bob.identifier, seq }, settings);
    return told[0]?.waits ?? [];
  };
  t.match(await waits(second.seq), [{ code: 'behind', text: new RegExp(`behind event ${head.id}.*1 event is ahead`) }]);

  const dueMs = service.clock() + 60_000;
  await db.pool.query('update outbox set attempts = 3, next_attempt_ms = $2, attempt_log = $3 where id = $1', [
    head.id,
    dueMs,
    JSON.stringify([{ atMs: dueMs - 70_000, tookMs: 5, status: 503 }]),
  ]);
  t.match(await waits(first.seq), [{ code: 'retry', text: /HTTP 503/ }]);
  t.match(await waits(second.seq), [
    {
      code: 'behind-failing',
      text: new RegExp(`${head.id}.*3 attempts failed.*HTTP 503.*${new Date(dueMs).toISOString()}`),
    },
  ]);

  circuits.open.add([...endpointsOf(app).keys()][0] ?? '');
  await relayLease(`now() - interval '1 minute'`);
  await pauses.pause({ sdkAppId: imAppId, urlHash: urlHash(url), reason: 'gone', actor: 'backend' });
  t.strictSame(
    (await waits(first.seq)).map(({ code }) => code),
    ['paused', 'no-relay', 'circuit-open', 'retry'],
  );
  t.match((await waits(first.seq))[0], {
    text: /all callbacks to URL [0-9a-f]{8} have been paused since .*, by the backend, which answered 410/,
  });
  await pauses.resume(imAppId);
  await pauses.pause({ sdkAppId: imAppId, reason: 'operator', actor: 'oncall' });
  t.match((await waits(first.seq))[0], { text: /all callbacks of the app have been paused since .*, by oncall/ });
  await pauses.resume(imAppId);

  t.match(await waits(first.seq, appWithCallbacks(imAppId, { events: ['State.StateChange'] })), [{ code: 'off' }]);
  const another = appWithCallbacks(imAppId, {
    commands: [{ command: 'State.StateChange', url: 'https://states.example.com/' }],
  });
  circuits.open.clear();
  await relayLease(`now() + interval '1 hour'`);
  await writeEvent(db, imAppId, { key: head.drain_key, attempts: 1, nextAttemptMs: dueMs });
  const third = await send(alice, bob);
  await db.pool.query(
    'update outbox set done_ms = 1, outcome = $2 where drain_key = $1 and conversation_id is not null and seq < $3',
    [head.drain_key, 'delivered', third.seq],
  );
  t.match(await waits(third.seq, another), [{ code: 'due' }], 'another endpoint has an order of its own');
  t.match(await waits(third.seq), [{ code: 'behind-failing' }]);
});

t.test('[K6] given up, sent again, dropped, superseded', async (t) => {
  const [alice, bob] = await pair();
  const { seq, key } = await send(alice, bob);
  const query = { from: alice.identifier, to: bob.identifier, key };
  const { id, drain_key } = await entryOf(alice, bob, seq);
  await bury(db, imAppId, id, { reason: 'too-old' });
  const dead = await one(query);
  t.match(dead.told, [
    {
      code: 'dead',
      text: /waited for longer.*\(last: HTTP 500 at .*\); dead letter \d+ can be sent again/,
      url: 'https://backend.example.com/cb',
    },
  ]);
  await db.pool.query('delete from dead_letter where outbox_id = $1', [id]);
  await writeEvent(db, imAppId, {
    key: drain_key,
    command: 'C2C.CallbackAfterSendMsg',
    body: { raw: '{"CallbackCommand":"C2C.CallbackAfterSendMsg"}' },
    originId: id,
    state: 'delivered',
    status: 200,
    attempts: 1,
  });
  const again = await one(query);
  t.match(again.told, [
    { code: 'dead', text: /has been removed or sent again/ },
    { code: 'delivered', text: /^Sent again: The backend was told/ },
  ]);
  t.equal(again.told[0]?.webhookId, again.told[1]?.webhookId, 'the receiver sees the same event');
  t.equal((await one({ id: again.told[1]?.eventId })).told.length, 2, 'found by the second entry, too');

  const account = { key: `a${alice.no}`, body: stateBody(alice.identifier) };
  await writeEvent(db, imAppId, { ...account, state: 'superseded' });
  await writeEvent(db, imAppId, { ...account, state: 'dropped', log: [{ atMs: 1, tookMs: 0, by: 'oncall' }] });
  const { explanations } = await ask({ account: alice.identifier, command: 'State.StateChange' });
  t.match(explanations, [
    {
      subject: `State.StateChange of ${alice.identifier} (Android offline timeout)`,
      told: [{ text: /dropped at .* by oncall/ }],
    },
    { told: [{ code: 'superseded', text: /same terminal/ }] },
  ]);
});

t.test(
  '[O3] by account, conversation, command and time: page by page, each once, with those of whom nobody was told',
  async (t) => {
    const [alice, bob] = await pair();
    const [from, to] = [alice.identifier, bob.identifier];
    const keys: string[] = [];
    for (let i = 0; i < 6; i++) {
      port.consumers = i % 2;
      keys.push((await send(alice, bob)).key);
    }
    for (let i = 0; i < 5; i++)
      await writeEvent(db, imAppId, { key: `a${alice.no}`, body: stateBody(from), state: 'delivered', status: 200 });
    const time = Math.floor(service.clock() / 1_000);
    for (let i = 0; i < 3; i++)
      await trace({ from_account: from, to_account: to, message_key: `${i}_9_${time}`, outcome: 'refused' });
    // The question before a message that is stored is told with it.
    await trace({ from_account: from, to_account: to, message_key: keys[3], outcome: 'timeout' });

    const all = await ask({ account: from });
    t.equal(all.explanations.length, 14);
    t.equal(all.next, undefined);
    t.strictSame(
      all.explanations.filter(({ seq }) => seq !== undefined).map(({ key, told }) => [key, told[0]?.code]),
      keys.toReversed().map((key, index) => [key, index % 2 === 0 ? 'waiting' : 'off']),
    );
    t.match(all.explanations.find(({ key }) => key === keys[3])?.asked, [{ code: 'timeout' }, { code: 'allowed' }]);

    const paged: string[] = [];
    let after: string | undefined;
    do {
      const page = await ask({ account: from, limit: 3, ...(after === undefined ? {} : { after }) });
      t.ok(page.explanations.length <= 3);
      paged.push(...page.explanations.map((explanation) => JSON.stringify(explanation)));
      after = page.next;
    } while (after !== undefined);
    t.strictSame(new Set(paged), new Set(all.explanations.map((explanation) => JSON.stringify(explanation))));
    t.equal(paged.length, 14);

    t.equal((await ask({ from, to })).explanations.length, 9, 'a conversation: messages and refused ones');
    t.equal((await ask({ account: to, command: 'State.StateChange' })).explanations.length, 0);
    t.equal((await ask({ account: from, command: 'State.StateChange' })).explanations.length, 5);
    t.equal((await ask({ account: from, command: 'C2C.CallbackBeforeSendMsg' })).explanations.length, 9);
    const app2 = appWithCallbacks(imAppId, { events: [] });
    t.match(await ask({ account: from, command: 'State.StateChange' }, app2), {
      notes: [/not among `callbacks.events`/],
    });
    t.match(await ask({ group: '@TGS#1' }), { explanations: [], notes: [/no group @TGS#1/] });
    t.match(await ask({ account: from, until: new Date(service.clock() - 3_600_000).toISOString() }), {
      explanations: [],
    });
  },
);

t.test('a whole app by time: entries and questions, old ones too, however they lie', async (t) => {
  const other = appWithCallbacks(imAppId + 1);
  const nowMs = service.clock();
  const ages = [0, 1, 59_000, 61_000, 300_000, 3_600_000, 7_200_000, 80_000_000];
  for (const age of ages) {
    for (let i = 0; i < 3; i++)
      await writeEvent(db, other.sdkAppId, { key: 'a1', atMs: nowMs - age, state: 'delivered', status: 200 });
  }
  await writeEvent(db, other.sdkAppId, { key: 'a1', atMs: nowMs - 90_000_000, state: 'delivered', status: 200 });
  const found: number[] = [];
  let after: string | undefined;
  do {
    const page = await ask({ limit: 5, ...(after === undefined ? {} : { after }) }, other);
    found.push(...page.explanations.flatMap(({ told }) => told[0]?.eventId ?? 0));
    after = page.next;
  } while (after !== undefined);
  t.equal(found.length, 24);
  t.strictSame(found, [...new Set(found)], 'each once');
  t.equal((await ask({ since: '3d' }, other)).explanations.length, 25);
  t.equal((await ask({ since: '2m', until: '1m' }, other)).explanations.length, 3);
});

t.test('bad questions say which field, why, and what would be right', async (t) => {
  const cases: [query: unknown, field: string | undefined, reason: RegExp][] = [
    [[], undefined, /no object/],
    [{ acount: 'x' }, 'acount', /not a known field/],
    [{ from: 'a' }, 'to', /missing/],
    [{ from: 'a', to: 'b', key: '1_2' }, 'key', /form/],
    [{ from: 'a', to: 'b', key: '1_2_4294967296' }, 'key', /too large/],
    [{ key: '1_2_3' }, 'from', /missing/],
    [{ from: 'a', to: 'b', key: '1_2_3', seq: 4 }, 'seq', /beside key/],
    [{ from: 'a', to: 'b', key: '1_2_3', since: '2h' }, 'since', /beside key/],
    [{ from: 'a', to: 'b', seq: 0 }, 'seq', /bounds/],
    [{ id: 5, account: 'a' }, 'account', /beside id/],
    [{ id: 'cb_1' }, 'id', /no number of an event/],
    [{ id: 'cb_test_5b0c0000-0000-4000-8000-000000000000' }, 'id', /is of a test/],
    [{ id: [5, 6] }, 'id', /more than once/],
    [{ id: { valueOf: 5 } }, 'id', /no number of an event/],
    [{ account: 'a'.repeat(33) }, 'account', /32 bytes/],
    [{ account: 'a', from: 'a', to: 'b' }, 'account', /beside/],
    [{ command: 'C2C.CallbackAfterSendMs' }, 'command', /no callback/],
    [{ since: 'yesterday' }, 'since', /no time/],
    [{ since: '2026-11-26T10:00:00' }, 'since', /no time/],
    [{ since: '2026-13-26' }, 'since', /no time/],
    [{ since: '2026-02-30' }, 'since', /no time/],
    [{ since: '2026-11-31T10:00:00Z' }, 'since', /no time/],
    [{ until: '2025-02-29T00:00:00+08:00' }, 'until', /no time/],
    [{ since: '2026-11-26T10:00:00+25:00' }, 'since', /no time/],
    [{ since: '1h', until: '2h' }, 'since', /after until/],
    [{ since: '32d' }, 'since', /too long/],
    [{ limit: 0 }, 'limit', /bounds/],
    [{ limit: '1001' }, 'limit', /bounds/],
    [{ limit: ['1', '2'] }, 'limit', /more than once/],
    [{ after: 'x' }, 'after', /form/],
    [{ after: '1.2.3.4.5' }, 'after', /cursor/],
  ];
  for (const [query, field, reason] of cases) {
    const read = parseExplain(query, Date.now());
    t.match(read, { ok: false, code: 'INVALID_FIELD', reason, allowed: String }, JSON.stringify(query));
    t.equal(read.ok ? '' : read.field, field, JSON.stringify(query));
  }
});
