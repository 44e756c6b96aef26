/**
 * A process that serves groups on the database of another one, for tests that kill it. Its argument is JSON: `{ dataDir, accounts }`.
 * Says `{ ready: true }` over IPC, and `{ backend }` for each of its connections to PostgreSQL; answers `{ id, nowMs, op | look }`.
 */
import { createRevocations } from '../../src/auth/index.ts';
import type { Actor } from '../../src/im/group-services.ts';
import { createGroupSync } from '../../src/im/groups/group-sync.ts';
import { createInbox } from '../../src/im/groups/inbox.ts';
import { createPlaces } from '../../src/im/groups/messages/place.ts';
import { createIm } from '../../src/im/index.ts';
import { createLocalBus } from '../../src/im/local-bus.ts';
import type { Account, AccountNo } from '../../src/im/model.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { createControlBus, openDatabase } from '../../src/store/index.ts';
import { type AccountId, type ImResult, noticeTypes, tipTypes } from '../../src/wire/index.ts';
import { groupTestApp, groupTestTypeOf } from './group-app.ts';
import type { AccountView, GroupNotices, GroupView, MemberView, Op, Question, Role } from './group-ops.ts';
import { textBody } from './im-draft.ts';

const { dataDir, accounts: names } = JSON.parse(process.argv[2] ?? '{}') as { dataDir: string; accounts: string[] };
const logger = createLogger({ level: 'silent' });
const metrics = createMetrics();
let nowMs = 0;
const clock = () => nowMs;
const app = groupTestApp();
const { sdkAppId } = app;
const apps = { get: () => app, list: () => [app] };

const db = await openDatabase({ logger, metrics }, { dataDir, database: 'embedded', use: 'command' });
db.pool.on('connect', (client) => process.send?.({ backend: (client as unknown as { processID: number }).processID }));
const control = createControlBus(db, { logger });
await control.ready();
const revocations = await createRevocations(
  { db, bus: control, clock, logger, metrics },
  { sessionLifetimeMs: 900_000 },
);
const bus = createLocalBus({ logger });
nowMs = Date.now();
const im = await createIm(
  { db, control, apps, revocations, bus, clock, random: Math.random, logger, metrics },
  {
    ...{
      connections: 10,
      connectionsPerAddress: 0,
      links: 10,
      linksPerAddress: 0,
      framesPerSec: 10,
      queueBytes: 1_000,
    },
    ...{ bodyBytes: 1_000, wordLists: [], trustedProxies: [] },
    // The test's clock is days ahead of the database's.
    retention: { maxAheadMs: Number.POSITIVE_INFINITY },
  },
);
const typeOf = (_: number, type: string) => groupTestTypeOf(type);
const sync = createGroupSync({ db, apps, typeOf, placeOf: createPlaces({ db, typeOf }), clock });
const inbox = createInbox({ db, bus, clock });

const origin = { platform: 'Android', address: '' } as const;
const accounts = new Map<string, Account>();
const nameOf = new Map<AccountNo, string>();
for (const name of ['admin', ...names]) {
  const account = await im.accounts.ensure(sdkAppId, name as AccountId);
  accounts.set(name, account);
  nameOf.set(account.no, name);
}
const accountOf = (name: string) => accounts.get(name) as Account;
const actorOf = (name: string): Actor => ({
  account: accountOf(name),
  authority: name === 'admin' ? 'administrator' : 'self',
  origin,
});

const kindOf = (types: Readonly<Record<string, number>>, type: unknown) =>
  Object.entries(types).find(([, one]) => one === type)?.[0] ?? `${type}`;

/** A message in one line: a tip as the model says it, or its text and its sender's card. */
function textOf({ body, extra }: { body: string; extra?: string | undefined }): string {
  const [element] = JSON.parse(body) as { MsgType: string; MsgContent: Record<string, unknown> }[];
  if (element === undefined) return '';
  const { MsgType, MsgContent: content } = element;
  if (MsgType !== 'TIMGroupTipElem') return `${content.Text}${JSON.parse(extra ?? '{}').card ?? ''}`;
  const { OpType, Operator_Account, List_Account, MemberNum, MsgGroupNewInfo, MsgMemberInfo } = content as {
    List_Account?: string[];
    MsgGroupNewInfo?: object;
    MsgMemberInfo?: { User_Account: string; ShutupTime: number }[];
  } & Record<string, unknown>;
  const muted = MsgMemberInfo?.map(({ User_Account, ShutupTime }) => `${User_Account}:${ShutupTime}`);
  // Who quits is not listed.
  const what = [
    List_Account ?? (OpType === tipTypes.quit ? Operator_Account : undefined),
    MsgGroupNewInfo === undefined ? undefined : Object.values(MsgGroupNewInfo),
    muted,
    MemberNum,
  ];
  return [`tip ${kindOf(tipTypes, OpType)} by ${Operator_Account}`, ...what.filter((one) => one !== undefined)].join(
    ' ',
  );
}

