import t, { type Test } from 'tap';
import type { Actor, AddOutcome } from '../../../src/im/group-services.ts';
import { createLocalBus } from '../../../src/im/local-bus.ts';
import type { Account, AccountNo } from '../../../src/im/model.ts';
import type { GroupDecision, GroupQuestion } from '../../../src/im/ports.ts';
import type { LinkEvent } from '../../../src/im/services.ts';
import type { AccountId, AfterCommand, ImResult } from '../../../src/wire/index.ts';
import { makeTestLogger, openTestDatabase, until } from '../../support/database.ts';
import { imAppId, openIm, type TestImOptions } from '../../support/im.ts';

t.setTimeout(120_000);
const database = await openTestDatabase(t);
const { db } = database;
const origin = { platform: 'RESTAPI', address: '198.51.100.7' } as const;
let nextName = 1;

function must<T>(result: ImResult<T>): T {
  if (!result.ok) throw new Error(`${result.error}: ${result.field ?? ''} ${result.reason ?? ''}`);
  return result.value;
}

interface Told {
  command: AfterCommand;
  fields: Record<string, unknown>;
}

/** Groups on a database, with accounts of their own; `decide`: what the app's backend says. */
async function openGroups(
  t: Test,
  {
    decide,
    ...settings
  }: Pick<TestImOptions, 'app' | 'options'> & { decide?: (question: GroupQuestion) => GroupDecision } = {},
) {
  const asked: GroupQuestion[] = [];
  const bus = createLocalBus({ logger: makeTestLogger().logger });
  const live: { to: AccountNo; event: LinkEvent }[] = [];
  bus.subscribe((to, event) => void live.push({ to, event }));
  const { im, clock } = await openIm(t, {
    database,
    ...settings,
    deps: {
      bus,
      ports: {
        consumers: (_, command) => (command.startsWith('Group.') ? 1 : 0),
        ...(decide === undefined
          ? {}
          : {
              beforeGroup: {
                wants: () => true,
                ask: async (question) => {
                  asked.push(question);
                  return decide(question);
                },
              },
            }),
      },
    },
  });
  const account = (name: string) => im.accounts.ensure(imAppId, `${name}${nextName++}` as AccountId);
  const [owner, mo, zed, ann] = (await Promise.all(['owner', 'mo', 'zed', 'ann'].map(account))) as [
    Account,
    Account,
    Account,
    Account,
  ];
  const self = (account: Account): Actor => ({ account, authority: 'self', origin });
  const admin: Actor = {
    account: await im.accounts.ensure(imAppId, 'admin' as AccountId),
    authority: 'administrator',
    origin,
  };
  /** A group of the type whose owner is `owner`, with the members given. */
  const make = async (type: string, members: readonly Account[] = [], admins: readonly Account[] = []) => {
    const { groupId } = must(
      await im.groups.create(admin, {
        type,
        name: 'tea',
        owner: owner.identifier,
        members: [
          ...admins.map(({ identifier }) => ({ account: identifier, isAdmin: true })),
          ...members.map(({ identifier }) => ({ account: identifier })),
        ],
      }),
    );
    return groupId;
  };
  const idOf = async (groupId: string) => {
    const { rows } = await db.pool.query<{ conversation_id: number }>(
      'select conversation_id from chat_group where group_id = $1 order by conversation_id desc',
      [groupId],
    );
    return rows[0]?.conversation_id ?? 0;
  };
  return {
    im,
    clock,
    asked,
    /** What terminals are told, an entry each. */
    live,
    owner,
    mo,
    zed,
    ann,
    self,
    admin,
    account,
    make,
    /** Names and roles of the members, sorted. */
    async roster(groupId: string) {
      const { members } = must(await im.groups.members(admin, groupId, {}));
      return members.map(({ account, role }) => `${account} ${role}`).sort();
    },
    /** Messages of the group, oldest first: the tips' contents. */
    async tips(groupId: string) {
      const { rows } = await db.pool.query<{ seq: number; body: string }>(
        'select seq, body from message where conversation_id = $1 order by seq',
        [await idOf(groupId)],
      );
      return rows.map(({ seq, body }) => ({ seq, ...JSON.parse(body)[0].MsgContent }));
    },
    /** What stands in an account's inbox about groups, oldest first. */
    async notices({ no }: Account) {
      const { rows } = await db.pool.query<{ body: string }>(
        `select x.body from conversation c join message x on x.conversation_id = c.id
         where c.kind = 3 and c.account_a = $1 order by x.seq`,
        [no],
      );
      return rows.map(({ body }) => JSON.parse(body));
    },
    /** What the app's backend is told of the group, in order. */
    async told(groupId: string): Promise<Told[]> {
      const { rows } = await db.pool.query<{ event: AfterCommand; body: string }>(
        'select event, body from outbox where drain_key = $1 order by id',
        [String(await idOf(groupId))],
      );
      return rows.map(({ event, body }) => ({ command: event, fields: JSON.parse(body).fields }));
    },
  };
}

const outcomes = (added: readonly { account: AccountId; outcome: AddOutcome }[]) => added.map(({ outcome }) => outcome);

