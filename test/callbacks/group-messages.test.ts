import t from 'tap';
import { readDecision } from '../../src/callbacks/before/decision.ts';
import { readSent } from '../../src/callbacks/checks/sent-record.ts';
import { parseDrop, parseExplain, parseList, parseReplay, parseRetry } from '../../src/callbacks/index.ts';
import { bodyOf } from '../../src/callbacks/relay/bodies.ts';
import { createOutbox } from '../../src/callbacks/relay/outbox.ts';
import type { Group } from '../../src/im/groups/model.ts';
import type { Account } from '../../src/im/model.ts';
import type { GroupDecision } from '../../src/im/ports.ts';
import type { BeforeCommand, CallbackCommand } from '../../src/wire/index.ts';
import { appWithCallbacks, openAdmin } from '../support/callback-admin.ts';
import { openTestDatabase } from '../support/database.ts';
import { actorOf, groupSend, openGroups } from '../support/groups.ts';
import { imAppId } from '../support/im.ts';
import { textBody } from '../support/im-draft.ts';

const { db } = await openTestDatabase(t);
const app = appWithCallbacks(imAppId);
/** What the backend says of the next message, and what is noted of the question. */
let decision: GroupDecision = { kind: 'allow', outcome: 'allowed' };
let noted: string | undefined;
let serial = 0;
let questions = 0;

const service = await openGroups(
  t,
  { db },
  {
    ports: {
      consumers: () => 1,
      beforeGroup: {
        wants: () => true,
        async ask({ command, from, groupId, messageKey }) {
          if (noted !== undefined) {
            await db.pool.query(
              `insert into callback_trace (sdk_app_id, at_ms, command, outcome, from_account, group_id, message_key, webhook_id)
               values ($1, $2, $3, $4, $5, $6, $7, $8)`,
              [imAppId, service.clock(), command, noted, from, groupId, messageKey, webhookIdOf(serial)],
            );
          }
          return decision;
        },
      },
    },
  },
);
const { admin } = await openAdmin(t, db, service.clock);
t.beforeEach(() => {
  decision = { kind: 'allow', outcome: 'allowed' };
  noted = undefined;
});

const webhookIdOf = (no: number) => `cb_5b0c0000-0000-4000-8000-${String(no).padStart(12, '0')}`;

async function tea(): Promise<{ group: Group; alice: Account; bob: Account }> {
  serial++;
  const alice = await service.account(`alice${serial}`);
  const bob = await service.account(`bob${serial}`);
  return { group: await service.group('Public', [alice, bob], { groupId: `tea${serial}` }), alice, bob };
}

async function ask(query: object) {
  const read = parseExplain(query, service.clock());
  if (!read.ok) throw new Error(JSON.stringify(read));
  return admin.explain(app, read.value);
}

async function one(query: object) {
  const { explanations } = await ask(query);
  if (explanations.length !== 1) throw new Error(`${explanations.length} explanations`);
  return explanations[0] as (typeof explanations)[number];
}

const after: CallbackCommand = 'Group.CallbackAfterSendMsg';