function noticeOf(body: string): { groupId: string; line: string } {
  const { ToGroupId, ReportType, Operator_Account } = JSON.parse(body);
  return { groupId: ToGroupId, line: `${kindOf(noticeTypes, ReportType)} by ${Operator_Account}` };
}

/** What was told of each group since it was asked for. */
const told = new Map<string, string[]>();
bus.subscribe((to, event) => {
  const tell = (groupId: string, what: string) => {
    const lines = told.get(groupId) ?? [];
    told.set(groupId, lines);
    lines.push(`${nameOf.get(to)}: ${what}`);
  };
  if (event.kind === 'group-message') tell(event.groupId, `${event.message.seq} ${textOf(event.message)}`);
  if (event.kind === 'group-read') tell(event.groupId, `read ${event.readSeq} ${event.unread}`);
  if (event.kind === 'group-recalled') tell(event.groupId, `recalled ${event.seqs}`);
  if (event.kind === 'notice') {
    const { groupId, line } = noticeOf(event.body);
    tell(groupId, `notice ${line}`);
  }
});

const outcomeOf = <T>(result: ImResult<T>, word: (value: T) => string = () => 'ok'): string =>
  result.ok ? word(result.value) : result.error;

/** Key and secret of the newest request; of none where there is none. */
async function requestOf(groupId: string, kind: string, who: string): Promise<{ key: string; auth: string }> {
  const { rows } = await db.pool.query<{ key: string; auth: string }>(
    `select r.id::text as key, r.auth from group_request r join chat_group g on g.conversation_id = r.conversation_id
     where g.group_id = $1 and g.dismissed_sec is null and r.account_id = $2 and r.kind = $3 order by r.id desc limit 1`,
    [groupId, accountOf(who).no, kind === 'application' ? 1 : 2],
  );
  return rows[0] ?? { key: '999999999999', auth: '' };
}

async function perform(groupId: string, op: Op): Promise<string> {
  const { groups, groupMessages } = im;
  const actor = actorOf(op.by);
  const ids = (list: readonly string[]) => list as AccountId[];
  switch (op.do) {
    case 'create': {
      const { id, type, profile, owners, members } = op;
      const draft = { type, name: '', ...profile, members: ids(members).map((account) => ({ account })) };
      const [owner] = ids(owners);
      const more =
        actor.authority === 'self'
          ? {}
          : { ...(id === '' ? {} : { groupId: id }), ...(owner === undefined ? {} : { owner }) };
      return outcomeOf(await groups.create(actor, { ...draft, ...more }), ({ groupId }) => `created ${groupId}`);
    }
    case 'send': {
      const draft = {
        body: textBody(op.text),
        random: 1,
        clientId: op.text,
        priority: 'Normal',
        isOnlineOnly: op.isLive,
      } as const;
      const input = { actor, from: accountOf(op.from), groupId, draft, deadline: AbortSignal.timeout(10_000) };
      return outcomeOf(await groupMessages.send(input), ({ seq, isRepeat }) => `seq ${seq}${isRepeat ? ' again' : ''}`);
    }
    case 'add':
      return outcomeOf(await groups.add(actor, groupId, ids(op.whom)), (all) =>
        all.map(({ outcome }) => outcome).join(),
      );
    case 'remove':
      return outcomeOf(await groups.remove(actor, groupId, ids(op.whom)));
    case 'quit':
      return outcomeOf(await groups.quit(actor, groupId));
    case 'dismiss':
      return outcomeOf(await groups.dismiss(actor, groupId));
    case 'apply':
      return outcomeOf(await groups.apply(actor, groupId, {}), (value) => value);
    case 'answer': {
      for (;;) {
        const request = await requestOf(groupId, op.kind, op.who);
        const answer = { groupId, agrees: op.agrees, ...request };
        const result = outcomeOf(
          await (op.kind === 'application'
            ? groups.answerApplication(actor, answer)
            : groups.answerInvitation(actor, answer)),
        );
        // Renewed, or made, between the look and the answer: whoever answers has the newer one by then.
        const isStale =
          result === 'GROUP_PARAMETER' && (await requestOf(groupId, op.kind, op.who)).auth !== request.auth;
        if (!isStale) return result;
      }
    }
    case 'transfer':
      return outcomeOf(await groups.transfer(actor, groupId, op.who as AccountId));
    case 'edit': {
      const { role, flag: msgFlag, card: nameCard } = op.set;
      const fields = role !== undefined ? { role } : msgFlag !== undefined ? { msgFlag } : { nameCard: nameCard ?? '' };
      return outcomeOf(await groups.modifyMember(actor, groupId, op.who as AccountId, fields));
    }
    case 'mute':
      return outcomeOf(await groups.mute(actor, groupId, ids(op.whom), op.sec));
    case 'modify':
      return outcomeOf(await groups.modify(actor, groupId, op.fields));
    case 'read':
      return outcomeOf(
        await groupMessages.read(actor, groupId, op.seq),
        ({ readSeq, unread }) => `read ${readSeq} ${unread}`,
      );
    case 'setUnread':
      return outcomeOf(await groupMessages.setUnread(actor, groupId, op.who as AccountId, op.count));
    case 'recall':
      return outcomeOf(
        await groupMessages.recall(actor, groupId, op.seqs),
        (all) => `codes ${all.map(({ code }) => code)}`,
      );
    case 'blank':
      return outcomeOf(await groupMessages.deleteBySender(actor, groupId, op.who as AccountId));
  }
}

