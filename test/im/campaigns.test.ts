import t, { type Test } from 'tap';
import type { Terms } from '../../src/im/audience/terms.ts';
import type { Account } from '../../src/im/index.ts';
import type { AccountId, ImResult } from '../../src/wire/index.ts';
import { packCallbackNotes } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm, type TestImOptions } from '../support/im.ts';
import { textBody } from '../support/im-draft.ts';

const database = await openTestDatabase(t);
const { db } = database;
const everybody: Terms = { and: [], or: [] };
let randoms = 0;

/** The service on the file's database, with so many accounts of this test alone, and campaigns of no limit. */
async function open(t: Test, count: number, settings: TestImOptions = {}) {
  await db.pool.query(
    'truncate account, conversation, member, message, outbox, campaign, terminal, task_lease cascade',
  );
  const service = await openIm(t, { ...settings, database, app: { campaignPerSec: 0, ...settings.app } });
  const { im } = service;
  const names = Array.from({ length: count }, (_, i) => `a${i}` as AccountId);
  await im.accounts.importMany(
    imAppId,
    names.map((identifier) => ({ identifier })),
  );
  const sender = await im.accounts.ensure(imAppId, 'admin' as AccountId);
  const accounts = [...(await im.accounts.findMany(imAppId, names)).values()];

  const start = async (more: object = {}): Promise<string> => {
    // So that they are more than a second apart.
    service.clock.advance(2);
    const started: ImResult<{ taskId: string }> = await im.campaigns.start({
      app: service.app,
      admin: sender,
      from: sender,
      condition: undefined,
      terms: everybody,
      body: textBody('sale'),
      push: undefined,
      random: ++randoms,
      lifetimeSec: 600,
      ...more,
    });
    if (!started.ok) throw new Error(started.error);
    return started.value.taskId;
  };
  const report = async (taskId: string) => {
    const found = await im.campaigns.report(imAppId, [taskId]);
    const [one] = found.ok ? found.value : [];
    if (one === undefined) throw new Error('no report');
    return one;
  };
  const ended = (taskId: string) =>
    until(async () => {
      const one = await report(taskId);
      return one.state === 'done' || one.state === 'cancelled' ? one : undefined;
    }, 20_000);
  return { ...service, accounts, sender, start, report, ended };
}

/** How many messages each account got, of all campaigns or the one of that MsgRandom. */
async function received(): Promise<Map<number, number>> {
  const { rows } = await db.pool.query<{ account: number; count: number }>(
    `select case when c.account_a = m.sender_id then c.account_b else c.account_a end as account, count(*) as count
     from message m join conversation c on c.id = m.conversation_id group by 1`,
  );
  return new Map(rows.map(({ account, count }) => [account, count]));
}

const isMessage = (event: Record<string, unknown>) => event.on === 'message';

