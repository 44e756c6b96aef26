import type { AppLookup } from '../../../auth/index.ts';
import type { Database } from '../../../store/index.ts';
import type { GroupMessages, GroupPage } from '../../group-services.ts';
import { type MessageRow, messageColumns, toMessage } from '../../mailbox/rows.ts';
import type { Account, Clock, ConversationId } from '../../model.ts';
import { firstPage } from '../../page.ts';
import { groupRoamingDaysOf } from '../settings.ts';
import type { createPlaces, SeqRange } from './place.ts';

export interface HistoryDeps {
  db: Database;
  apps: AppLookup;
  placeOf: ReturnType<typeof createPlaces>;
  clock: Clock;
}

const daySec = 86_400;

/** The oldest time, Unix seconds, of a message that groups of the type still have (G23). */
export function groupRoamingSince(apps: AppLookup, sdkAppId: number, type: string, nowMs: number): number {
  const app = apps.get(sdkAppId);
  return Math.floor(nowMs / 1_000) - (app === undefined ? 0 : groupRoamingDaysOf(app, type)) * daySec;
}

/**
 * A group's history by seq, the newest first (G37): what members may read of it (G39), or all. Each seq that has not expired is there, once:
 * one that was recalled or deleted is a hole, with an empty body. Times rise with seqs, so with the first that has expired it ends: what was
 * asked for from there on is `expired`.
 */
export function createGroupHistory({ db, apps, placeOf, clock }: HistoryDeps): GroupMessages['history'] {
  return async (actor, groupId, { upTo, limit }) => {
    const found = await placeOf(actor, groupId);
    if (!found.ok) return found;
    const { conversationId, type, row, readable } = found.value;
    if (!row.isStored) return { ok: true, value: { messages: [], complete: true } };
    const since = groupRoamingSince(apps, actor.account.sdkAppId, type, clock());
    const rows: MessageRow[] = [];
    const expired: SeqRange[] = [];
    for (const [first, last] of newest(readable, upTo, limit)) {
      const some = expired.length > 0 ? [] : await readRange(db, conversationId, [first, last], since);
      rows.push(...some);
      if (some.length < last - first + 1) expired.push([first, last - some.length]);
    }
    const page = toPage(rows, actor.account);
    return { ok: true, value: page.complete && expired.length > 0 ? { ...page, expired } : page };
  };
}

/** Of ranges, which descend, the `limit` newest seqs up to `upTo`. */
export function newest(
  ranges: readonly SeqRange[],
  upTo: number | undefined = Number.MAX_SAFE_INTEGER,
  limit: number,
): SeqRange[] {
  let left = limit;
  return ranges.flatMap(([first, end]) => {
    const last = Math.min(end, upTo);
    const from = Math.max(first, last - left + 1);
    if (from > last || left <= 0) return [];
    left -= last - from + 1;
    return [[from, last] as const];
  });
}

/** The messages of those seqs that are still there, the newest first. */
async function readRange(
  db: Database,
  conversationId: ConversationId,
  [first, last]: SeqRange,
  since: number,
): Promise<MessageRow[]> {
  // The days that have them: those that began with one of them or before, and one more, as clocks differ.
  const { rows } = await db.pool.query<MessageRow>({
    name: 'im_group_history',
    text: `
      select ${messageColumns}
      from message x join account s on s.id = x.sender_id
      where x.conversation_id = $1 and x.seq between $2 and $3
        and x.day >= coalesce((select max(day) - 1 from conversation_day where conversation_id = $1 and first_seq <= $2), 0)
        and x.day <= (select max(day) from conversation_day where conversation_id = $1 and first_seq <= $3)
      order by x.seq desc`,
    values: [conversationId, first, last],
  });
  // None is ever missing but with all before it: their partition is gone.
  const end = rows.findIndex((row, index) => row.msg_time < since || row.seq !== last - index);
  return end === -1 ? rows : rows.slice(0, end);
}

function toPage(rows: readonly MessageRow[], viewer: Account): GroupPage {
  const fitting = firstPage(rows);
  return {
    // A hole says whose it was and when: its body is empty.
    messages: fitting.map((row) => ({
      seq: row.seq,
      message: toMessage(row, viewer),
      ...(row.recall_no > 0 ? { recalled: true as const } : {}),
    })),
    complete: fitting.length === rows.length,
  };
}
