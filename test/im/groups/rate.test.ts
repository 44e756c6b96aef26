import t from 'tap';
import type { Actor } from '../../../src/im/group-services.ts';
import type { Priority } from '../../../src/im/groups/model.ts';
import type { AccountId } from '../../../src/wire/index.ts';
import { imAppId, openIm } from '../../support/im.ts';
import { metricOf } from '../../support/metrics.ts';

t.setTimeout(120_000);
const perSec = 400;
const seconds = 10;
const quota = 40;
const priorities: readonly Priority[] = ['High', 'Normal', 'Normal', 'Low', 'Lowest', 'Low', 'Lowest', 'Normal'];

t.test(
  '[G28] [G29] [G30] [G31] [G34] [K1] 400 messages a second of mixed priority to one group, for ten seconds',
  async (t) => {
    let asked = 0;
    const { im, db, metrics } = await openIm(t, {
      deps: {
        ports: {
          consumers: () => 1,
          beforeGroup: {
            wants: (_, command) => command === 'Group.CallbackBeforeSendMsg',
            async ask() {
              asked += 1;
              return { kind: 'allow', outcome: 'allowed' };
            },
          },
        },
      },
    });
    const account = (name: string) => im.accounts.ensure(imAppId, name as AccountId);
    const origin = { platform: 'Android', address: '' } as const;
    const owner: Actor = { account: await account('owner'), authority: 'self', origin };
    const members = await Promise.all(Array.from({ length: 20 }, (_, n) => account(`member-${n}`)));
    const made = await im.groups.create(
      { ...owner, authority: 'administrator' },
      {
        type: 'Public',
        name: 'tea',
        owner: owner.account.identifier,
        members: members.map(({ identifier }) => ({ account: identifier })),
      },
    );
    if (!made.ok) throw new Error(made.error);
    const { groupId } = made.value;

    const startedMs = performance.now();
    /** When each was offered: a busy machine is late, and then offers many at once. */
    const offeredMs: number[] = [];
    const sends = Array.from({ length: perSec * seconds }, async (_, n) => {
      const dueMs = (n * 1_000) / perSec;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - (performance.now() - startedMs))));
      const from = members[n % members.length];
      if (from === undefined) throw new Error('there are members');
      const priority = priorities[n % priorities.length] ?? 'Normal';
      offeredMs.push(performance.now() - startedMs);
      const answer = await im.groupMessages.send({
        actor: { account: from, authority: 'self', origin },
        from,
        groupId,
        draft: {
          body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: String(n) } }],
          random: n,
          priority,
          isOnlineOnly: false,
        },
        deadline: AbortSignal.timeout(30_000),
      });
      return { priority, answer };
    });
    const sent = await Promise.all(sends);
    const tookMs = performance.now() - startedMs;
    t.ok(
      sent.every(({ answer }) => answer.ok),
      'every sender has success',
    );
    t.equal(asked, sent.length, 'the backend was asked about each');
    const seqs = sent
      .flatMap(({ answer }) => (answer.ok && answer.value.seq > 0 ? [answer.value.seq] : []))
      .sort((a, b) => a - b);
    t.strictSame(
      seqs,
      Array.from({ length: seqs.length }, (_, n) => n + 1),
      'no seq without a message, none twice',
    );
    // Of the last one a part may be over, and of the first one.
    t.ok(seqs.length <= quota * (Math.ceil(tookMs / 1_000) + 1), `${seqs.length} got through`);
    const bySec = Map.groupBy(offeredMs, (ms) => Math.floor(ms / 1_000));
    const fullSecs = [...bySec.values()].filter(({ length }) => length >= quota).length;
    t.ok(seqs.length >= quota * fullSecs * 0.9, `${seqs.length} got through in ${fullSecs} seconds`);

    const { rows } = await db.pool.query<{ count: number }>(
      'select count(*) as count from message join chat_group g using (conversation_id) where g.group_id = $1',
      [groupId],
    );
    t.equal(rows[0]?.count, seqs.length, 'nothing else is in the history');
    const { rows: told } = await db.pool.query<{ count: number }>(
      `select count(*) as count from outbox where event = 'Group.CallbackAfterSendMsg'`,
    );
    t.equal(told[0]?.count, seqs.length, 'the backend is told of those that got through');
    const dropped = await metricOf(metrics, 'qalgate_im_group_messages_dropped_total');
    t.equal(dropped, sent.length - seqs.length, 'and all others are counted');

    // An eighth is High, fifty a second: they have the places of every cycle, but of one that begins with nobody who waits: the first
    // one, and such a one behind a pause.
    const through = (priority: Priority) =>
      sent.filter((one) => one.priority === priority && one.answer.ok && one.answer.value.seq > 0).length;
    const pauses = offeredMs.filter((ms, n) => ms - (offeredMs[n - 1] ?? 0) > 250).length;
    const mixed = quota * (1 + pauses);
    t.ok(through('High') > 0.9 * (seqs.length - mixed), `${through('High')} of ${seqs.length} were High`);
    t.ok(through('Lowest') <= mixed, `${through('Lowest')} were Lowest`);
  },
);