t.test('[B2] [B3] [B4] everybody gets the message once, by the way of all messages, without callbacks', async (t) => {
  const asked: unknown[] = [];
  const { accounts, im, link, start, ended, sender, clock } = await open(t, 1_203, {
    deps: {
      ports: {
        beforeSend: {
          wants: () => true,
          ask: async (message) => {
            asked.push(message);
            return { kind: 'allow', outcome: 'allowed' };
          },
        },
        consumers: () => 3,
      },
    },
  });
  const terminal = await link('a7');
  // One who has spoken with the sender before, and one who is gone.
  const [, friend, gone] = accounts as [Account, Account, Account];
  await im.messages.send({
    from: friend,
    to: sender,
    draft: { body: textBody('hi'), random: 1, lifetimeSec: 600, visibility: 'both', tellSender: false, counts: true },
    authority: 'administrator',
    withoutBefore: 'kind',
    withoutAfter: 'kind',
    origin: { platform: 'RESTAPI', address: '' },
    deadline: AbortSignal.timeout(10_000),
  });
  await im.accounts.delete(imAppId, [gone.identifier]);

  const random = randoms + 1;
  const taskId = await start({ push: { PushFlag: 0, Title: 'news' } });
  t.equal(taskId, `${imAppId}_admin_${Math.floor(clock() / 1_000)}_${random}`);
  t.match(await ended(taskId), { state: 'done', finished: 1_202, total: 1_202 });

  const { rows } = await db.pool.query<Record<string, unknown>>(
    `select a.identifier, m.seq, m.visible_to, m.counts, m.push, m.callbacks, m.offline_until - m.msg_time as lifetime, m.body
     from message m join conversation c on c.id = m.conversation_id
     join account a on a.id = case when c.account_a = m.sender_id then c.account_b else c.account_a end
     where m.msg_random = $1 and m.sender_id = $2 order by a.id`,
    [random, sender.no],
  );
  t.strictSame(
    rows.map(({ identifier }) => identifier),
    accounts.map(({ identifier }) => identifier).filter((name) => name !== gone.identifier),
    'each once, and nobody who is gone',
  );
  t.strictSame(
    new Set(rows.map(({ identifier: _, seq: __, ...rest }) => JSON.stringify(rest))),
    new Set([
      JSON.stringify({
        visible_to: 2,
        counts: true,
        push: '{"PushFlag":0,"Title":"news"}',
        callbacks: packCallbackNotes({ consumers: 2, before: 'unasked-kind', after: 'kind' }),
        lifetime: 600,
        body: JSON.stringify(textBody('sale')),
      }),
    ]),
  );
  t.equal(rows.find(({ identifier }) => identifier === friend.identifier)?.seq, 2);

  const event = await terminal.event(isMessage);
  t.match(event, { from: 'admin', seq: 1, random });
  t.equal(terminal.events.filter(isMessage).length, 1);
  const { rows: outgoing } = await db.pool.query<Record<string, unknown>>(
    'select consumer, event, body, count(*)::int as count from outbox group by 1, 2, 3',
  );
  const { rows: campaigns } = await db.pool.query<{ id: number }>('select id from campaign');
  t.match(
    outgoing.filter(({ event, body }) => event !== 'State.StateChange' && body !== null),
    [{ consumer: 2, event: 'C2C.CallbackAfterSendMsg', body: `{"campaign":${campaigns[0]?.id}}`, count: 1_202 }],
    'pushes alone, that say of which campaign they are',
  );
  t.strictSame(asked, []);

  t.strictSame(
    (await im.mailbox.recents(sender)).map(({ peer }) => peer),
    [friend.identifier],
    'nothing at the sender',
  );
  t.strictSame(await im.mailbox.unread(friend, [sender]), [1]);
  t.strictSame(await im.mailbox.unread(sender, [friend]), [1], 'his own messages are not unread');
  t.match(await im.mailbox.offline(friend), { messages: [{ random, peer: 'admin' }] });
});

t.test('[B2] without MsgLifeTime those who are online get it, and nothing is stored', async (t) => {
  const { accounts, link, start, ended, report } = await open(t, 40, { deps: { ports: { consumers: () => 3 } } });
  const there = await Promise.all(['a3', 'a30', 'a31'].map((name) => link(name)));
  const gone = await link('a5');
  await gone.close();
  await until(async () => {
    const { rows } = await db.pool.query('select from terminal where node_id is not null');
    return rows.length === 3;
  });
  const random = randoms + 1;
  const taskId = await start({ lifetimeSec: 0 });
  t.match(await ended(taskId), { state: 'done', finished: 3, total: 3 });
  for (const terminal of there) {
    t.match(await terminal.event(isMessage), { from: 'admin', random, seq: undefined });
    t.equal(terminal.events.filter(isMessage).length, 1);
  }
  t.equal((await received()).size, 0);
  const { rows } = await db.pool.query(`select from outbox where event <> 'State.StateChange'`);
  t.equal(rows.length, 0);
  t.equal((await report(taskId)).total, 3);
  t.equal(accounts.length, 40);
});
