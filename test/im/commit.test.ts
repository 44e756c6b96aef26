import t from 'tap';
import { type CommitInput, commitStatement } from '../../src/im/messages/commit-statement.ts';
import { openTestDatabase } from '../support/database.ts';

const { db } = await openTestDatabase(t);
const never = new AbortController().signal;

interface World {
  conversations: number[];
  accounts: number[];
}

/** Who sends in which conversation of a world. */
const sendersOf = [
  [0, 1],
  [0, 2],
  [1, 1],
  [0, 1, 2],
  [0, 1, 2],
];
/** Of these on they are groups. */
const firstGroup = 3;

/**
 * Three one-to-one conversations, one of them of an account with itself, and two groups, as often as they are asked for. Of the groups one
 * account is a member, one has left and come back, one has left.
 */
async function makeWorld(): Promise<World> {
  const { rows: made } = await db.pool.query<{ id: number }>(
    `insert into account (sdk_app_id, identifier, created_ms)
     select 1, gen_random_uuid()::text, 0 from generate_series(1, 3) returning id`,
  );
  const accounts = made.map(({ id }) => id).sort((a, b) => a - b);
  const [a = 0, b = 0, c = 0] = accounts;
  const conversations: number[] = [];
  for (const [one, two] of [
    [a, b],
    [a, c],
    [b, b],
  ]) {
    const { rows } = await db.pool.query<{ id: number }>(
      'insert into conversation (sdk_app_id, kind, account_a, account_b) values (1, 1, $1, $2) returning id',
      [one, two],
    );
    const id = rows[0]?.id ?? 0;
    conversations.push(id);
    await db.pool.query(
      'insert into member (account_id, conversation_id) select distinct x, $3::bigint from unnest(array[$1, $2]::bigint[]) x',
      [one, two, id],
    );
  }
  for (let group = 0; group < 2; group++) {
    const { rows } = await db.pool.query<{ id: number }>(
      'insert into conversation (sdk_app_id, kind) values (1, 2) returning id',
    );
    const id = rows[0]?.id ?? 0;
    conversations.push(id);
    await db.pool.query(
      `insert into member (account_id, conversation_id, from_seq, to_seq, role, joined_sec, last_sent_sec)
       values ($2, $1, 1, null, 1, 0, 0), ($3, $1, 0, 0, 1, 0, 0), ($3, $1, 1, null, 1, 0, 0), ($4, $1, 0, 0, 1, 0, 0)`,
      [id, a, b, c],
    );
  }
  return { conversations, accounts };
}

/** Everything that the functions write, without the numbers that differ between worlds. */
async function contentsOf({ conversations, accounts }: World) {
  const read = async (text: string) => (await db.pool.query(text, [conversations])).rows;
  const numbers = new Map([...conversations.entries()].map(([index, id]) => [id, index]));
  const people = new Map([...accounts.entries()].map(([index, id]) => [id, index]));
  const plain = (rows: Record<string, unknown>[]): Record<string, unknown>[] =>
    rows.map(({ id: _, drain_key: __, conversation_id, sender_id, account_id, account_a, account_b, ...row }) => ({
      ...row,
      conversation: numbers.get((conversation_id ?? _) as number),
      people: [sender_id, account_id, account_a, account_b].map((no) => people.get(no as number)),
    }));
  return {
    conversations: plain(await read('select * from conversation where id = any ($1) order by id')),
    messages: plain(await read('select * from message where conversation_id = any ($1) order by conversation_id, seq')),
    members: plain(
      await read(
        'select * from member where conversation_id = any ($1) order by conversation_id, account_id, from_seq',
      ),
    ),
    days: plain(await read('select * from conversation_day where conversation_id = any ($1) order by 1, 2')),
    outbox: plain(
      await read('select * from outbox where conversation_id = any ($1) order by conversation_id, seq, consumer'),
    ),
  };
}

async function run(inputs: readonly CommitInput[], nowMs: number): Promise<Record<string, unknown>[]> {
  return (await db.pool.query(commitStatement(inputs, nowMs))).rows;
}