t.test('[K3] the backend is told of a group message by the fields of the reference', async (t) => {
  const { group, bob } = await tea();
  const sent = await service.send(bob, group, { random: 5, custom: 'data' });
  const administrator = actorOf(await service.account('admin'), {
    authority: 'administrator',
    origin: { platform: 'RESTAPI', address: '10.0.0.1' },
  });
  await service.messages.send(groupSend(bob, group, { random: 6 }, { actor: administrator }));
  await service.send(bob, group, { random: 7, isOnlineOnly: true });
  const outbox = createOutbox({ pool: db.pool, oldestDay: () => 0, clock: service.clock });
  const drainKey = String(group.conversationId);
  const { entries } = await outbox.read({ sdkAppId: imAppId, drainKey, commands: [after] });
  const time = sent.ok ? sent.value.time : 0;
  const fields = {
    CallbackCommand: after,
    GroupId: group.groupId,
    Type: 'Public',
    From_Account: bob.identifier,
    MsgBody: textBody('hello'),
  };
  const told = entries.map((entry) => bodyOf(entry, app.callbacks));
  const bodies = told.map((one) => ({ ...(JSON.parse(one?.body ?? '{}') as Record<string, unknown>), MsgTime: time }));
  t.strictSame(bodies, [
    { ...fields, Operator_Account: bob.identifier, Random: 5, MsgSeq: 1, MsgTime: time },
    { ...fields, Operator_Account: 'admin', Random: 6, MsgSeq: 2, MsgTime: time },
    { ...fields, Operator_Account: bob.identifier, Random: 7, MsgSeq: 0, MsgTime: time },
  ]);
  t.strictSame(
    told.map((one) => one?.origin),
    [
      { platform: 'Android', address: '' },
      { platform: 'RESTAPI', address: '10.0.0.1' },
      { platform: 'Android', address: '' },
    ],
  );
  const { rows } = await db.pool.query<{ epoch: string }>(
    `select replace(store_epoch::text, '-', '') as epoch from meta`,
  );
  const id = `cb_${rows[0]?.epoch.slice(0, 8)}_${entries[1]?.id}`;
  t.equal((await readSent(db, app, id))?.body, told[1]?.body, 'what was sent is found by its id');
});

t.test('[O3] a group message by its number: accepted, asked, told', async (t) => {
  const { group, bob } = await tea();
  noted = 'timeout';
  decision = { kind: 'allow', outcome: 'timeout' };
  await service.send(bob, group, { random: 5 });
  const explained = await one({ group: group.groupId, seq: 1 });
  t.match(explained, {
    command: after,
    subject: `${bob.identifier}'s message to group ${group.groupId}`,
    from: bob.identifier,
    groupId: group.groupId,
    seq: 1,
    happened: { code: 'stored', text: /as number 1 of the group/ },
    asked: [{ code: 'timeout', webhookId: webhookIdOf(serial) }],
    told: [{ code: 'waiting' }],
  });
  t.strictSame(
    ['key', 'to'].filter((name) => name in explained),
    [],
  );
  t.strictSame(await one({ id: explained.told[0]?.eventId }), explained, 'or by its entry');
  t.strictSame(await one({ id: webhookIdOf(serial) }), explained, 'or by the question');
  t.strictSame(await one({ group: group.groupId }), explained, 'or among all of the group');
  t.strictSame(await one({ group: group.groupId, command: 'Group.CallbackBeforeSendMsg' }), explained);
  t.strictSame((await ask({ account: bob.identifier, command: after })).explanations, [], 'it is the group’s');
  t.match(await ask({ group: group.groupId, seq: 9 }), { explanations: [], notes: [/has no message 9/] });
  t.match(await ask({ group: 'nowhere', seq: 9 }), { explanations: [], notes: [/There is no group nowhere/] });

  await service.messages.send(groupSend(bob, group, {}, { withoutBefore: 'forbidden', withoutAfter: 'forbidden' }));
  t.match(await one({ group: group.groupId, seq: 2 }), {
    asked: [{ code: 'unasked-forbidden' }],
    told: [{ code: 'forbidden', text: /ForbidCallbackControl/ }],
  });
  t.equal((await ask({ group: group.groupId })).explanations.length, 2);
});

t.test('[O3][G31] what is stored nowhere: refused, dropped, for those online alone', async (t) => {
  const { group, bob } = await tea();
  noted = 'refused';
  decision = { kind: 'refuse', code: 10_100, reason: 'no' };
  await service.send(bob, group, { random: 1 });
  const nobody = { from: bob.identifier, groupId: group.groupId, key: undefined };
  t.match(await one({ id: webhookIdOf(serial) }), {
    ...nobody,
    happened: { code: 'refused' },
    told: [{ code: 'refused' }],
  });
  await db.pool.query('delete from callback_trace');
  noted = 'dropped';
  decision = { kind: 'drop' };
  await service.send(bob, group, { random: 2 });
  t.match(await one({ id: webhookIdOf(serial) }), {
    ...nobody,
    subject: `${bob.identifier}'s message to group ${group.groupId}`,
    happened: { code: 'dropped', text: /its sender has success/ },
    asked: [{ code: 'dropped' }],
    told: [{ code: 'dropped', text: /not told/ }],
  });
  await db.pool.query('delete from callback_trace');
  noted = 'error';
  decision = { kind: 'allow', outcome: 'error' };
  await service.send(bob, group, { random: 3, isOnlineOnly: true });
  t.match(await one({ group: group.groupId }), {
    ...nobody,
    command: after,
    happened: { code: 'online-only' },
    asked: [{ code: 'error', text: /no usable answer/ }],
    told: [{ code: 'waiting' }],
  });
  const listed = parseList({ group: group.groupId }, service.clock());
  if (!listed.ok) throw new Error(listed.reason);
  const { events } = await admin.list(app, listed.value);
  t.strictSame(
    events.map(({ about }) => about),
    [{ from: bob.identifier, groupId: group.groupId, before: 'error' }],
  );
});