t.test('[G1] [G5] a group is made with its members; owner and backend are told', async (t) => {
  const { im, owner, mo, zed, admin, roster, notices, told, tips } = await openGroups(t);
  const { groupId } = must(
    await im.groups.create(admin, {
      type: 'Public',
      name: 'Tea club',
      owner: owner.identifier,
      maxMembers: 300,
      members: [{ account: mo.identifier, isAdmin: true }, { account: zed.identifier }],
    }),
  );
  t.match(groupId, /^@TGS#[0-9A-Z]+$/);
  t.strictSame(await roster(groupId), [
    `${mo.identifier} Admin`,
    `${owner.identifier} Owner`,
    `${zed.identifier} Member`,
  ]);
  t.match(await im.groups.find(imAppId, groupId), {
    type: 'Public',
    name: 'Tea club',
    maxMembers: 300,
    applyOption: 'NeedPermission',
    memberCount: 3,
    owner: owner.no,
    isHidden: false,
    lastSeq: 0,
  });
  t.match(await notices(owner), [{ ReportType: 6, ToGroupId: groupId, Operator_Account: 'admin' }]);
  t.match(await notices(mo), [{ ReportType: 7 }]);
  t.strictSame(await tips(groupId), []);
  t.match(await told(groupId), [
    {
      command: 'Group.CallbackAfterCreateGroup',
      fields: {
        GroupId: groupId,
        Operator_Account: 'admin',
        Owner_Account: owner.identifier,
        Type: 'Public',
        Name: 'Tea club',
        MemberList: [{ Member_Account: mo.identifier }, { Member_Account: zed.identifier }],
      },
    },
  ]);
});

t.test('[G3] [G1] what a group cannot be made of is refused, and nothing is left of it', async (t) => {
  const { im, owner, mo, admin, self } = await openGroups(t);
  const draft = { type: 'Public', name: 'tea', owner: owner.identifier };
  const count = async () =>
    (await db.pool.query<{ count: number }>('select count(*) as count from chat_group')).rows[0]?.count;
  const before = await count();
  const refusals: [object, object][] = [
    [
      { ...draft, type: 'Secret' },
      { error: 'GROUP_PARAMETER', field: 'Type' },
    ],
    [
      { ...draft, name: '' },
      { error: 'GROUP_PARAMETER', field: 'Name' },
    ],
    [
      { ...draft, name: '茶'.repeat(11) },
      { error: 'GROUP_PARAMETER', field: 'Name', allowed: /30 bytes/ },
    ],
    [{ ...draft, groupId: '@TGS#mine' }, { error: 'GROUP_ID' }],
    [{ ...draft, groupId: 'x'.repeat(49) }, { error: 'GROUP_ID' }],
    [
      { ...draft, owner: 'nobody-of-that-name' },
      { error: 'GROUP_PARAMETER', field: 'Owner_Account' },
    ],
    [{ ...draft, members: [{ account: 'nobody-of-that-name' }] }, { error: 'GROUP_ACCOUNT_UNKNOWN' }],
    [
      { ...draft, members: [{ account: owner.identifier, isAdmin: true }] },
      { error: 'GROUP_PARAMETER', field: 'MemberList' },
    ],
    [
      { ...draft, maxMembers: 2_001 },
      { error: 'GROUP_PARAMETER', field: 'MaxMemberCount', allowed: 'at most 2000' },
    ],
    [
      { ...draft, maxMembers: 1, members: [{ account: mo.identifier }] },
      { error: 'GROUP_PARAMETER', field: 'MemberList' },
    ],
    [{ ...draft, type: 'Private', members: [{ account: mo.identifier, isAdmin: true }] }, { error: 'GROUP_PARAMETER' }],
    [
      { ...draft, type: 'AVChatRoom', members: [{ account: mo.identifier }] },
      { error: 'GROUP_FORBIDDEN', field: 'MemberList' },
    ],
    [
      { ...draft, type: 'BChatRoom' },
      { error: 'GROUP_PARAMETER', field: 'Owner_Account' },
    ],
    [
      { ...draft, custom: { color: 'red' } },
      { error: 'GROUP_PARAMETER', field: 'AppDefinedData' },
    ],
  ];
  for (const [input, refusal] of refusals) {
    t.match(await im.groups.create(admin, input as never), { ok: false, ...refusal }, JSON.stringify(input));
  }
  t.match(await im.groups.create(self(mo), { type: 'BChatRoom', name: 'news' }), { ok: false });
  t.match(
    await im.groups.create(self(mo), {
      type: 'Public',
      name: 'tea',
      maxMembers: 1,
      members: [{ account: owner.identifier }],
    }),
    { error: 'GROUP_PARAMETER', field: 'MemberList', reason: 'has 2 members with the owner' },
    'who creates it is one of them',
  );
  t.equal(await count(), before);
  must(await im.groups.create(admin, { ...draft, groupId: 'club-of-tea' }));
  t.match(await im.groups.create(admin, { ...draft, groupId: 'club-of-tea' }), { error: 'GROUP_ID_OWN' });
  t.match(await im.groups.create(admin, { ...draft, owner: mo.identifier, groupId: 'club-of-tea' }), {
    error: 'GROUP_ID_TAKEN',
  });
  t.equal(await count(), (before ?? 0) + 1);
});

t.test('[G4] so many groups a day, those dismissed taken off, by the app’s own day', async (t) => {
  await db.pool.query('delete from group_quota');
  const { im, make, admin, clock } = await openGroups(t, { app: { groupsPerDay: 3 } });
  const ids = [await make('Public'), await make('Public'), await make('ChatRoom')];
  await t.rejects(make('Public'), /GROUP_QUOTA/);
  must(await im.groups.dismiss(admin, ids[0] ?? ''));
  await make('Public');
  await t.rejects(make('Public'), /GROUP_QUOTA/);
  clock.advance(86_400);
  await make('Public');
});

t.test('[K1] the backend refuses a group, with its own code or without', async (t) => {
  let decision: GroupDecision = { kind: 'refuse', reason: 'no tea' };
  const { make, asked, owner, mo } = await openGroups(t, { decide: () => decision });
  await t.rejects(make('Public', [mo]), /GROUP_REFUSED_BY_CALLBACK: {2}no tea/);
  t.match(asked[0], {
    command: 'Group.CallbackBeforeCreateGroup',
    fields: {
      Operator_Account: 'admin',
      Owner_Account: owner.identifier,
      Type: 'Public',
      Name: 'tea',
      CreatedNum: 0,
      MemberList: [{ Member_Account: mo.identifier }],
    },
  });
  decision = { kind: 'allow', outcome: 'allowed' };
  await make('Public');
  await make('Public');
  t.equal(asked[2]?.fields.CreatedNum, 1, 'how many of the type the owner has made');
});

t.test('[G7] dismissed: every member hears of it, nobody is in it, and its id is free', async (t) => {
  const { im, owner, mo, zed, self, make, notices, told, admin } = await openGroups(t);
  const groupId = await make('Public', [mo, zed]);
  t.match(await im.groups.dismiss(self(mo), groupId), { error: 'GROUP_FORBIDDEN' });
  must(await im.groups.dismiss(self(owner), groupId));
  for (const one of [owner, mo, zed]) t.match((await notices(one)).at(-1), { ReportType: 5, ToGroupId: groupId });
  t.match((await told(groupId)).at(-1), {
    command: 'Group.CallbackAfterGroupDestroyed',
    fields: { Owner_Account: owner.identifier, Name: 'tea' },
  });
  t.match((await told(groupId)).at(-1)?.fields.MemberList, { length: 3 });
  t.equal(await im.groups.find(imAppId, groupId), undefined);
  t.match(await im.groups.members(admin, groupId, {}), { error: 'GROUP_UNKNOWN' });
  t.strictSame((await im.groups.joined(mo, {})).groups, []);
  // Private ones are the administrator's to dismiss.
  const own = await make('Private', [mo]);
  t.match(await im.groups.dismiss(self(owner), own), { error: 'GROUP_FORBIDDEN' });
  must(await im.groups.dismiss(admin, own));
});

t.test(
  '[G12] [G13] [G14] any member of a private group pulls others in; they are told, and the backend of each',
  async (t) => {
    const { im, owner, mo, zed, ann, self, make, roster, tips, notices, told } = await openGroups(t);
    const groupId = await make('Private', [mo]);
    t.match(
      await im.groups.add(self(mo), groupId, [zed.identifier]),
      { error: 'GROUP_UNKNOWN' },
      'hidden until its owner speaks',
    );
    await db.pool.query('update chat_group set is_hidden = false where group_id = $1', [groupId]);
    const again = await openGroups(t);
    const added = must(
      await again.im.groups.add(self(mo), groupId, [zed.identifier, owner.identifier, ann.identifier]),
    );
    t.strictSame(outcomes(added), ['added', 'was-member', 'added']);
    t.equal((await again.roster(groupId)).length, 4);
    t.match(await tips(groupId), [
      {
        seq: 1,
        OpType: 1,
        Operator_Account: mo.identifier,
        List_Account: [zed.identifier, ann.identifier],
        MemberNum: 4,
      },
    ]);
    t.match((await notices(zed)).at(-1), { ReportType: 7, Operator_Account: mo.identifier });
    t.match(
      (await told(groupId))
        .filter(({ command }) => command === 'Group.CallbackAfterNewMemberJoin')
        .map(({ fields }) => fields),
      [zed, ann].map(({ identifier }) => ({
        JoinType: 'Invited',
        Operator_Account: mo.identifier,
        NewMemberList: [{ Member_Account: identifier }],
      })),
    );
    t.match(await im.groups.find(imAppId, groupId), { groupId });
    t.equal((await roster(groupId)).length >= 2, true);
  },
);

t.test('[G12] [G20] in a public group managers invite, and who is invited decides', async (t) => {
  const { im, owner, mo, zed, ann, self, make, roster, notices } = await openGroups(t);
  const groupId = await make('Public', [mo]);
  t.match(await im.groups.add(self(mo), groupId, [zed.identifier]), { error: 'GROUP_FORBIDDEN' });
  t.match(await im.groups.add(self(zed), groupId, [ann.identifier]), { error: 'GROUP_FORBIDDEN' });
  t.strictSame(outcomes(must(await im.groups.add(self(owner), groupId, [zed.identifier, mo.identifier]))), [
    'asked',
    'was-member',
  ]);
  t.equal((await roster(groupId)).length, 2);
  const invitation = (await notices(zed)).at(-1);
  t.match(invitation, { ReportType: 12, Operator_Account: owner.identifier });
  const answer = { groupId, key: invitation.MsgKey, auth: invitation.Authentication, agrees: true };
  t.match(await im.groups.answerInvitation(self(ann), answer), { error: 'GROUP_FORBIDDEN' });
  t.match(await im.groups.answerInvitation(self(zed), { ...answer, auth: 'x' }), {
    error: 'GROUP_PARAMETER',
    field: 'MsgKey',
  });
  t.match((await im.groups.requests(zed, { limit: 10 }))[0], {
    kind: 'invitation',
    inviter: owner.identifier,
    key: answer.key,
  });
  must(await im.groups.answerInvitation(self(zed), answer));
  t.ok((await roster(groupId)).includes(`${zed.identifier} Member`));
  t.match(await im.groups.answerInvitation(self(zed), answer), { error: 'GROUP_REQUEST_HANDLED' });
  t.match((await im.groups.requests(zed, { limit: 10 }))[0], { result: 'agreed', handler: zed.identifier });
});

t.test('[G15] [G16] [G20] who applies waits for a manager, walks in, or is refused, as the group has it', async (t) => {
  const { im, owner, mo, zed, ann, self, admin, make, roster, notices, tips } = await openGroups(t);
  const groupId = await make('Public', [], [mo]);
  t.match(await im.groups.apply(self(mo), groupId, {}), { error: 'GROUP_ALREADY_MEMBER' });
  t.equal(must(await im.groups.apply(self(zed), groupId, { wording: 'let me in' })), 'waiting');
  const first = (await notices(owner)).at(-1);
  t.match(first, { ReportType: 1, Operator_Account: zed.identifier, RemarkInfo: 'let me in' });
  t.match((await notices(mo)).at(-1), { ReportType: 1, MsgKey: first.MsgKey });
  // Again: the same request with new words.
  must(await im.groups.apply(self(zed), groupId, { wording: 'please' }));
  const second = (await notices(owner)).at(-1);
  t.equal(second.MsgKey, first.MsgKey);
  const answer = { groupId, key: second.MsgKey, auth: second.Authentication, agrees: true, words: 'welcome' };
  t.match(await im.groups.answerApplication(self(zed), answer), { error: 'GROUP_FORBIDDEN' });
  t.match(await im.groups.answerApplication(self(mo), { ...answer, auth: first.Authentication }), {
    error: 'GROUP_PARAMETER',
  });
  must(await im.groups.answerApplication(self(mo), answer));
  t.match((await notices(zed)).at(-1), { ReportType: 2, Operator_Account: mo.identifier, RemarkInfo: 'welcome' });
  t.match((await tips(groupId)).at(-1), { OpType: 1, Operator_Account: mo.identifier, List_Account: [zed.identifier] });
  t.match(await im.groups.answerApplication(self(owner), answer), { error: 'GROUP_REQUEST_HANDLED' });
  t.match((await im.groups.requests(owner, { limit: 10 }))[0], {
    kind: 'application',
    account: zed.identifier,
    result: 'agreed',
  });

  must(await im.groups.apply(self(ann), groupId, {}));
  const other = (await notices(owner)).at(-1);
  must(
    await im.groups.answerApplication(self(owner), {
      groupId,
      key: other.MsgKey,
      auth: other.Authentication,
      agrees: false,
    }),
  );
  t.match((await notices(ann)).at(-1), { ReportType: 3 });
  t.notOk((await roster(groupId)).some((one) => one.startsWith(ann.identifier)));

  must(await im.groups.modify(self(owner), groupId, { applyOption: 'DisableApply' }));
  t.match(await im.groups.apply(self(ann), groupId, {}), { error: 'GROUP_FORBIDDEN' });
  must(await im.groups.modify(admin, groupId, { applyOption: 'FreeAccess' }));
  t.equal(must(await im.groups.apply(self(ann), groupId, {})), 'joined');
  const room = await make('Private', []);
  t.match(await im.groups.apply(self(ann), room, {}), { error: 'GROUP_UNKNOWN' });
});

t.test('[G14] the last places go to the first; a full group says so, and the backend hears of it', async (t) => {
  const { im, mo, zed, ann, admin, self, make, account, told } = await openGroups(t);
  const groupId = await make('ChatRoom', [mo]);
  must(await im.groups.modify(admin, groupId, { maxMembers: 3 }));
  const two = await Promise.all([im.groups.apply(self(zed), groupId, {}), im.groups.apply(self(ann), groupId, {})]);
  t.strictSame(two.map((one) => (one.ok ? one.value : one.error)).sort(), ['GROUP_FULL', 'joined']);
  t.match(await im.groups.add(admin, groupId, [(await account('late')).identifier]), { error: 'GROUP_FULL' });
  const full = (await told(groupId)).filter(({ command }) => command === 'Group.CallbackAfterGroupFull');
  t.strictSame(
    full.map(({ fields }) => fields),
    [groupId, groupId, groupId].map((GroupId) => ({ GroupId })),
    'filled, and twice no room',
  );
  t.equal((await im.groups.find(imAppId, groupId))?.memberCount, 3);
});

t.test('[K1] the backend leaves some out of an invitation', async (t) => {
  const { im, mo, zed, ann, admin, make, asked, roster } = await openGroups(t, {
    decide: ({ command }) =>
      command === 'Group.CallbackBeforeInviteJoinGroup'
        ? { kind: 'allow', outcome: 'refused', refusedMembers: [zedName] }
        : { kind: 'allow', outcome: 'allowed' },
  });
  const zedName = zed.identifier as string;
  const groupId = await make('Public', [mo]);
  t.strictSame(outcomes(must(await im.groups.add(admin, groupId, [zed.identifier, ann.identifier]))), [
    'failed',
    'added',
  ]);
  t.match(asked.at(-1)?.fields, {
    GroupId: groupId,
    Type: 'Public',
    Operator_Account: 'admin',
    DestinationMembers: [{ Member_Account: zed.identifier }, { Member_Account: ann.identifier }],
  });
  t.equal((await roster(groupId)).length, 3);
});

t.test('[G17] [G18] [G11] who is removed or quits is told; nobody acts on the owner', async (t) => {
  const { im, owner, mo, zed, ann, admin, self, make, roster, notices, tips, told } = await openGroups(t);
  const groupId = await make('Public', [zed, ann], [mo]);
  t.match(await im.groups.remove(self(zed), groupId, [ann.identifier]), { error: 'GROUP_FORBIDDEN' });
  const stranger = (await im.accounts.ensure(imAppId, 'stranger' as AccountId)).identifier;
  t.match(await im.groups.remove(self(zed), groupId, [stranger]), { error: 'GROUP_FORBIDDEN' });
  t.match(await im.groups.remove(self(mo), groupId, [stranger]), { ok: true }, 'who is no member is left alone');
  t.match(await im.groups.remove(self(mo), groupId, [owner.identifier]), { error: 'GROUP_FORBIDDEN' });
  t.match(await im.groups.remove(admin, groupId, [owner.identifier]), { error: 'GROUP_FORBIDDEN' });
  must(await im.groups.remove(self(mo), groupId, [zed.identifier], { reason: 'too loud' }));
  t.match((await notices(zed)).at(-1), { ReportType: 4, Operator_Account: mo.identifier, RemarkInfo: 'too loud' });
  t.match((await tips(groupId)).at(-1), { OpType: 3, Operator_Account: mo.identifier, List_Account: [zed.identifier] });
  t.match((await told(groupId)).at(-1), {
    command: 'Group.CallbackAfterMemberExit',
    fields: {
      ExitType: 'Kicked',
      Operator_Account: mo.identifier,
      ExitMemberList: [{ Member_Account: zed.identifier }],
    },
  });
  // Once more: no member, and no harm.
  must(await im.groups.remove(self(mo), groupId, [zed.identifier]));
  t.match(await im.groups.quit(self(owner), groupId), { error: 'GROUP_OWNER_STAYS' });
  must(await im.groups.quit(self(ann), groupId));
  t.match((await notices(ann)).at(-1), { ReportType: 8 });
  t.match((await tips(groupId)).at(-1), { OpType: 2, Operator_Account: ann.identifier, MemberNum: 2 });
  t.match(await im.groups.quit(self(ann), groupId), { error: 'GROUP_FORBIDDEN' });
  t.strictSame(await roster(groupId), [`${mo.identifier} Admin`, `${owner.identifier} Owner`]);
  // A private group goes on without its owner.
  const own = await make('Private', [mo]);
  must(await im.groups.quit(self(owner), own));
  t.equal((await im.groups.find(imAppId, own))?.owner, undefined);
});

t.test('[G18] an account that is deleted leaves its groups; one that it owned goes on', async (t) => {
  const { im, owner, mo, zed, admin, self, make, roster, tips, told, notices } = await openGroups(t);
  const groupId = await make('Public', [mo, zed]);
  must(
    await im.groups.add(self(owner), groupId, [(await im.accounts.ensure(imAppId, 'guest' as AccountId)).identifier]),
  );
  await im.accounts.delete(imAppId, [mo.identifier, owner.identifier]);
  t.strictSame(await roster(groupId), [`${zed.identifier} Member`]);
  t.equal((await im.groups.find(imAppId, groupId))?.owner, undefined);
  t.match((await tips(groupId)).map(({ OpType, Operator_Account }) => [OpType, Operator_Account]).sort(), [
    [2, mo.identifier],
    [2, owner.identifier],
  ]);
  t.match((await told(groupId)).at(-1), { command: 'Group.CallbackAfterMemberExit', fields: { ExitType: 'Quit' } });
  t.notOk(
    (await notices(mo)).some(({ ReportType }) => ReportType === 8),
    'nobody is there to hear of it',
  );
  must(await im.groups.transfer(admin, groupId, zed.identifier));
});

t.test(
  '[G18] an account that was deleted by a process which was killed over it, or failed, leaves with the next start, or look',
  async (t) => {
    const { im, mo, zed, admin, make, roster, told } = await openGroups(t);
    const [first, second] = [await make('Public', [mo, zed]), await make('Public', [mo])];
    const asking = await make('Public');
    must(await im.groups.apply({ account: mo, authority: 'self', origin }, asking, {}));
    await db.pool.query('update account set deleted_ms = 1 where id = $1', [mo.no]);
    const next = await openGroups(t, { options: { leaving: { everyMs: 10 } } });
    const members = async (groupId: string) => must(await next.im.groups.members(admin, groupId, {})).members.length;
    await until(async () => (await members(first)) < 3 && (await members(second)) < 2);
    t.notOk((await roster(first)).some((one) => one.startsWith(mo.identifier)));
    t.match((await told(second)).at(-1), { command: 'Group.CallbackAfterMemberExit', fields: { ExitType: 'Quit' } });
    const { rows } = await db.pool.query('select result from group_request where account_id = $1', [mo.no]);
    t.strictSame(rows, [{ result: 'gone' }]);
    await db.pool.query('update account set deleted_ms = 1 where id = $1', [zed.no]);
    await until(async () => (await members(first)) === 1);
    await next.im.close();
  },
);

t.test('[G4] groups with a quota of their own give nothing back to that of the day', async (t) => {
  const { im, admin, make } = await openGroups(t, { app: { groupsPerDay: 1 } });
  await db.pool.query('delete from group_quota');
  await make('Public');
  const { groupId } = must(await im.groups.create(admin, { type: 'BChatRoom', name: 'news' }));
  must(await im.groups.dismiss(admin, groupId));
  t.match(await im.groups.create(admin, { type: 'Public', name: 'tea' }), { error: 'GROUP_QUOTA' });
});

t.test('[G26] what is unread stays so when only how it is told of changes', async (t) => {
  const { im, owner, mo, self, make } = await openGroups(t);
  const groupId = await make('Public', [mo]);
  must(await im.groups.modify(self(owner), groupId, { name: 'coffee' }));
  const unread = async () => (await im.groups.joined(mo, {})).groups[0]?.unread;
  t.equal(await unread(), 1);
  must(await im.groups.modifyMember(self(mo), groupId, mo.identifier, { msgFlag: 'AcceptNotNotify' }));
  t.equal(await unread(), 1);
  must(await im.groups.modifyMember(self(mo), groupId, mo.identifier, { msgFlag: 'Discard' }));
  t.equal(await unread(), 0);
  must(await im.groups.modifyMember(self(mo), groupId, mo.identifier, { msgFlag: 'AcceptAndNotify' }));
  t.equal(await unread(), 0, 'what came while it discarded is no news');
});

t.test('[G20] who manages a group no more sees nothing of who applies', async (t) => {
  const { im, owner, mo, zed, self, make } = await openGroups(t);
  const groupId = await make('Public', [], [mo]);
  must(await im.groups.apply(self(zed), groupId, {}));
  t.equal((await im.groups.requests(mo, { limit: 10 })).length, 1);
  must(await im.groups.remove(self(owner), groupId, [mo.identifier]));
  t.strictSame(await im.groups.requests(mo, { limit: 10 }), []);
});

t.test('a private group that is imported, or has no owner, is there for its members at once', async (t) => {
  const { im, owner, mo, zed, admin, self, clock } = await openGroups(t);
  const importedSec = Math.floor(clock() / 1_000) - 100;
  const imported = must(
    await im.groups.create(admin, { type: 'Private', name: 'tea', owner: owner.identifier, importedSec }),
  );
  must(await im.groups.importMembers(admin, imported.groupId, [{ account: mo.identifier }]));
  t.match(await im.groups.view(self(mo), imported.groupId), { ok: true });
  const wrong = [importedSec - 1, Math.floor(clock() / 1_000) + 100];
  const failed = wrong.map((joinedSec) =>
    im.groups.importMembers(admin, imported.groupId, [{ account: zed.identifier, joinedSec }]),
  );
  t.match(
    (await Promise.all(failed)).map(must),
    Array(2).fill([{ outcome: 'failed' }]),
    'before the group, or to come',
  );
  const draft = { type: 'Private', name: 'tea', members: [{ account: mo.identifier }] };
  const own = must(await im.groups.create(admin, draft));
  t.match(await im.groups.view(self(mo), own.groupId), { ok: true });
});

t.test('[I3] who is imported once more, as of before, after a stay in which nothing was said', async (t) => {
  const { im, mo, zed, admin, clock } = await openGroups(t);
  const nowSec = Math.floor(clock() / 1_000);
  const draft = { type: 'Public', name: 'tea', importedSec: nowSec - 100 };
  const { groupId } = must(await im.groups.create(admin, draft));
  must(await im.groups.importMembers(admin, groupId, [{ account: mo.identifier }]));
  must(await im.groups.remove(admin, groupId, [mo.identifier], { silent: true }));
  const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hello' } }];
  must(await im.groupMessages.importMany(admin, groupId, [{ from: zed, sec: nowSec - 10, random: 1, body }]));
  const again = { account: mo.identifier, joinedSec: nowSec - 50, unread: 5 };
  t.match(must(await im.groups.importMembers(admin, groupId, [again])), [{ outcome: 'added' }]);
  const { messages } = must(
    await im.groupMessages.history({ ...admin, account: mo, authority: 'self' }, groupId, { limit: 9 }),
  );
  t.strictSame(
    messages.map(({ seq }) => seq),
    [1],
  );
  t.equal((await im.groups.joined(mo, {})).groups[0]?.unread, 1);
});

t.test('many answers and dismissals at once, by a process that knows nobody yet', async (t) => {
  const { im, owner, account, self, admin, make, roster } = await openGroups(t);
  const groups = await Promise.all(Array.from({ length: 15 }, () => make('Public')));
  for (const groupId of groups) {
    for (const name of ['x', 'y']) must(await im.groups.apply(self(await account(name)), groupId, {}));
  }
  const requests = await im.groups.requests(owner, { limit: 100 });
  t.equal(requests.length, 30);
  const cold = await openGroups(t);
  const answers = await Promise.all(
    requests.map(({ groupId, key, auth }) =>
      cold.im.groups.answerApplication(self(owner), { groupId, key, auth, agrees: true }),
    ),
  );
  t.ok(answers.every(({ ok }) => ok));
  for (const groupId of groups) t.equal((await roster(groupId)).length, 3);
  const next = await openGroups(t);
  const dismissed = await Promise.all(groups.map((groupId) => next.im.groups.dismiss(admin, groupId)));
  t.ok(dismissed.every(({ ok }) => ok));
});

t.test('an account has one stay at a time, whoever it is', async (t) => {
  const { im, mo, admin, make, roster } = await openGroups(t);
  const groupId = await make('ChatRoom', [mo]);
  t.equal(must(await im.groups.apply(admin, groupId, {})), 'joined');
  t.match(await im.groups.apply(admin, groupId, {}), { error: 'GROUP_ALREADY_MEMBER' });
  t.equal((await roster(groupId)).length, 3);
  await t.rejects(
    db.pool.query(
      `insert into member (account_id, conversation_id, from_seq, role, joined_sec)
       select account_id, conversation_id, from_seq + 1, role, joined_sec from member where account_id = $1`,
      [mo.no],
    ),
    { code: '23505', constraint: 'member_current' },
  );
});

t.test('who was deleted meanwhile is taken in by no process', async (t) => {
  const { im, mo, zed, self, admin, make, roster } = await openGroups(t);
  const groupId = await make('ChatRoom');
  // Still in the memory of this process.
  await im.accounts.find(imAppId, mo.identifier);
  await db.pool.query('update account set deleted_ms = 1 where id = $1', [mo.no]);
  const refusal = { error: 'GROUP_ACCOUNT_UNKNOWN', reason: /deleted/ };
  t.match(await im.groups.add(admin, groupId, [zed.identifier, mo.identifier]), refusal);
  t.match(await im.groups.apply(self(mo), groupId, {}), refusal);
  t.equal((await roster(groupId)).length, 1);
  t.equal((await im.groups.find(imAppId, groupId))?.memberCount, 1);
});

t.test('who is being deleted is taken in, or asked, before or not at all: nothing of it is left', async (t) => {
  const { im, owner, mo, self, admin, make, roster } = await openGroups(t);
  const ownerless = async () => must(await im.groups.create(admin, { type: 'Private', name: 'tea' })).groupId;
  must(await im.groups.add(admin, await ownerless(), [mo.identifier]));
  const [joined, invited, applied] = [await ownerless(), await make('Public'), await make('Public')];
  // Somebody holds the inboxes of those who are told: so the changes wait with what they have done.
  const holder = await db.pool.connect();
  t.teardown(() => holder.release());
  await holder.query('begin');
  await holder.query('select from conversation where kind = 3 and account_a = any ($1) for update', [
    [owner.no, mo.no],
  ]);
  const works = [
    im.groups.add(admin, joined, [mo.identifier]),
    im.groups.add(self(owner), invited, [mo.identifier]),
    im.groups.apply(self(mo), applied, {}),
  ];
  const waitIn = (part: string, count: number) =>
    until(async () => {
      const { rows } = await db.pool.query(
        `select 1 from pg_stat_activity where wait_event_type = 'Lock' and position($1 in query) > 0`,
        [part],
      );
      return rows.length === count;
    });
  await waitIn('from im_notices', 3);
  const deletion = im.accounts.delete(imAppId, [mo.identifier]);
  await waitIn('update account a set deleted_ms', 1);
  await holder.query('rollback');
  for (const work of works) must<unknown>(await work);
  await deletion;
  t.strictSame(await roster(joined), []);
  const { rows } = await db.pool.query('select result from group_request where account_id = $1', [mo.no]);
  t.strictSame(rows, [{ result: 'gone' }, { result: 'gone' }]);
  // A process that has not heard of it yet.
  const late = must(await im.groups.create(admin, { type: 'Public', name: 'late', owner: owner.identifier }));
  t.match(await im.groups.apply(self(mo), late.groupId, {}), { error: 'GROUP_ACCOUNT_UNKNOWN', reason: /deleted/ });
});

t.test('to others than its owner a hidden group is not there, whatever is done in it', async (t) => {
  const { im, owner, mo, zed, ann, self, admin, make, notices } = await openGroups(t, {
    app: { groupTypes: [{ name: 'Club', base: 'Public', isHiddenAtFirst: true, ownerMayQuit: true }] },
  });
  const groupId = await make('Club', [mo], [zed]);
  const answer = { groupId, key: '1', auth: 'x', agrees: true };
  t.match(await im.groups.answerApplication(self(zed), answer), { error: 'GROUP_UNKNOWN' });
  t.match(await im.groups.answerInvitation(self(ann), answer), { error: 'GROUP_UNKNOWN' });
  t.match(await im.groups.answerApplication(self(owner), answer), { error: 'GROUP_PARAMETER', field: 'MsgKey' });
  t.match(await im.groups.add(self(owner), groupId, [ann.identifier]), {
    error: 'GROUP_FORBIDDEN',
    field: 'GroupId',
    reason: /hidden/,
  });
  t.strictSame(await im.groups.requests(ann, { limit: 10 }), []);
  must(await im.groups.add(admin, groupId, [ann.identifier]));
  must(await im.groups.modifyMember(self(owner), groupId, mo.identifier, { role: 'Admin' }));
  must(await im.groups.remove(self(owner), groupId, [zed.identifier]));
  for (const account of [mo, zed, ann]) t.strictSame(await notices(account), []);
  must(await im.groups.quit(self(owner), groupId));
  t.match((await notices(owner)).at(-1), { ReportType: 8 });
  t.match(await im.groups.view(self(mo), groupId), { ok: true }, 'nobody is left who would show it');

  const other = await make('Club', [mo]);
  must(await im.groups.dismiss(self(owner), other));
  t.match((await notices(owner)).at(-1), { ReportType: 5 });
  t.strictSame(await notices(mo), []);
});

t.test(
  '[G33] [G9] who comes and goes is told as the type has it; a new name always, where weakly to those who are online',
  async (t) => {
    const { im, zed, self, admin, make, live, owner } = await openGroups(t);
    const names = new Map([
      [owner.no, 'owner'],
      [zed.no, 'zed'],
    ]);
    /** Of what kind, to whom, and with which seq. */
    const tips = () =>
      live.splice(0).flatMap(({ to, event }) => {
        if (event.kind !== 'group-message') return [];
        const [{ MsgContent }] = JSON.parse(event.message.body);
        return [
          `${MsgContent.OpType} ${names.get(to)} ${event.message.seq}${event.uncounted === true ? '' : ' unread'}`,
        ];
      });
    for (const [type, coming, naming, going] of [
      // Whoever comes hears of it himself: he has other terminals.
      ['ChatRoom', ['1 zed 0'], ['6 owner 0', '6 zed 0'], []],
      ['BChatRoom', ['1 zed 0'], ['6 zed 0'], []],
      ['AVChatRoom', ['1 owner 0', '1 zed 0'], ['6 owner 0', '6 zed 0'], ['2 owner 0']],
      ['Public', ['1 owner 1 unread', '1 zed 1 unread'], ['6 owner 2 unread', '6 zed 2 unread'], ['2 owner 3 unread']],
    ] as const) {
      const { groupId } = must(
        await im.groups.create(admin, {
          type,
          name: 'tea',
          applyOption: 'FreeAccess',
          ...(type === 'BChatRoom' ? {} : { owner: owner.identifier }),
        }),
      );
      tips();
      must(await im.groups.apply(self(zed), groupId, {}));
      t.strictSame(tips(), coming, `${type}: who came`);
      must(await im.groups.modify(admin, groupId, { name: 'coffee' }));
      t.strictSame(tips(), naming, `${type}: the new name`);
      must(await im.groups.quit(self(zed), groupId));
      t.strictSame(tips(), going, `${type}: who went`);
    }
    const silent = await make('ChatRoom');
    tips();
    must(await im.groups.add(admin, silent, [zed.identifier], { silent: true }));
    t.strictSame(tips(), [], 'in silence nobody hears of it');
    must(await im.groups.remove(admin, silent, [zed.identifier]));
    must(await im.groups.add(admin, silent, [zed.identifier]));
    t.strictSame(tips(), ['1 zed 0'], 'whoever was added');
  },
);

t.test('[G6] the owner hands the group to a member', async (t) => {
  const { im, owner, mo, zed, self, make, roster, tips } = await openGroups(t);
  const groupId = await make('Public', [mo]);
  t.match(await im.groups.transfer(self(mo), groupId, mo.identifier), { error: 'GROUP_FORBIDDEN' });
  t.match(await im.groups.transfer(self(owner), groupId, zed.identifier), {
    error: 'GROUP_PARAMETER',
    field: 'NewOwner_Account',
  });
  must(await im.groups.transfer(self(owner), groupId, mo.identifier));
  t.strictSame(await roster(groupId), [`${mo.identifier} Owner`, `${owner.identifier} Member`]);
  t.match((await tips(groupId)).at(-1), { OpType: 6, MsgGroupNewInfo: { Owner_Account: mo.identifier } });
  must(await im.groups.quit(self(owner), groupId));
});

t.test('[G8] [G9] the profile: who changes it, who sees it, who hears of what changed', async (t) => {
  const { im, owner, mo, zed, self, admin, make, tips, told } = await openGroups(t);
  const groupId = await make('Public', [mo]);
  t.match(await im.groups.modify(self(mo), groupId, { name: 'coffee' }), { error: 'GROUP_FORBIDDEN' });
  t.match(await im.groups.modify(self(owner), groupId, { maxMembers: 9_999 }), {
    error: 'GROUP_PARAMETER',
    field: 'MaxMemberNum',
  });
  must(await im.groups.modify(self(owner), groupId, { name: 'coffee', introduction: '', notification: 'at five' }));
  t.match(await im.groups.view(self(mo), groupId), {
    value: { sees: 'all', owner: owner.identifier, group: { name: 'coffee', notification: 'at five', infoSeq: 1 } },
  });
  t.match(await im.groups.view(self(zed), groupId), { value: { sees: 'public' } });
  t.match((await tips(groupId)).at(-1), {
    OpType: 6,
    MsgGroupNewInfo: { GroupName: 'coffee', GroupNotification: 'at five' },
  });
  t.strictSame((await told(groupId)).at(-1), {
    command: 'Group.CallbackAfterGroupInfoChanged',
    fields: {
      GroupId: groupId,
      Type: 'Public',
      Operator_Account: owner.identifier,
      Name: 'coffee',
      Notification: 'at five',
    },
  });
  const seq = (await tips(groupId)).length;
  must(await im.groups.modify(admin, groupId, { name: 'coffee', isMuted: true }));
  t.equal((await tips(groupId)).length, seq, 'what is as it was, and what nobody is told of');
  must(await im.groups.modify(admin, groupId, { name: 'coffee', isMuted: true }));
  t.match(await im.groups.find(imAppId, groupId), { infoSeq: 2 }, 'nor is what is as it was a change');
  const { rows } = await db.pool.query('select info_seq from chat_group where group_id = $1', [groupId]);
  t.strictSame(rows, [{ info_seq: 2 }], 'as it is in memory');
  t.equal((await im.groups.find(imAppId, groupId))?.isMuted, true);
  const hidden = await make('Private', [mo]);
  t.match(await im.groups.view(self(zed), hidden), { error: 'GROUP_UNKNOWN' });
});

t.test('[G11] [G27] roles, mutes and cards: by whom, of whom, and told to whom', async (t) => {
  const { im, owner, mo, zed, ann, self, admin, make, roster, notices, tips, clock } = await openGroups(t);
  const groupId = await make('Public', [zed, ann], [mo]);
  t.match(await im.groups.modifyMember(self(mo), groupId, zed.identifier, { role: 'Admin' }), {
    error: 'GROUP_FORBIDDEN',
  });
  must(await im.groups.modifyMember(self(owner), groupId, zed.identifier, { role: 'Admin' }));
  t.ok((await roster(groupId)).includes(`${zed.identifier} Admin`));
  t.match((await notices(zed)).at(-1), { ReportType: 9 });
  t.match((await tips(groupId)).at(-1), { OpType: 4, List_Account: [zed.identifier] });
  must(await im.groups.modifyMember(admin, groupId, zed.identifier, { role: 'Member' }));
  t.match((await notices(zed)).at(-1), { ReportType: 10 });
  must(
    await im.groups.modifyMember(self(ann), groupId, ann.identifier, { nameCard: 'Ann of tea', msgFlag: 'Discard' }),
  );
  t.match(await im.groups.modifyMember(self(ann), groupId, zed.identifier, { nameCard: 'x' }), {
    error: 'GROUP_FORBIDDEN',
  });
  t.match(must(await im.groups.members(admin, groupId, { accounts: [ann.identifier] })).members, [
    { nameCard: 'Ann of tea', msgFlag: 'Discard' },
  ]);
  t.match(await im.groups.mute(self(mo), groupId, [owner.identifier], 60), { error: 'GROUP_FORBIDDEN' });
  must(await im.groups.mute(self(mo), groupId, [zed.identifier], 60));
  t.match((await tips(groupId)).at(-1), {
    OpType: 7,
    MsgMemberInfo: [{ User_Account: zed.identifier, ShutupTime: 60 }],
  });
  t.match(must(await im.groups.muted(admin, groupId)), [{ account: zed.identifier }]);
  // It outlives the stay.
  must(await im.groups.remove(admin, groupId, [zed.identifier]));
  must(await im.groups.add(admin, groupId, [zed.identifier]));
  const [back] = must(await im.groups.members(admin, groupId, { accounts: [zed.identifier] })).members;
  t.ok((back?.mutedUntilSec ?? 0) > clock() / 1_000);
  clock.advance(61);
  t.strictSame(must(await im.groups.muted(admin, groupId)), []);
  must(await im.groups.mute(admin, groupId, [zed.identifier], 0));
});

t.test('[G19] [G21] lists: one’s own groups, all of the app, members by pages and roles', async (t) => {
  const { im, owner, mo, zed, ann, admin, self, make } = await openGroups(t);
  const ids = [await make('Public', [mo, zed], [ann]), await make('ChatRoom', [mo])];
  const joined = await im.groups.joined(mo, {});
  t.equal(joined.total, 2);
  t.strictSame(joined.groups.map(({ group }) => group.groupId).sort(), ids.toSorted());
  t.match((await im.groups.joined(mo, { type: 'ChatRoom' })).groups, [
    {
      group: { groupId: ids[1] },
      self: { role: 'Member', msgFlag: 'AcceptNotNotify' },
      owner: owner.identifier,
      unread: 0,
    },
  ]);
  t.equal((await im.groups.joined(mo, { offset: 1, limit: 1 })).groups.length, 1);
  const page = must(await im.groups.members(self(mo), ids[0] ?? '', { offset: 1, limit: 2 }));
  t.equal(page.total, 4);
  t.equal(page.members.length, 2);
  t.match(must(await im.groups.members(admin, ids[0] ?? '', { roles: ['Owner', 'Admin'] })).members, { length: 2 });
  t.match(await im.groups.members(self(ann), ids[1] ?? '', {}), { error: 'GROUP_FORBIDDEN' });
  t.strictSame(must(await im.groups.roles(admin, ids[1] ?? '', [mo.identifier, ann.identifier])), [
    { account: mo.identifier, role: 'Member' },
    { account: ann.identifier, role: 'NotMember' },
  ]);
  const all: string[] = [];
  let next = 0;
  let total = 0;
  do {
    const some = await im.groups.list(imAppId, { limit: 7, next });
    all.push(...some.groupIds);
    ({ next, total } = some);
  } while (next !== 0);
  t.equal(new Set(all).size, total);
  t.ok(ids.every((id) => all.includes(id)));
});
