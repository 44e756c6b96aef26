import { type RawBuilder, sql, type Transaction } from 'kysely';
import type { Database, Schema } from '../../store/index.ts';
import {
  type AfterCommand,
  type GroupNotice,
  type GroupTip,
  type ImResult,
  noticeContent,
  packCallbackNotes,
  tipBody,
} from '../../wire/index.ts';
import type { Account, AccountNo, Clock, ConversationId } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import type { GroupTypeRow } from './group-types.ts';
import type { ApplyOption, CustomFields, Group, GroupMember, GroupRole, MsgFlag } from './model.ts';
import {
  type GroupRow,
  groupColumns,
  isMember,
  type MemberRow,
  memberColumns,
  memberTables,
  roleNumbers,
  toGroup,
  toMember,
} from './rows.ts';

/** Who is told of a change once it is committed. In the order in which they were stored. */
export interface GroupNews {
  readonly group: Group;
  /** What members see in the group: `seq` 0 is for those online alone. */
  readonly tips: readonly {
    readonly seq: number;
    readonly sec: number;
    readonly operator: Account;
    readonly body: string;
  }[];
  readonly notices: readonly {
    readonly to: AccountNo;
    readonly seq: number;
    readonly sec: number;
    readonly body: string;
  }[];
  readonly joined: readonly GroupMember[];
  readonly left: readonly AccountNo[];
  /** Members whose rows are other ones now. */
  readonly changed: readonly GroupMember[];
  readonly isDismissed: boolean;
  /** `group.authEpoch` before it: whoever knows the group by another one has missed something. */
  readonly epochBefore: number;
}

/** A group under its lock: nobody else changes it or stores a message in it until this ends (DESIGN §6). */
export interface OpenChange {
  /** As it stands, with what this change has done so far. */
  readonly group: Group;
  readonly type: GroupTypeRow;
  readonly tx: Transaction<Schema>;
  /** Unix seconds. */
  readonly nowSec: number;
  members(nos: readonly AccountNo[]): Promise<Map<AccountNo, GroupMember>>;
  /** Owner and admins. */
  managers(): Promise<GroupMember[]>;
  everybody(): Promise<GroupMember[]>;
  /**
   * Begins stays of accounts that are no members: their first seq is the next one, everything before counts as read. With one that is
   * deleted the whole change is refused.
   */
  join(
    accounts: readonly { account: Account; role?: GroupRole; joinedSec?: number; custom?: CustomFields }[],
  ): Promise<void>;
  /** Ends stays; whoever is no member is left alone. */
  leave(nos: readonly AccountNo[]): Promise<void>;
  setGroup(fields: Partial<Pick<Group, SettableField>>): Promise<void>;
  setMember(
    no: AccountNo,
    fields: { role?: GroupRole; msgFlag?: MsgFlag; nameCard?: string; custom?: CustomFields },
  ): Promise<void>;
  /** 0: may send again. */
  mute(nos: readonly AccountNo[], untilSec: number): Promise<void>;
  dismiss(): Promise<void>;
  /**
   * Members hear of it as the type has it (G33): in the group, or those online alone. Where it has no notices nobody hears of who comes and
   * goes, and those online of everything else (G9).
   */
  tip(operator: Account, tip: GroupTip): void;
  notice(to: readonly AccountNo[], notice: Omit<GroupNotice, 'groupId' | 'groupName'>): void;
  /** The app's backend is told, if it wants to be (K3). */
  callback(command: AfterCommand, fields: Record<string, unknown>, by: { origin: unknown }): void;
}

type SettableField =
  | 'name'
  | 'introduction'
  | 'notification'
  | 'faceUrl'
  | 'owner'
  | 'maxMembers'
  | 'applyOption'
  | 'isMuted'
  | 'isHidden'
  | 'custom';

export interface GroupChanges {
  /**
   * Changes a group in one transaction, under its lock: everything that `fn` does and causes is committed, or, when it refuses or
   * throws, nothing. Refuses with GROUP_UNKNOWN where there is no such group.
   */
  run<T>(conversationId: ConversationId, fn: (change: OpenChange) => Promise<ImResult<T>>): Promise<ImResult<T>>;
  /** The same of a group that is made in it. */
  make<T>(group: NewGroup, fn: (change: OpenChange) => Promise<ImResult<T>>): Promise<ImResult<T>>;
}

