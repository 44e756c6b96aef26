import type { AppLookup } from '../../../auth/index.ts';
import type { Database } from '../../../store/index.ts';
import { type ImErrorName, imErrorCatalogue } from '../../../wire/index.ts';
import type { Actor, GroupMessages } from '../../group-services.ts';
import type { Clock, ConversationId } from '../../model.ts';
import type { Bus } from '../../services.ts';
import type { Rosters } from '../rosters.ts';
import { receiversOf } from '../telling.ts';
import { groupRoamingSince } from './history.ts';
import type { createPlaces, Place } from './place.ts';

export interface RecallDeps {
  db: Database;
  apps: AppLookup;
  rosters: Pick<Rosters, 'current'>;
  bus: Bus;
  placeOf: ReturnType<typeof createPlaces>;
  clock: Clock;
}

interface Found {
  seq: number;
  sender_id: number;
  msg_time: number;
  recall_no: number;
  is_tip: boolean;
}

/**
 * Takes messages back from everybody, each by itself: one's own within the app's time, an administrator of the app any that roaming still has
 * (API reference §4.18). Members who are online hear of all that it took at once.
 */
export function createGroupRecall({ db, apps, rosters, bus, placeOf, clock }: RecallDeps): GroupMessages['recall'] {
  /** Why it cannot be taken back; undefined: it can. */
  function faultOf(actor: Actor, place: Place, found: Found | undefined, seq: number): ImErrorName | undefined {
    const { account, authority } = actor;
    if (!place.row.isStored) return 'GROUP_TYPE_NOT_RECALLABLE';
    const isReadable = place.readable.some(([first, last]) => seq >= first && seq <= last);
    if (!isReadable) return 'GROUP_MESSAGE_UNKNOWN';
    // There was one: its partition is gone.
    if (found === undefined) return 'GROUP_RECALL_TOO_LATE';
    if (found.recall_no !== 0) return 'GROUP_MESSAGE_UNKNOWN';
    if (found.is_tip) return 'GROUP_NOT_RECALLABLE';
    if (found.msg_time < groupRoamingSince(apps, account.sdkAppId, place.type, clock())) return 'GROUP_RECALL_TOO_LATE';
    if (authority === 'administrator') return undefined;
    if (found.sender_id !== account.no) return 'GROUP_FORBIDDEN';
    const recallSec = apps.get(account.sdkAppId)?.im.recallSec ?? 0;
    return clock() / 1_000 - found.msg_time > recallSec ? 'GROUP_RECALL_TOO_LATE' : undefined;
  }

  /** The number of the recall; undefined: somebody else did it meanwhile. */
  async function take(conversationId: ConversationId, seq: number): Promise<number | undefined> {
    const { rows } = await db.pool.query<{ status: number; recall_no: number }>({
      name: 'im_recall',
      text: 'select * from im_recall($1, $2)',
      values: [conversationId, seq],
    });
    return rows[0]?.status === 0 ? rows[0].recall_no : undefined;
  }

  async function tell({ account }: Actor, groupId: string, seqs: readonly number[], recallNo: number): Promise<void> {
    const roster = await rosters.current(account.sdkAppId, groupId);
    if (roster === undefined) return;
    bus.publishMany(receiversOf(roster, 0), { kind: 'group-recalled', groupId, seqs, recallNo });
  }

  return async (actor, groupId, seqs) => {
    const found = await placeOf(actor, groupId);
    if (!found.ok) return found;
    const place = found.value;
    const messages = await find(db, place.conversationId, seqs);
    const taken: number[] = [];
    let lastRecall = 0;
    const results: { seq: number; code: number }[] = [];
    for (const seq of seqs) {
      let fault = faultOf(actor, place, messages.get(seq), seq);
      if (fault === undefined) {
        const recallNo = await take(place.conversationId, seq);
        if (recallNo === undefined) fault = 'GROUP_MESSAGE_UNKNOWN';
        else {
          taken.push(seq);
          lastRecall = Math.max(lastRecall, recallNo);
        }
      }
      results.push({ seq, code: fault === undefined ? 0 : imErrorCatalogue[fault].code });
    }
    if (taken.length > 0) await tell(actor, groupId, taken, lastRecall);
    return { ok: true, value: results };
  };
}

async function find(
  db: Database,
  conversationId: ConversationId,
  seqs: readonly number[],
): Promise<Map<number, Found>> {
  const { rows } = await db.pool.query<Found>({
    name: 'im_group_messages_by_seq',
    text: `
      select seq, sender_id, msg_time, recall_no, coalesce(extra = '{"tip":true}', false) as is_tip
      from message where conversation_id = $1 and seq = any ($2)`,
    values: [conversationId, [...seqs]],
  });
  return new Map(rows.map((row) => [row.seq, row]));
}
