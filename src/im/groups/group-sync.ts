import type { AppLookup } from '../../auth/index.ts';
import type { Database } from '../../store/index.ts';
import type { GroupState, GroupSync } from '../group-services.ts';
import { type MessageRow, messageColumns, toMessage } from '../mailbox/rows.ts';
import type { Account, Clock, ConversationId } from '../model.ts';
import { firstPage } from '../page.ts';
import type { GroupTypeRow } from './group-types.ts';
import { groupRoamingSince } from './messages/history.ts';
import type { createPlaces, Place, SeqRange } from './messages/place.ts';
import type { MsgFlag } from './model.ts';
import { isMember, roleNumbers } from './rows.ts';
import { keptSince, sinceByType, unreadSince } from './unread.ts';

export interface GroupSyncDeps {
  db: Database;
  apps: AppLookup;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  placeOf: ReturnType<typeof createPlaces>;
  clock: Clock;
}

const daySec = 86_400;
const maxRecalls = 1_000;

/** Groups of the account `$1`, as far as it sees them; `$2`: {@link sinceByType}. */
const ownGroups = `member m
  join conversation c on c.id = m.conversation_id
  join chat_group g on g.conversation_id = c.id and g.dismissed_sec is null
    and (not g.is_hidden or m.role = ${roleNumbers.Owner})
  cross join ${keptSince('$2')}`;

interface StateRow {
  id: ConversationId;
  group_id: string;
  type: string;
  msg_flag: MsgFlag;
  from_seq: number;
  cleared_through: number;
  last_seq: number;
  last_time: number;
  last_day: number;
  last_recall: number;
  read_seq: number;
  unread: number;
}

interface HeadRow {
  last_day: number;
  recall_no: number;
  msg_flag: MsgFlag;
  /** What came up to there the member did not want delivered. */
  cleared_through: number;
}