t.test('groups that are gone are found by their id; a group is asked for alone', async (t) => {
  const { group, alice, bob } = await tea();
  await service.send(bob, group);
  await service.change(group, (change) => change.dismiss());
  t.match(await ask({ group: group.groupId }), { explanations: [{ seq: 1 }], notes: [/was dismissed at 20/] });
  const again = await service.group('Public', [alice], { groupId: group.groupId });
  await service.send(alice, again);
  const { explanations, notes } = await ask({ group: group.groupId });
  t.equal(explanations.length, 2);
  t.match(notes, [/another has its id now/]);
  for (const beside of [{ account: 'a' }, { from: 'a', to: 'b' }]) {
    const refusal = parseExplain({ group: group.groupId, ...beside }, service.clock());
    t.match(refusal, { ok: false, field: 'group', reason: /^stands beside/, allowed: 'one of both' });
  }
  t.match(parseExplain({ group: 'g', key: '1_2_3' }, 0), { ok: false });
  t.match(parseExplain({ group: 'g', seq: 0 }, 0), { ok: false, field: 'seq' });
});

t.test('[O2] what waits and what was given up is tried, sent again and dropped group by group', async (t) => {
  const must = <T>(read: { ok: true; value: T } | { ok: false; reason: string }): T => {
    if (read.ok) return read.value;
    throw new Error(read.reason);
  };
  const now = service.clock();
  const one = await tea();
  const other = await tea();
  for (const { group, bob } of [one, one, other]) await service.send(bob, group);
  const { groupId, conversationId } = one.group;
  const states = async () => {
    const { rows } = await db.pool.query<{ state: string }>(
      `select coalesce(outcome, case when next_attempt_ms > 0 then 'later' else 'due' end) as state from outbox
       where drain_key = any ($1) and event = $2 order by id`,
      [[conversationId, other.group.conversationId].map(String), after],
    );
    return rows.map(({ state }) => state);
  };
  await db.pool.query('update outbox set next_attempt_ms = $1', [now + 60_000]);
  t.match(await admin.retry(app, must(parseRetry({ group: groupId }, now))), { retried: 2, isAll: true });
  t.strictSame(await states(), ['due', 'due', 'later']);
  t.match(await admin.retry(app, must(parseRetry({ group: 'nowhere' }, now))), { retried: 0, isAll: true });

  const drop = (order: object) => admin.drop(app, must(parseDrop(order, now)), 'oncall');
  t.match(await drop({ state: 'waiting', group: 'nowhere' }), { waiting: 0, dead: 0, isAll: true });
  t.match(await drop({ state: 'waiting', group: groupId, until: '1d' }), { waiting: 0 }, 'within a time');
  t.match(await drop({ state: 'waiting', group: groupId }), { waiting: 2, dead: 0, isAll: true });
  t.strictSame(await states(), ['dropped', 'dropped', 'later']);

  await db.pool.query(`update outbox set done_ms = $1, outcome = 'delivered' where event = $2`, [now, after]);
  const told = { source: 'outbox', since: '1h', group: groupId };
  t.match(await admin.replay(app, must(parseReplay({ ...told, preview: true }, now)), 'oncall'), {
    value: { total: 2 },
  });
  t.match(await admin.replay(app, must(parseReplay(told, now)), 'oncall'), {
    value: { total: 2, replays: [{ filter: { group: groupId } }] },
  });
  for (const parse of [parseReplay, parseDrop, parseRetry]) {
    const refused = parse({ group: groupId, account: 'a' }, now);
    t.match(refused, { ok: false, field: 'group', reason: 'stands beside account' });
    t.match(parse({ ids: [1], group: groupId }, now), { ok: false, field: 'group', reason: 'stands beside ids' });
    t.match(parse({ group: 'ü' }, now), { ok: false, field: 'group', reason: /form/, allowed: /printable ASCII/ });
    t.match(parse({}, now), { ok: false, field: 'all', allowed: /group/ });
  }
});

