import { LRUCache } from 'lru-cache';
import type { Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import type { Roster } from '../group-services.ts';
import type { AccountNo, ConversationId } from '../model.ts';
import type { GroupMember } from './model.ts';
import type { GroupNews } from './open-change.ts';
import {
  type GroupRow,
  groupColumns,
  isMember,
  type MemberRow,
  memberColumns,
  memberTables,
  toGroup,
  toMember,
} from './rows.ts';

/**
 * Groups with their members in memory: who may send is asked at each message, and whom to tell. Every change of what is here raises the
 * group's epoch. So what has changed elsewhere shows at the commit, which compares it (DESIGN §6), and to whoever asks for `current`: no
 * process depends on news from another one.
 */
export interface Rosters {
  /** From memory where it can: for what a commit compares afterwards. Undefined: there is no such group. */
  get(sdkAppId: SdkAppId, groupId: string): Promise<Roster | undefined>;
  /** As it stands in the database, for one look into it where memory has it so; `lastSeq` and `lastSec`, too. */
  current(sdkAppId: SdkAppId, groupId: string): Promise<Roster | undefined>;
  /** A change of this process is committed. */
  apply(news: GroupNews): void;
  /** What is in memory of it, for whoever tells members; undefined: nothing. */
  peek(conversationId: ConversationId): Roster | undefined;
}

interface LiveRoster extends Roster {
  readonly members: Map<AccountNo, GroupMember>;
}

interface HeadRow {
  id: ConversationId;
  auth_epoch: number;
  last_seq: number;
  last_time: number;
}

/** Reads of one group at a time, however many ask. */
export function createRosters(
  deps: { db: Database; metrics: Metrics },
  { maxMembers = 1_000_000 }: { maxMembers?: number } = {},
): Rosters {
  const { db, metrics } = deps;
  const known = new LRUCache<ConversationId, LiveRoster>({
    maxSize: maxMembers,
    sizeCalculation: ({ members }) => members.size + 1,
    dispose: ({ group }) => void ids.delete(keyOf(group.sdkAppId, group.groupId)),
    noDisposeOnSet: true,
  });
  const ids = new Map<string, ConversationId>();
  const reading = new Map<string, Promise<LiveRoster | undefined>>();
  metrics.gaugeOf('qalgate_im_groups_cached', 'Groups in memory', () => known.size);
  metrics.gaugeOf('qalgate_im_group_members_cached', 'Members of groups in memory', () => known.calculatedSize);

  /** Group and members as of one moment, whatever happens meanwhile. */
  async function read(condition: string, values: unknown[], attempts = 5): Promise<LiveRoster | undefined> {
    const { rows } = await db.pool.query<GroupRow>({
      name: `im_group_${values.length}`,
      text: `select ${groupColumns} from chat_group g join conversation c on c.id = g.conversation_id
        where ${condition} and g.dismissed_sec is null`,
      values,
    });
    const [row] = rows;
    if (row === undefined) return undefined;
    const group = toGroup(row);
    const { rows: members } = await db.pool.query<(MemberRow | { account_id: null }) & { epoch: number }>({
      name: 'im_group_members',
      text: `
        select ${memberColumns}, c.auth_epoch as epoch
        from chat_group g join conversation c on c.id = g.conversation_id
          left join (${memberTables}) on m.conversation_id = g.conversation_id and ${isMember}
        where g.conversation_id = $1 and g.dismissed_sec is null`,
      values: [group.conversationId],
    });
    const [first] = members;
    // Dismissed meanwhile.
    if (first === undefined) return undefined;
    // Changed meanwhile. Where it never rests, members of a later epoch are no harm: it is not the database's any more, and is read anew.
    if (first.epoch !== group.authEpoch && attempts > 1) return read(condition, values, attempts - 1);
    const roster = {
      group,
      members: new Map(members.flatMap((one) => (one.account_id === null ? [] : [[one.account_id, toMember(one)]]))),
    };
    keep(roster);
    return roster;
  }

  function keep(roster: LiveRoster): void {
    const { group } = roster;
    const old = known.peek(group.conversationId);
    // A change of this process may have been applied while it was read.
    if (old !== undefined && old.group.authEpoch > group.authEpoch) return;
    known.set(group.conversationId, roster);
    ids.set(keyOf(group.sdkAppId, group.groupId), group.conversationId);
  }

  async function readHead(sdkAppId: SdkAppId, groupId: string): Promise<HeadRow | undefined> {
    const { rows } = await db.pool.query<HeadRow>({
      name: 'im_group_head',
      text: `
        select c.id, c.auth_epoch, c.last_seq, c.last_time from chat_group g join conversation c on c.id = g.conversation_id
        where g.sdk_app_id = $1 and g.group_id = $2 and g.dismissed_sec is null`,
      values: [sdkAppId, groupId],
    });
    return rows[0];
  }

  const readById = (id: ConversationId) => once(`#${id}`, () => read('g.conversation_id = $1', [id]));

  /** Of that epoch, or a newer one; undefined: it was dismissed meanwhile. */
  async function rosterOf({ id, auth_epoch: epoch }: HeadRow): Promise<LiveRoster | undefined> {
    const found = known.get(id);
    if (found !== undefined && found.group.authEpoch >= epoch) return found;
    const roster = await readById(id);
    // One that was being read already may be of before.
    return roster !== undefined && roster.group.authEpoch < epoch ? await readById(id) : roster;
  }

  function once(key: string, fn: () => Promise<LiveRoster | undefined>): Promise<LiveRoster | undefined> {
    let promise = reading.get(key);
    if (promise === undefined) {
      promise = fn().finally(() => reading.delete(key));
      reading.set(key, promise);
    }
    return promise;
  }

  return {
    async get(sdkAppId, groupId) {
      const key = keyOf(sdkAppId, groupId);
      const id = ids.get(key);
      const found = id === undefined ? undefined : known.get(id);
      return found ?? (await once(key, () => read('g.sdk_app_id = $1 and g.group_id = $2', [sdkAppId, groupId])));
    },
    async current(sdkAppId, groupId) {
      const head = await readHead(sdkAppId, groupId);
      const id = ids.get(keyOf(sdkAppId, groupId));
      // Dismissed elsewhere; another one may have its id by now.
      if (id !== undefined && id !== head?.id) known.delete(id);
      const roster = head === undefined ? undefined : await rosterOf(head);
      if (head === undefined || roster === undefined) return undefined;
      const { group, members } = roster;
      const lastSeq = Math.max(group.lastSeq, head.last_seq);
      return { group: { ...group, lastSeq, lastSec: Math.max(group.lastSec, head.last_time) }, members };
    },
    apply({ group, joined, left, changed, isDismissed, epochBefore }) {
      if (isDismissed) {
        known.delete(group.conversationId);
        return;
      }
      const old = known.peek(group.conversationId);
      if (old === undefined) {
        // Made just now: everybody in it is known.
        if (joined.length === group.memberCount) {
          keep({ group, members: new Map(joined.map((member) => [member.no, member])) });
        }
        return;
      }
      // Somebody else has changed it before, or a later change of this process was told of first: it is read anew.
      if (old.group.authEpoch !== epochBefore) {
        known.delete(group.conversationId);
        return;
      }
      const { members } = old;
      for (const no of left) members.delete(no);
      for (const member of [...joined, ...changed]) members.set(member.no, member);
      // Somebody else has changed it as well: what it has is read anew.
      if (members.size === group.memberCount) keep({ group, members });
      else known.delete(group.conversationId);
    },
    peek: (conversationId) => known.peek(conversationId),
  };
}

function keyOf(sdkAppId: SdkAppId, groupId: string): string {
  return `${sdkAppId}/${groupId}`;
}