/** What terminals have to know of their account's groups, and the messages after the ones that they have (G35, G39). */
export function createGroupSync({ db, apps, typeOf, placeOf, clock }: GroupSyncDeps): GroupSync {
  const sinceOf = ({ sdkAppId }: Account, type: string) => groupRoamingSince(apps, sdkAppId, type, clock());
  const sinceOfEach = ({ sdkAppId }: Account) => sinceByType(apps, sdkAppId, clock());

  /** The newest message of each that is there to be seen. */
  async function lastOf(account: Account, rows: readonly StateRow[]): Promise<ReadonlyMap<ConversationId, MessageRow>> {
    const shown = rows.filter(({ msg_flag }) => msg_flag !== 'Discard');
    if (shown.length === 0) return new Map();
    const { rows: lasts } = await db.pool.query<MessageRow>({
      name: 'im_groups_last',
      text: `
        select ${messageColumns}
        from unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[]) as w(id, floor, last_day, since)
        cross join lateral (
          select * from message y
          where y.conversation_id = w.id and y.seq > w.floor and y.day between w.since / 86400 and w.last_day
            and y.msg_time >= w.since and y.body <> '[]'
          order by y.seq desc limit 1
        ) x
        join account s on s.id = x.sender_id`,
      values: [
        shown.map(({ id }) => id),
        shown.map((row) => floorOf(row, typeOf(account.sdkAppId, row.type))),
        shown.map(({ last_day }) => last_day),
        shown.map(({ type }) => sinceOf(account, type)),
      ],
    });
    return new Map(lasts.map((row) => [row.conversation_id, row]));
  }

  async function readHead({ no }: Account, id: ConversationId): Promise<HeadRow | undefined> {
    const { rows } = await db.pool.query<HeadRow>({
      name: 'im_group_sync_head',
      text: `
        select c.last_day, c.recall_no, m.msg_flag, m.cleared_through
        from member m join conversation c on c.id = m.conversation_id
        where m.account_id = $1 and m.conversation_id = $2 and ${isMember}`,
      values: [no, id],
    });
    return rows[0];
  }

  /** Messages of one range after another until there are more than `limit`. */
  async function readRanges(
    id: ConversationId,
    ranges: readonly SeqRange[],
    { cutoff, lastDay, limit }: { cutoff: number; lastDay: number; limit: number },
  ): Promise<MessageRow[]> {
    const found: MessageRow[] = [];
    for (const [first, last] of ranges) {
      if (found.length > limit) break;
      const { rows } = await db.pool.query<MessageRow>({
        name: 'im_group_sync',
        text: `
          select ${messageColumns}
          from message x join account s on s.id = x.sender_id
          where x.conversation_id = $1 and x.seq between $2 and $3 and x.day between $4 and $5 and x.msg_time >= $6
          order by x.seq limit $7`,
        values: [id, first, last, Math.floor(cutoff / daySec), lastDay, cutoff, limit + 1 - found.length],
      });
      found.push(...rows);
    }
    return found;
  }

  async function readRecalls(
    id: ConversationId,
    { after, upTo }: { after: number; upTo: number },
    ranges: readonly SeqRange[],
  ): Promise<{ recalled: number[]; recallNo: number }> {
    if (upTo <= after) return { recalled: [], recallNo: upTo };
    const { rows } = await db.pool.query<{ seq: number; recall_no: number }>({
      name: 'im_group_recalls',
      text: `
        select seq, recall_no from message
        -- Above 0, or a plan for any number has no index.
        where conversation_id = $1 and recall_no > 0 and recall_no > $2 and recall_no <= $3 order by recall_no limit ${maxRecalls}`,
      values: [id, after, upTo],
    });
    return {
      recalled: rows.map(({ seq }) => seq).filter((seq) => ranges.some(([first, last]) => seq >= first && seq <= last)),
      recallNo: rows.length < maxRecalls ? upTo : (rows.at(-1)?.recall_no ?? upTo),
    };
  }

  return {
    async states(account, { after = 0, limit }) {
      const { rows } = await db.pool.query<StateRow>({
        name: 'im_group_states',
        text: `
          select c.id, g.group_id, g.type, m.msg_flag, m.from_seq, m.cleared_through, c.last_seq, c.last_time, c.last_day,
            c.recall_no as last_recall, m.read_seq, ${unreadSince('r.since')} as unread
          from ${ownGroups}
          where m.account_id = $1 and ${isMember} and m.conversation_id > $3
          order by m.conversation_id limit $4`,
        values: [account.no, sinceOfEach(account), after, limit + 1],
      });
      const some = rows.slice(0, limit);
      const kept = some.filter(({ type }) => typeOf(account.sdkAppId, type).isStored);
      const lasts = await lastOf(account, kept);
      const end = some.at(-1);
      return {
        states: kept.map((row): GroupState => {
          const last = lasts.get(row.id);
          return {
            groupId: row.group_id,
            msgFlag: row.msg_flag,
            seq: row.last_seq,
            time: row.last_time,
            readSeq: row.read_seq,
            unread: row.unread,
            recallNo: row.last_recall,
            ...(last === undefined ? {} : { last: toMessage(last, account) }),
          };
        }),
        ...(end === undefined || rows.length === some.length ? {} : { after: end.id }),
      };
    },

    async sync(actor, groupId, { since: after, recallNo, limit }) {
      // First what is newest, then the page: a message that comes between the two is news after the page, never a hole in it.
      const place = await placeOf(actor, groupId);
      if (!place.ok) return place;
      const { account } = actor;
      const { conversationId: id, type, lastSeq } = place.value;
      const head = await readHead(account, id);
      if (head === undefined)
        return { ok: false, error: 'GROUP_FORBIDDEN', reason: 'the caller is no member of the group' };
      const readable = deliverable(place.value, head);
      const ranges = readable.flatMap(([first, last]): SeqRange[] =>
        last > after ? [[Math.max(first, after + 1), last]] : [],
      );
      const found =
        ranges.length === 0
          ? []
          : await readRanges(id, ranges, { cutoff: sinceOf(account, type), lastDay: head.last_day, limit });
      const page = firstPage(found.slice(0, limit));
      const more = page.length < found.length;
      const throughSeq = more ? (page.at(-1)?.seq ?? after) : Math.max(after, lastSeq);
      // What was blanked is a hole (G36); what was recalled says so.
      const messages = page
        .filter(({ body, recall_no }) => body !== '[]' || recall_no > 0)
        .map((row) => toMessage(row, account));
      // Also of what was not delivered: the terminal may have it from its history, or from before it was discarded.
      const recalls = await readRecalls(id, { after: recallNo, upTo: head.recall_no }, place.value.readable);
      return {
        ok: true,
        value: {
          messages,
          holes: holesIn(
            after,
            throughSeq,
            messages.map(({ seq }) => seq),
          ),
          throughSeq,
          more,
          ...recalls,
        },
      };
    },

    async unread(account, groupIds) {
      const { rows } = await db.pool.query<{ group_id: string; unread: number }>({
        name: 'im_groups_unread',
        text: `
          select g.group_id, ${unreadSince('r.since')} as unread from ${ownGroups}
          where m.account_id = $1 and ${isMember} and g.group_id = any ($3)`,
        values: [account.no, sinceOfEach(account), [...groupIds]],
      });
      const counts = new Map(rows.map(({ group_id, unread }) => [group_id, unread]));
      return groupIds.map((groupId) => counts.get(groupId) ?? 0);
    },

    async unreadTotal(account) {
      const { rows } = await db.pool.query<{ total: number }>({
        name: 'im_groups_unread_total',
        text: `select coalesce(sum(${unreadSince('r.since')}), 0)::bigint as total from ${ownGroups} where m.account_id = $1 and ${isMember}`,
        values: [account.no, sinceOfEach(account)],
      });
      return rows[0]?.total ?? 0;
    },
  };
}

/** Up to where the member of that stay has nothing to see. */
function floorOf(stay: Pick<StateRow, 'from_seq' | 'cleared_through'>, { showsEarlier }: GroupTypeRow): number {
  return Math.max(stay.cleared_through, showsEarlier ? 0 : stay.from_seq - 1);
}

/** What a member gets of what may be read (G39), the oldest first: nothing while it discards, nor what it discarded (G26). */
function deliverable({ row, readable }: Place, { msg_flag, cleared_through }: HeadRow): SeqRange[] {
  if (!row.isStored || msg_flag === 'Discard') return [];
  return readable
    .flatMap(([first, last]): SeqRange[] =>
      last > cleared_through ? [[Math.max(first, cleared_through + 1), last]] : [],
    )
    .filter(([first, last]) => first <= last)
    .reverse();
}

/** The seqs after `after` up to `through` that are not among `seqs`, which ascend. */
export function holesIn(after: number, through: number, seqs: readonly number[]): SeqRange[] {
  const holes: SeqRange[] = [];
  let next = after + 1;
  for (const seq of [...seqs, through + 1]) {
    if (seq > next) holes.push([next, seq - 1]);
    next = seq + 1;
  }
  return holes;
}