export interface NewGroup {
  readonly sdkAppId: number;
  readonly groupId: string;
  readonly type: string;
  readonly name: string;
  readonly introduction: string;
  readonly notification: string;
  readonly faceUrl: string;
  readonly owner: AccountNo | undefined;
  readonly maxMembers: number;
  readonly applyOption: ApplyOption;
  readonly isHidden: boolean;
  readonly custom: CustomFields;
  readonly createdSec: number;
}

export function createGroupChanges(deps: {
  db: Database;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  ports: Pick<ImPorts, 'consumers' | 'written'>;
  clock: Clock;
  /** Once it is committed. */
  onChanged(news: GroupNews): void;
}): GroupChanges {
  const { db, typeOf, ports, clock, onChanged } = deps;

  async function inTransaction<T>(
    open: (tx: Transaction<Schema>) => Promise<Group | undefined>,
    fn: (change: OpenChange) => Promise<ImResult<T>>,
  ): Promise<ImResult<T>> {
    let news: GroupNews | undefined;
    let written: AfterCommand[] = [];
    try {
      const result = await db.kysely.transaction().execute(async (tx) => {
        const group = await open(tx);
        if (group === undefined) throw new Refused({ ok: false, error: 'GROUP_UNKNOWN' });
        const nowMs = clock();
        const change = createChange(tx, group, typeOf(group.sdkAppId, group.type), nowMs);
        const done = await fn(change);
        if (!done.ok) throw new Refused(done);
        ({ news, written } = await change.finish(ports, nowMs));
        return done;
      });
      if (news !== undefined) {
        onChanged(news);
        for (const command of written) ports.written?.(news.group.sdkAppId, String(news.group.conversationId), command);
      }
      return result;
    } catch (error) {
      if (error instanceof Refused) return error.refusal as ImResult<T>;
      throw error;
    }
  }

  return {
    run: (conversationId, fn) =>
      inTransaction(async (tx) => {
        // First the lock, then the look: what a statement reads beside a row it waits for may be older than that row.
        await sql`select from conversation where id = ${conversationId} for update`.execute(tx);
        return await readGroup(tx, conversationId);
      }, fn),
    make: (group, fn) => inTransaction((tx) => makeGroup(tx, group), fn),
  };
}

const comingsAndGoings: ReadonlySet<GroupTip['kind']> = new Set(['join', 'quit', 'kick']);

/** Nobody is asked about tips, or told of them. */
const tipNotes = packCallbackNotes({ consumers: 0, before: 'unasked-kind', after: 'kind' });

/** Ends the transaction. */
class Refused extends Error {
  readonly refusal: ImResult<unknown>;
  constructor(refusal: ImResult<unknown>) {
    super('refused');
    this.refusal = refusal;
  }
}

async function readGroup(tx: Transaction<Schema>, conversationId: ConversationId): Promise<Group | undefined> {
  const { rows } = await sql<GroupRow>`
    select ${sql.raw(groupColumns)} from chat_group g join conversation c on c.id = g.conversation_id
    where g.conversation_id = ${conversationId} and g.dismissed_sec is null`.execute(tx);
  return rows[0] === undefined ? undefined : toGroup(rows[0]);
}

async function makeGroup(tx: Transaction<Schema>, group: NewGroup): Promise<Group | undefined> {
  const { rows } = await sql<{ id: ConversationId }>`
    insert into conversation (sdk_app_id, kind) values (${group.sdkAppId}, 2) returning id`.execute(tx);
  const id = rows[0]?.id as ConversationId;
  const made = await sql`
    insert into chat_group (
      conversation_id, sdk_app_id, group_id, type, name, introduction, notification, face_url, owner_id, max_members, apply_option,
      is_hidden, custom, created_sec, info_sec
    ) values (
      ${id}, ${group.sdkAppId}, ${group.groupId}, ${group.type}, ${group.name}, ${group.introduction}, ${group.notification},
      ${group.faceUrl}, ${group.owner ?? null}, ${group.maxMembers}, ${group.applyOption}, ${group.isHidden},
      ${JSON.stringify(group.custom)}, ${group.createdSec}, ${group.createdSec}
    )
    on conflict (sdk_app_id, group_id) where dismissed_sec is null do nothing`.execute(tx);
  if (made.numAffectedRows === 0n) {
    const { rows: taken } = await sql<{ owner_id: AccountNo | null }>`
      select owner_id from chat_group
      where sdk_app_id = ${group.sdkAppId} and group_id = ${group.groupId} and dismissed_sec is null`.execute(tx);
    const isOwn = group.owner !== undefined && taken[0]?.owner_id === group.owner;
    throw new Refused({ ok: false, error: isOwn ? 'GROUP_ID_OWN' : 'GROUP_ID_TAKEN', field: 'GroupId' });
  }
  return await readGroup(tx, id);
}