/** Every line that the history gives. */
async function historyOf(name: string, groupId: string): Promise<string[] | string> {
  const lines: string[] = [];
  for (let upTo: number | undefined; ; ) {
    const page = await im.groupMessages.history(actorOf(name), groupId, {
      limit: 200,
      ...(upTo === undefined ? {} : { upTo }),
    });
    if (!page.ok) return page.error;
    const { messages, complete } = page.value;
    lines.push(
      ...messages.map(({ seq, message, recalled }) => {
        const text = message === undefined ? '' : textOf(message);
        return `${seq} ${message?.from} ${recalled === true ? 'recalled' : text === '' ? 'blanked' : text}`;
      }),
    );
    const last = messages.at(-1)?.seq ?? 1;
    if (complete && messages.length < 200) return lines.reverse();
    upTo = last - 1;
    if (upTo < 1) return lines.reverse();
  }
}

/** What a terminal that has nothing catches up with: messages, and whether each seq is there once, as one or as a hole. */
async function syncOf(name: string, groupId: string): Promise<GroupView['accounts'][string]['sync']> {
  const seqs: number[] = [];
  const all: number[] = [];
  for (let since = 0; ; ) {
    const page = await sync.sync(actorOf(name), groupId, { since, recallNo: 0, limit: 50 });
    if (!page.ok) return page.error;
    const { messages, holes, throughSeq, more } = page.value;
    seqs.push(...messages.map(({ seq }) => seq));
    all.push(...messages.map(({ seq }) => seq));
    for (const [first, last] of holes) for (let seq = first; seq <= last; seq++) all.push(seq);
    since = throughSeq;
    if (!more) {
      all.sort((a, b) => a - b);
      return { seqs, through: all.every((seq, index) => seq === index + 1) ? all.length : -1 };
    }
  }
}

async function lookAtGroup(groupId: string, isWhole: boolean): Promise<GroupView | 'GROUP_UNKNOWN'> {
  const admin = actorOf('admin');
  const view = await im.groups.view(admin, groupId);
  if (!view.ok) return 'GROUP_UNKNOWN';
  const { group, owner = '' } = view.value;
  const { name, applyOption, maxMembers, isMuted, isHidden, memberCount, conversationId, lastSeq } = group;
  const { rows } = await db.pool.query<Omit<MemberView, 'role'> & { role: number; to: number | null }>(
    `select a.identifier as who, m.from_seq as "from", m.to_seq as "to", m.role, m.msg_flag as flag, m.name_card as card,
       m.joined_sec as joined, m.last_sent_sec as sent, m.read_seq as read
     from member m join account a on a.id = m.account_id where m.conversation_id = $1 and m.role is not null
     order by m.from_seq, a.identifier`,
    [conversationId],
  );
  const roles: readonly Role[] = ['Member', 'Member', 'Admin', 'Owner'];
  const members = rows
    .filter(({ to }) => to === null)
    .map(({ to: _, role, ...rest }) => ({ ...rest, role: roles[role] ?? 'Member' }))
    .sort((a, b) => (a.who < b.who ? -1 : 1));
  const past = rows
    .filter(({ from, to }) => to !== null && to >= from)
    .map(({ who, from, to }) => `${who} ${from}-${to}`)
    .sort();
  const muted = await im.groups.muted(admin, groupId);
  const listed = await im.groups.members(admin, groupId, {});
  const requests = await db.pool.query(
    `select r.kind, a.identifier as name, r.result from group_request r join account a on a.id = r.account_id
     where r.conversation_id = $1`,
    [conversationId],
  );
  const accounts: GroupView['accounts'] = {};
  for (const account of isWhole ? names : []) {
    const [unread = 0] = await sync.unread(accountOf(account), [groupId]);
    accounts[account] = { history: await historyOf(account, groupId), sync: await syncOf(account, groupId), unread };
  }
  return {
    ...{
      profile: { name, applyOption, maxMembers, isMuted },
      owner,
      isHidden,
      memberCount,
      lastSeq,
      members,
      past,
      accounts,
    },
    listed: listed.ok
      ? listed.value.members.map(({ account, role, readSeq }) => `${account} ${role} ${readSeq}`).sort()
      : listed.error,
    muted: muted.ok ? muted.value.map(({ account, untilSec }) => `${account} ${untilSec}`).sort() : muted.error,
    requests: requests.rows
      .map(({ kind, name, result }) => `${kind === 1 ? 'application' : 'invitation'} ${name} ${result ?? ''}`)
      .sort(),
    messages: await historyOf('admin', groupId),
  };
}