t.test('[O3] what is no message: tips, questions before actions, and what nobody wants to be told of', async (t) => {
  const { group, alice, bob } = await tea();
  await service.change(group, async (change) => {
    change.tip(alice, { kind: 'setAdmin', operator: alice.identifier, members: [bob.identifier] });
  });
  t.match(await one({ group: group.groupId }), {
    subject: `a tip in group ${group.groupId}, of what ${alice.identifier} did`,
    asked: [{ code: 'unasked-kind', text: /tips/ }],
    told: [{ code: 'kind', text: /tips/ }],
  });

  const question = async (command: BeforeCommand, outcome: string, detail: string | undefined) => {
    const id = webhookIdOf(1_000 + ++questions);
    await db.pool.query(
      `insert into callback_trace (sdk_app_id, at_ms, command, outcome, detail, from_account, group_id, webhook_id)
       values ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [imAppId, service.clock(), command, outcome, detail, alice.identifier, group.groupId, id],
    );
    return one({ id });
  };
  const [invite, apply] = ['Group.CallbackBeforeInviteJoinGroup', 'Group.CallbackBeforeApplyJoinGroup'] as const;
  const detailOf = (refused: readonly string[]) => {
    const asked = { command: invite, fields: { DestinationMembers: people }, messageBytes: 8_000 };
    const answer = JSON.stringify({ ErrorCode: 0, RefusedMembers_Account: refused });
    return readDecision(asked, { kind: 'answer', status: 200, body: answer, isEncoded: false, tookMs: 1 }).detail;
  };
  const people = ['a', 'b', 'c'].map((Member_Account) => ({ Member_Account }));
  const some = await question(invite, 'refused', detailOf(['b']));
  t.match(some, {
    subject: `${invite} of ${alice.identifier} to group ${group.groupId}`,
    groupId: group.groupId,
    happened: { code: 'partly-refused', text: /for those accounts alone/ },
    asked: [{ code: 'refused', text: 'The backend was asked, and refused 1 of 3 accounts.' }],
  });
  t.strictSame(some.told, [], 'what became of the others has entries of its own');
  t.match(await question(invite, 'refused', detailOf(['a', 'b', 'c'])), {
    happened: { code: 'refused' },
    asked: [{ text: /refused 3 of 3 accounts/ }],
    told: [{ code: 'refused', text: 'The backend is not told, because it has refused it itself.' }],
  });
  t.match(await question(apply, 'refused', 'ErrorCode 10150'), {
    subject: `${apply} of ${alice.identifier} to group ${group.groupId}`,
    happened: { code: 'refused' },
    asked: [{ text: /refused it: ErrorCode 10150/ }],
  });
  t.match(await question(apply, 'timeout', undefined), {
    happened: { code: 'not-stored', text: /the backend is told by itself/ },
    told: [],
  });

  t.strictSame((await ask({ group: group.groupId })).notes, []);
  const events = ['Group.CallbackBeforeSendMsg', 'Group.CallbackAfterCreateGroup'];
  const read = parseExplain({ group: group.groupId }, service.clock());
  if (!read.ok) throw new Error(read.reason);
  const { notes } = await admin.explain(appWithCallbacks(imAppId, { events }), read.value);
  t.match(
    notes,
    [/^The app does not want .*BeforeApplyJoinGroup.*AfterNewMemberJoin.* now/],
    'and so nothing is noted',
  );
  t.notMatch(notes, [/SendMsg|AfterCreateGroup/]);
});