const groupColumnOf: Readonly<Record<SettableField, string>> = {
  name: 'name',
  introduction: 'introduction',
  notification: 'notification',
  faceUrl: 'face_url',
  owner: 'owner_id',
  maxMembers: 'max_members',
  applyOption: 'apply_option',
  isMuted: 'is_muted',
  isHidden: 'is_hidden',
  custom: 'custom',
};
/** Fields that are the profile, of which InfoSeq and LastInfoTime tell. */
const profileFields: ReadonlySet<string> = new Set([
  'name',
  'introduction',
  'notification',
  'faceUrl',
  'owner',
  'maxMembers',
  'applyOption',
  'isMuted',
  'custom',
] satisfies SettableField[]);

function createChange(tx: Transaction<Schema>, locked: Group, type: GroupTypeRow, nowMs: number) {
  let group = locked;
  const id = locked.conversationId;
  const nowSec = Math.floor(nowMs / 1_000);
  const tips: { operator: Account; tip: GroupTip }[] = [];
  const notices: { to: AccountNo; body: string }[] = [];
  const callbacks: { command: AfterCommand; fields: Record<string, unknown>; origin: unknown }[] = [];
  const joined: AccountNo[] = [];
  const left: AccountNo[] = [];
  const changed = new Set<AccountNo>();
  /** Something is not as memory has it anywhere: messages on their way are authorised anew, and say of their sender what is so now (G25). */
  let isRaised = false;
  let isDismissed = false;

  async function selectMembers(condition: RawBuilder<unknown>): Promise<GroupMember[]> {
    const { rows } = await sql<MemberRow>`
      select ${sql.raw(memberColumns)} from ${sql.raw(memberTables)}
      where m.conversation_id = ${id} and ${sql.raw(isMember)} and ${condition}`.execute(tx);
    return rows.map(toMember);
  }

  const change: OpenChange = {
    get group() {
      return group;
    },
    type,
    tx,
    nowSec,
    async members(nos) {
      if (nos.length === 0) return new Map();
      return new Map((await selectMembers(sql`m.account_id = any (${[...nos]})`)).map((one) => [one.no, one]));
    },
    managers: () => selectMembers(sql`m.role > ${roleNumbers.Member}`),
    everybody: () => selectMembers(sql`true`),
    async join(accounts) {
      if (accounts.length === 0) return;
      const flag = type.defaultMsgFlag;
      const nos = accounts.map(({ account }) => account.no);
      // Since it was looked for, perhaps by another process.
      const { rows: deleted } = await sql`
        select from account where id = any (${nos}::bigint[]) and deleted_ms is not null limit 1`.execute(tx);
      if (deleted.length > 0) {
        throw new Refused({
          ok: false,
          error: 'GROUP_ACCOUNT_UNKNOWN',
          reason: 'an account has been deleted meanwhile',
        });
      }
      await sql`
        insert into member (
          account_id, conversation_id, from_seq, read_seq, read_time, read_counted, role, joined_sec, msg_flag, name_card, custom,
          last_sent_sec, cleared_through
        )
        select t.account_id, c.id, c.last_seq + 1, c.last_seq, ${nowSec}, c.counted, t.role, t.joined_sec, ${flag}, '', t.custom, 0,
          -- What came while it discarded in earlier stays is not synced in this one either (G26).
          coalesce(earlier.cleared_through, 0)
        from conversation c, unnest(
          ${nos}::bigint[],
          ${accounts.map(({ role = 'Member' }) => roleNumbers[role])}::smallint[],
          ${accounts.map(({ joinedSec = nowSec }) => joinedSec)}::bigint[],
          ${accounts.map(({ custom = {} }) => JSON.stringify(custom))}::text[]
        ) as t(account_id, role, joined_sec, custom)
        left join (
          select account_id, max(cleared_through) as cleared_through from member
          where conversation_id = ${id} and account_id = any (${nos}::bigint[]) and cleared_through > 0 group by account_id
        ) earlier on earlier.account_id = t.account_id
        where c.id = ${id}
        -- A stay that ended before anything was said in it.
        on conflict (account_id, conversation_id, from_seq) do update set
          to_seq = null, read_seq = excluded.read_seq, read_time = excluded.read_time, read_counted = excluded.read_counted,
          uncounted_after_read = 0, role = excluded.role, joined_sec = excluded.joined_sec, msg_flag = excluded.msg_flag,
          name_card = '', custom = excluded.custom, last_sent_sec = 0, cleared_through = excluded.cleared_through`.execute(
        tx,
      );
      await sql`update chat_group set member_count = member_count + ${accounts.length} where conversation_id = ${id}`.execute(
        tx,
      );
      group = { ...group, memberCount: group.memberCount + accounts.length };
      joined.push(...nos);
      isRaised = true;
    },
    async leave(nos) {
      const { rows } = await sql<{ account_id: AccountNo }>`
        update member m set to_seq = c.last_seq,
          -- Who discards to the end has not had it delivered (G26).
          cleared_through = case m.msg_flag when 'Discard' then c.last_seq else m.cleared_through end
        from conversation c
        where c.id = ${id} and m.conversation_id = ${id} and m.account_id = any (${[...nos]}) and ${sql.raw(isMember)}
        returning m.account_id`.execute(tx);
      if (rows.length === 0) return;
      await sql`update chat_group set member_count = member_count - ${rows.length} where conversation_id = ${id}`.execute(
        tx,
      );
      group = { ...group, memberCount: group.memberCount - rows.length };
      left.push(...rows.map(({ account_id }) => account_id));
      isRaised = true;
    },
    async setGroup(fields) {
      const entries = Object.entries(fields).filter(
        // A group without an owner.
        ([field, value]) => value !== undefined || field === 'owner',
      ) as [SettableField, unknown][];
      if (entries.length === 0) return;
      const isProfile = entries.some(([field]) => profileFields.has(field));
      const sets = entries.map(
        ([field, value]) =>
          sql`${sql.ref(groupColumnOf[field])} = ${field === 'custom' ? JSON.stringify(value) : (value ?? null)}`,
      );
      if (isProfile) sets.push(sql`info_seq = info_seq + 1`, sql`info_sec = ${nowSec}`);
      await sql`update chat_group set ${sql.join(sets)} where conversation_id = ${id}`.execute(tx);
      group = {
        ...group,
        ...fields,
        ...(isProfile ? { infoSeq: group.infoSeq + 1, infoSec: nowSec } : {}),
      };
      isRaised = true;
    },
    async setMember(no, { role, msgFlag, nameCard, custom }) {
      const sets = [
        ...(role === undefined ? [] : [sql`role = ${roleNumbers[role]}`]),
        ...(msgFlag === undefined ? [] : [sql`msg_flag = ${msgFlag}`]),
        ...(nameCard === undefined ? [] : [sql`name_card = ${nameCard}`]),
        ...(custom === undefined ? [] : [sql`custom = ${JSON.stringify(custom)}`]),
      ];
      if (sets.length === 0) return;
      await sql`
        update member m set ${sql.join(sets)}
        where m.conversation_id = ${id} and m.account_id = ${no} and ${sql.raw(isMember)}`.execute(tx);
      changed.add(no);
      isRaised = true;
    },
    async mute(nos, untilSec) {
      await sql`
        insert into group_mute (conversation_id, account_id, until_sec)
        select ${id}, unnest(${[...nos]}::bigint[]), ${untilSec}
        on conflict (conversation_id, account_id) do update set until_sec = excluded.until_sec`.execute(tx);
      for (const no of nos) changed.add(no);
      isRaised = true;
    },
    async dismiss() {
      await sql`update chat_group set dismissed_sec = ${nowSec} where conversation_id = ${id}`.execute(tx);
      const { rows } = await sql<{ account_id: AccountNo }>`
        update member m set to_seq = c.last_seq from conversation c
        where c.id = ${id} and m.conversation_id = ${id} and ${sql.raw(isMember)} returning m.account_id`.execute(tx);
      left.push(...rows.map(({ account_id }) => account_id));
      isDismissed = true;
      isRaised = true;
    },
    tip: (operator, tip) => void tips.push({ operator, tip }),
    notice(to, notice) {
      const body = JSON.stringify(noticeContent({ ...notice, groupId: group.groupId, groupName: group.name }));
      // To others than its owner a group that is hidden is not there.
      for (const no of to) if (!group.isHidden || no === group.owner) notices.push({ to: no, body });
    },
    callback: (command, fields, { origin }) => void callbacks.push({ command, fields, origin }),
  };

  /** Writes down what the change causes. */
  async function finish(
    ports: Pick<ImPorts, 'consumers'>,
    atMs: number,
  ): Promise<{ news: GroupNews; written: AfterCommand[] }> {
    if (isRaised) {
      await sql`update conversation set auth_epoch = auth_epoch + 1 where id = ${id}`.execute(tx);
      group = { ...group, authEpoch: group.authEpoch + 1 };
    }
    const told = [];
    for (const { operator, tip } of isDismissed ? [] : tips) {
      if (type.changeNotice === 'none' && comingsAndGoings.has(tip.kind)) continue;
      const body = JSON.stringify(tipBody(tip));
      const stored = type.changeNotice === 'strong' ? await storeTip(operator, body, atMs) : { seq: 0, sec: nowSec };
      told.push({ ...stored, operator, body });
    }
    const sent = notices.length === 0 ? [] : await storeNotices(atMs);
    const written: AfterCommand[] = [];
    for (const { command, fields, origin } of callbacks) {
      const consumers = ports.consumers?.(group.sdkAppId, command) ?? 0;
      if (consumers === 0) continue;
      await sql`
        select outbox_event(
          ${consumers}, ${group.sdkAppId}, ${String(id)}, ${command}, ${JSON.stringify({ fields, origin })}, ${atMs}
        )`.execute(tx);
      written.push(command);
    }
    const rows = joined.length + changed.size === 0 ? new Map() : await change.members([...joined, ...changed]);
    const membersOf = (nos: Iterable<AccountNo>) => [...nos].flatMap((no) => rows.get(no) ?? []);
    return {
      news: {
        group,
        tips: told,
        notices: sent,
        joined: membersOf(joined),
        left,
        changed: membersOf(changed),
        isDismissed,
        epochBefore: locked.authEpoch,
      },
      written,
    };
  }

  async function storeTip(operator: Account, body: string, atMs: number): Promise<{ seq: number; sec: number }> {
    const { rows } = await sql<{ seq: number; msg_time: number }>`
      select seq, msg_time from im_commit_one(
        ${atMs}, ${id}, ${operator.no}, ${group.authEpoch}, null, 0, ${nowSec}, 0, 0, 0::smallint, ${type.countsUnread}, 0,
        ${tipNotes}::smallint, ${body}, null, null, null, '{"tip":true}'
      )`.execute(tx);
    const { seq, msg_time: sec } = rows[0] ?? { seq: 0, msg_time: nowSec };
    group = { ...group, lastSeq: seq, lastSec: sec };
    return { seq, sec };
  }

  async function storeNotices(atMs: number): Promise<GroupNews['notices']> {
    const { rows } = await sql<{ account_id: AccountNo; seq: number; msg_time: number }>`
      select account_id, seq, msg_time from im_notices(
        ${group.sdkAppId}, ${notices.map(({ to }) => to)}, ${notices.map(({ body }) => body)}, ${atMs}
      )`.execute(tx);
    // Of one account in the order of its notices.
    const byAccount = Map.groupBy(
      rows.toSorted((a, b) => a.seq - b.seq),
      ({ account_id }) => account_id,
    );
    return notices.flatMap(({ to, body }) => {
      const row = byAccount.get(to)?.shift();
      return row === undefined ? [] : [{ to, seq: row.seq, sec: row.msg_time, body }];
    });
  }

  return Object.assign(change, { finish });
}