t.test('[M13][M15] a message alone and messages together are stored by the same rules', async (t) => {
  let state = 20_261_126;
  const below = (limit: number) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % limit;
  };
  const [alone, together] = [await makeWorld(), await makeWorld()];
  let nowMs = Date.UTC(2026, 10, 26, 23, 50);
  let statuses = '';
  for (let round = 0; round < 250; round++) {
    // Over midnight, and sometimes back.
    nowMs += below(20) === 0 ? -below(40_000) : below(60_000);
    const drafts = Array.from({ length: 1 + below(8) }, () => {
      const conversation = below(20) === 0 ? 9 : below(sendersOf.length);
      const sides = sendersOf[conversation] ?? [0, 1];
      return {
        conversation,
        sender: sides[below(sides.length)] ?? 0,
        authEpoch: below(25) === 0 ? 1 : 0,
        dedupKey: `r${below(200)}`,
        dedupWindowMs: below(2) === 0 ? 120_000 : 86_400_000,
        time: Math.floor(nowMs / 1_000) - (below(10) === 0 ? 500 : 0),
        msgSeq: below(1_000),
        random: below(1_000),
        visibility: (['both', 'both', 'sender', 'receiver'] as const)[below(4)] ?? 'both',
        counts: below(4) > 0,
        lifetimeSec: below(604_800),
        // Bits 0 and 1 are for the outbox, the rest is only kept.
        consumers: below(512),
        origin: below(2) === 0 ? `{"address":"${round}"}` : undefined,
        body: `["${round}"]`,
        push: below(3) === 0 ? '{}' : undefined,
        custom: below(3) === 0 ? 'c' : undefined,
        extra: below(3) === 0 ? '{}' : undefined,
        deadline: never,
      };
    });
    const inputsOf = ({ conversations, accounts }: World) =>
      drafts.map(({ conversation, sender, ...rest }) => ({
        ...rest,
        conversationId: (conversations[conversation] ?? 0) as CommitInput['conversationId'],
        sender: (accounts[sender] ?? 0) as CommitInput['sender'],
      }));
    const expected: Record<string, unknown>[] = [];
    for (const input of inputsOf(alone)) expected.push(...(await run([input], nowMs)));
    const inputs = inputsOf(together);
    // A batch of one goes the other way: here it has a companion without a conversation.
    const batch =
      inputs.length === 1 ? [...inputs, ...inputs.map((input) => ({ ...input, conversationId: 0 as never }))] : inputs;
    const got = (await run(batch, nowMs)).slice(0, inputs.length);
    for (const [index, row] of got.entries()) {
      statuses += row.status;
      // The same message twice in a batch is to be asked again: then it is the repeat that it is alone.
      const input = inputs[index];
      if (row.status === 4 && input !== undefined) [got[index] = {}] = await run([input], nowMs);
    }
    t.strictSame(got, expected, `round ${round}`);
  }
  const stored = await contentsOf(alone);
  t.strictSame(await contentsOf(together), stored);
  const told = stored.outbox.map(({ conversation, seq, consumer }) => `${conversation}/${seq}/${consumer}`);
  const expected = stored.messages.flatMap(({ conversation, seq, callbacks }) =>
    [1, 2].filter((bit) => (Number(callbacks) & bit) !== 0).map((bit) => `${conversation}/${seq}/${bit}`),
  );
  t.strictSame(told, expected, '[O3] the outbox has what the messages remember');
  t.ok(stored.messages.some(({ callbacks }) => Number(callbacks) > 255));
  const commandOf = ({ conversation }: Record<string, unknown>) =>
    Number(conversation) < firstGroup ? 'C2C.CallbackAfterSendMsg' : 'Group.CallbackAfterSendMsg';
  t.ok(stored.outbox.every((entry) => entry.event === commandOf(entry)));
  t.ok(stored.outbox.some(({ event }) => event === 'Group.CallbackAfterSendMsg'));
  t.ok(stored.messages.some(({ extra }) => extra === '{}') && stored.messages.some(({ extra }) => extra === null));
  for (const { conversation, people, to_seq: toSeq, last_sent_sec: lastSentSec } of stored.members) {
    const own = stored.messages.filter(
      (message) =>
        message.conversation === conversation && (message.people as unknown[])[0] === (people as unknown[])[1],
    );
    const isInGroup = Number(conversation) >= firstGroup && toSeq === null;
    const expected = isInGroup ? Math.max(0, ...own.map(({ msg_time: sec }) => Number(sec))) : toSeq;
    t.equal(lastSentSec, expected, '[G10] when a member of a group sent last');
  }
  t.ok(stored.outbox.some(({ body }) => body === null) && stored.outbox.some(({ body }) => body !== null));
  for (const status of '01234') t.ok(statuses.includes(status), `status ${status} was met`);
});