async function noticesOf(groupId: string): Promise<GroupNotices> {
  const { rows } = await db.pool.query<{ no: AccountNo; body: string }>(
    `select c.account_a as no, x.body from conversation c join message x on x.conversation_id = c.id and x.seq > c.last_seq - 50
     where c.kind = 3 and c.account_a = any ($1) order by x.seq`,
    [[...nameOf.keys()]],
  );
  const all = rows.map(({ no, body }) => ({ name: nameOf.get(no) ?? '', ...noticeOf(body) }));
  const own = Map.groupBy(
    all.filter((notice) => notice.groupId === groupId),
    ({ name }) => name,
  );
  return Object.fromEntries([...own].map(([name, some]) => [name, some.map(({ line }) => line)]));
}

async function lookAtAccount(name: string): Promise<AccountView> {
  const account = accountOf(name);
  const { notices } = await inbox.sync(account, { since: 0, limit: 1_000 });
  const { unread } = await inbox.state(account);
  const { groups } = await im.groups.joined(account, {});
  const requests = await im.groups.requests(account, { limit: 100_000 });
  const states = await sync.states(account, { limit: 1_000 });
  return {
    notices: notices.map(({ content }) => {
      const { groupId, line } = noticeOf(content);
      return [groupId, line];
    }),
    unreadNotices: unread,
    joined: groups.map(({ group, self, unread }) => `${group.groupId} ${self.role} ${unread}`).sort(),
    unread: await sync.unreadTotal(account),
    states: states.states
      .map(
        ({ groupId, msgFlag, seq, readSeq, unread, last }) =>
          `${groupId} ${msgFlag} ${seq} ${readSeq} ${unread} ${last?.seq}`,
      )
      .sort(),
    requests: requests.map(({ groupId, kind, account, inviter = '', result = '' }) => [
      groupId,
      `${kind} ${account} ${inviter} ${result}`,
    ]),
  };
}

/** What was told of the group until now, also what has to read its members first. */
async function toldOf(groupId: string): Promise<string[]> {
  await im.groups.find(sdkAppId, groupId);
  await new Promise(setImmediate);
  const lines = told.get(groupId) ?? [];
  told.delete(groupId);
  return lines.sort();
}

async function answer(question: Question): Promise<unknown> {
  if (question === 'maintain') return im.maintain();
  if ('account' in question) return lookAtAccount(question.account);
  if ('toldOf' in question) return toldOf(question.toldOf);
  if ('op' in question) {
    const result = await perform(question.groupId, question.op);
    if (!result.startsWith('created ')) return { result, told: await toldOf(question.groupId) };
    const groupId = result.slice(8);
    return { result: 'ok', groupId, told: await toldOf(groupId) };
  }
  const view = await lookAtGroup(question.groupId, question.isWhole);
  const notices = await noticesOf(question.groupId);
  // What comes late of things that were done at the same time is not compared.
  await toldOf(question.groupId);
  return { view, notices };
}

process.on('message', async ({ id, nowMs: at, question }: { id: number; nowMs: number; question: Question }) => {
  nowMs = at;
  try {
    process.send?.({ id, answer: await answer(question) });
  } catch (error) {
    process.send?.({ id, failure: String((error as Error).stack) });
  }
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
