import { type RawBuilder, sql, type Transaction } from 'kysely';
import type { Schema } from '../../store/index.ts';
import type { AfterCommand, GroupNotice, GroupTip, ImResult } from '../../wire/index.ts';
import type { Account, AccountNo } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import { createConsequences, type StoredNotice, type StoredTip } from './consequences.ts';
import type { GroupTypeRow } from './group-types.ts';
import type { CustomFields, Group, GroupMember, GroupRole, MsgFlag } from './model.ts';
import { isMember, type MemberRow, memberColumns, memberTables, roleNumbers, toMember } from './rows.ts';

/** Who is told of a change once it is committed. In the order in which they were stored. */
export interface GroupNews {
  readonly group: Group;
  /** What members see in the group: `seq` 0 is for those online alone. */
  readonly tips: readonly StoredTip[];
  readonly notices: readonly StoredNotice[];
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
   * Refuses the whole change where one of the accounts is deleted; until it ends a deletion of them waits, and then finds what it has made of
   * them. All that a change is about at once: whoever locks several accounts does so in order of names.
   */
  hold(nos: readonly AccountNo[]): Promise<void>;
  /** Begins stays of accounts, which it holds, and which are no members: their first seq is the next one, everything before counts as read. */
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
   * goes, but whoever joins of that, and those online of everything else (G9).
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

/** Ends the transaction. */
export class Refused extends Error {
  readonly refusal: ImResult<unknown>;
  constructor(refusal: ImResult<unknown>) {
    super('refused');
    this.refusal = refusal;
  }
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

/** `finish` writes down what the change has caused. */
export function createChange(
  tx: Transaction<Schema>,
  locked: Group,
  { type, nowMs }: { type: GroupTypeRow; nowMs: number },
): OpenChange & {
  finish(ports: Pick<ImPorts, 'consumers'>): Promise<{ news: GroupNews; written: AfterCommand[] }>;
} {
  let group = locked;
  const id = locked.conversationId;
  const nowSec = Math.floor(nowMs / 1_000);
  const consequences = createConsequences(tx, type, nowMs);
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
    async hold(nos) {
      if (nos.length === 0) return;
      const { rows } = await sql<{ deleted_ms: number | null }>`
        select deleted_ms from account where id = any (${[...nos]}::bigint[]) order by identifier for share`.execute(
        tx,
      );
      // Since it was looked for, perhaps by another process.
      if (rows.every(({ deleted_ms }) => deleted_ms === null)) return;
      throw new Refused({ ok: false, error: 'GROUP_ACCOUNT_UNKNOWN', reason: 'an account has been deleted meanwhile' });
    },
    async join(accounts) {
      if (accounts.length === 0) return;
      const flag = type.defaultMsgFlag;
      const nos = accounts.map(({ account }) => account.no);
      await change.hold(nos);
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
      for (const { account_id: no } of rows) left.push(no);
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
      for (const { account_id: no } of rows) left.push(no);
      isDismissed = true;
      isRaised = true;
    },
    tip: consequences.tip,
    notice: (to, notice) => consequences.notice(group, to, notice),
    callback: consequences.callback,
  };

  return Object.assign(change, {
    async finish(ports: Pick<ImPorts, 'consumers'>) {
      if (isRaised) {
        await sql`update conversation set auth_epoch = auth_epoch + 1 where id = ${id}`.execute(tx);
        group = { ...group, authEpoch: group.authEpoch + 1 };
      }
      const {
        lastSeq = group.lastSeq,
        lastSec = group.lastSec,
        written,
        ...told
      } = await consequences.store(ports, group, isDismissed);
      group = { ...group, lastSeq, lastSec };
      const rows = joined.length + changed.size === 0 ? new Map() : await change.members([...joined, ...changed]);
      const membersOf = (nos: Iterable<AccountNo>): GroupMember[] => [...nos].flatMap((no) => rows.get(no) ?? []);
      const news: GroupNews = {
        group,
        ...told,
        joined: membersOf(joined),
        left,
        changed: membersOf(changed),
        isDismissed,
        epochBefore: locked.authEpoch,
      };
      return { news, written };
    },
  });
}
