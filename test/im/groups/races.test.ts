import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import type { Actor } from '../../../src/im/group-services.ts';
import type { Account } from '../../../src/im/model.ts';
import { createMetrics } from '../../../src/observe/index.ts';
import { openDatabase } from '../../../src/store/index.ts';
import type { AccountId, ImResult } from '../../../src/wire/index.ts';
import { makeTestLogger, openTestDatabase } from '../../support/database.ts';
import { imAppId, openIm, type TestIm } from '../../support/im.ts';

t.setTimeout(120_000);
const { db, dataDir } = await openTestDatabase(t);
// As another process has it, with connections of its own.
const other = await openDatabase(
  { logger: makeTestLogger().logger, metrics: createMetrics() },
  { dataDir, database: 'embedded', use: 'command' },
);
t.teardown(() => other.close());
const runMs = 6_000;
const types: Readonly<Record<string, string>> = { tea: 'Private', coffee: 'Public', water: 'ChatRoom' };

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;
const chance = (part: number) => Math.random() < part;
const self = (account: Account): Actor => ({
  account,
  authority: 'self',
  origin: { platform: 'Android', address: '' },
});

t.test('[G34] nobody who works in groups, on two processes, waits for one who waits for him', async (t) => {
  const deps = { ports: { consumers: () => 3 } };
  const ims: TestIm[] = await Promise.all([db, other].map((db) => openIm(t, { database: { db }, deps })));
  const names = Array.from({ length: 12 }, (_, n) => `account-${n}` as AccountId);
  const groupIds = Object.keys(types);
  const someNames = (part = 0.5) => names.filter(() => chance(part));

  /** Some thing that somebody, or the administrator, does in a group. */
  type Work = (im: TestIm['im'], groupId: string, who: Account, admin: Actor) => Promise<unknown>;
  const answer: Work = async (im, _, who) => {
    for (const { kind, result, groupId, key, auth } of await im.groups.requests(who, { limit: 5 })) {
      if (result !== undefined) continue;
      const given = { groupId, key, auth, agrees: chance(0.7) };
      if (kind === 'application') await im.groups.answerApplication(self(who), given);
      else await im.groups.answerInvitation(self(who), given);
    }
  };
  const send: Work = (im, groupId, from) =>
    im.groupMessages.send({
      actor: self(from),
      from,
      groupId,
      draft: {
        body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hello' } }],
        random: Math.floor(Math.random() * 4_294_967_296),
        priority: 'High',
        isOnlineOnly: false,
      },
      deadline: AbortSignal.timeout(10_000),
    });
  const works: Readonly<Record<string, Work>> = {
    create: (im, groupId, { identifier: owner }, admin) =>
      im.groups.create(admin, {
        type: types[groupId] as string,
        groupId,
        name: groupId,
        // Where it had one it would be hidden.
        ...(groupId === 'tea' ? {} : { owner }),
        members: someNames().map((account) => ({ account })),
      }),
    dismiss: (im, groupId, _, admin) => im.groups.dismiss(admin, groupId),
    add: (im, groupId, who, admin) => im.groups.add(pick([admin, self(who)]), groupId, someNames()),
    importMembers: (im, groupId, _, admin) =>
      im.groups.importMembers(
        admin,
        groupId,
        someNames().map((account) => ({ account, unread: 3 })),
      ),
    apply: (im, groupId, who) => im.groups.apply(self(who), groupId, {}),
    answer,
    answerToo: answer,
    quit: (im, groupId, who) => im.groups.quit(self(who), groupId),
    remove: (im, groupId, _, admin) => im.groups.remove(admin, groupId, someNames(0.1)),
    transfer: (im, groupId, who, admin) => im.groups.transfer(admin, groupId, who.identifier),
    mute: (im, groupId, _, admin) => im.groups.mute(admin, groupId, someNames(), pick([0, 1])),
    modify: (im, groupId, who) =>
      im.groups.modify(self(who), groupId, {
        introduction: String(Math.random()),
        applyOption: pick(['FreeAccess', 'NeedPermission'] as const),
      }),
    modifyMember: (im, groupId, who) =>
      im.groups.modifyMember(self(who), groupId, who.identifier, {
        msgFlag: pick(['Discard', 'AcceptAndNotify'] as const),
      }),
    send,
    sendToo: send,
    read: (im, groupId, who) => im.groupMessages.read(self(who), groupId, Math.ceil(Math.random() * 100)),
    setUnread: (im, groupId, who, admin) => im.groupMessages.setUnread(admin, groupId, who.identifier, 3),
    async recall(im, groupId, _, admin) {
      const { lastSeq = 1 } = (await im.groups.find(imAppId, groupId)) ?? {};
      return im.groupMessages.recall(admin, groupId, [lastSeq - Math.floor(Math.random() * 5)]);
    },
    blank: (im, groupId, who, admin) => im.groupMessages.deleteBySender(admin, groupId, who.identifier),
    setProfile: (im, _, who) => im.profiles.set(who, { nick: String(Math.random()) }, 'self'),
    importAccounts: (im) =>
      im.accounts.importMany(
        imAppId,
        someNames().map((identifier) => ({ identifier, nick: String(Math.random()) })),
      ),
    delete: (im, _, who) => im.accounts.delete(imAppId, [who.identifier, pick(names)]),
  };

  const [first] = ims as [TestIm, TestIm];
  await first.im.accounts.importMany(
    imAppId,
    ['admin' as AccountId, ...names].map((identifier) => ({ identifier })),
  );
  const by = async (name: AccountId) => self(await first.im.accounts.ensure(imAppId, name));
  const backend: Actor = { ...(await by('admin' as AccountId)), authority: 'administrator' };
  for (const groupId of groupIds) await works.create?.(first.im, groupId, (await by(pick(names))).account, backend);

  const [done, refused, errors] = [new Map<string, number>(), new Map<string, number>(), new Map<string, number>()];
  const count = (where: Map<string, number>, what: string) => void where.set(what, (where.get(what) ?? 0) + 1);
  async function worker({ im }: TestIm, what: string, work: Work, endMs: number): Promise<void> {
    while (performance.now() < endMs) {
      try {
        const who = await im.accounts.ensure(imAppId, pick(names));
        const admin = self(await im.accounts.ensure(imAppId, 'admin' as AccountId));
        const result = await work(im, pick(groupIds), who, { ...admin, authority: 'administrator' });
        const { ok = true, error } = (result ?? {}) as Partial<ImResult> & { error?: string };
        if (ok) count(done, what);
        else count(refused, `${what}: ${error}`);
      } catch (error) {
        count(errors, `${what}: ${(error as Error).message}`);
      }
      // Something has to be left for the others.
      if (what === 'dismiss' || what === 'delete') await delay(500);
    }
  }
  const endMs = performance.now() + runMs;
  await Promise.all(ims.flatMap((one) => Object.entries(works).map(([what, work]) => worker(one, what, work, endMs))));
  t.comment(JSON.stringify(Object.fromEntries(done)));
  t.comment(JSON.stringify(Object.fromEntries(refused)));
  t.same(Object.fromEntries(errors), {});
  const failures = ims.flatMap(({ events }) => events.filter((event) => event.endsWith('.failed')));
  t.same(failures, [], 'nor was anything tried again');

  const none = async (what: string, query: string) => t.same((await db.pool.query(query)).rows, [], what);
  const members = 'member m where m.conversation_id = g.conversation_id and m.to_seq is null and m.role is not null';
  await none(
    'who is in a group is counted',
    `select group_id from chat_group g where dismissed_sec is null and member_count <> (select count(*) from ${members})`,
  );
  await none(
    'a group that is gone has no members',
    `select group_id from chat_group g, ${members} and g.dismissed_sec > 0`,
  );
  await none(
    'the owner is the member with the role',
    `select group_id from chat_group g where dismissed_sec is null
     and array(select m.account_id from ${members} and m.role = 3) <> array_remove(array[owner_id], null)`,
  );
  await none(
    'seqs are dense',
    `select c.id from conversation c left join message x on x.conversation_id = c.id
     where c.kind <> 1 group by c.id having count(x.seq) <> c.last_seq or coalesce(max(x.seq), 0) <> c.last_seq`,
  );
  const deleted = 'account_id in (select id from account where deleted_ms is not null)';
  await none('who was deleted is in none', `select 1 from member where role > 0 and to_seq is null and ${deleted}`);
  await none('and asks for nothing', `select 1 from group_request where handled_ms is null and ${deleted}`);
});
