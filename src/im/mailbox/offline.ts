import type { AppLookup } from '../../auth/index.ts';
import type { Database } from '../../store/index.ts';
import type { AccountId } from '../../wire/index.ts';
import type { Account, Clock } from '../model.ts';
import { firstPage } from '../page.ts';
import type { Mailbox } from '../services.ts';
import type { Acknowledgements } from './acknowledgements.ts';
import { roamingSince } from './history.ts';
import { isVisible, type MessageRow, messageColumns, otherSide, sideSeq, sideTime, toMessage } from './rows.ts';

export interface OfflineDeps {
  db: Database;
  apps: AppLookup;
  acknowledgements: Acknowledgements;
  clock: Clock;
}

const offlineSec = 7 * 86_400;
/** Messages of one conversation that are looked at. */
const maxPerConversation = 2_000;

type OfflineRow = MessageRow & { peer: AccountId; stored_ms: number; fits: boolean };

/**
 * Offline delivery (M5–M7): what others wrote, that no terminal of the account has acknowledged, nor the account read. At most 7
 * days and the newest `offlineBytes` of bodies; what does not fit when it is asked for falls out for good. Only sizes are read of
 * what waits: bodies of what fits alone, and of the first one that does not, which says that something falls out.
 */
export function createOffline({ db, apps, acknowledgements, clock }: OfflineDeps): Mailbox['offline'] {
  return async (account, after) => {
    await acknowledgements.flush();
    const nowMs = clock();
    const nowSec = Math.floor(nowMs / 1_000);
    const since = Math.max(nowSec - offlineSec, roamingSince(apps, account, nowMs));
    const maxBytes = apps.get(account.sdkAppId)?.im.offlineBytes ?? 0;
    const { rows } = await db.pool.query<OfflineRow>({
      name: 'im_offline',
      text: `
        select ${messageColumns}, x.stored_ms, q.peer, q.bytes <= $4 as fits from (
          select x.*, p.identifier as peer,
            sum(x.size) over (order by x.stored_ms desc, x.conversation_id desc, x.seq desc) as bytes
          from account a
          join member m on m.account_id = a.id and m.to_seq is null
          join conversation c on c.id = m.conversation_id and c.kind = 1
          join account p on p.id = ${otherSide} and p.deleted_ms is null
          left join delivered d on d.account_id = m.account_id and d.conversation_id = c.id
          join lateral (
            select x.conversation_id, x.seq, x.day, x.stored_ms, octet_length(x.body) as size from message x
            where x.conversation_id = c.id
              and x.seq > greatest(m.cleared_through, m.read_seq, coalesce(d.seq, 0))
              and x.day between $2 / 86400 and c.last_day and x.msg_time >= $2 and x.stored_ms >= a.offline_floor_ms
              and x.sender_id <> $1 and ${isVisible} and x.recall_no = 0 and x.offline_until > $3
            order by x.seq desc limit ${maxPerConversation}
          ) x on true
          where a.id = $1 and ${sideTime} >= $2
            and ${sideSeq} > greatest(m.cleared_through, m.read_seq, coalesce(d.seq, 0))
        ) q
        join message x on x.conversation_id = q.conversation_id and x.seq = q.seq and x.day = q.day
        join account s on s.id = x.sender_id
        where q.bytes - q.size <= $4
        order by q.stored_ms, q.conversation_id, q.seq`,
      values: [account.no, since, nowSec, maxBytes],
    });
    const kept = rows.filter(({ fits }) => fits);
    const oldest = kept[0]?.stored_ms ?? nowMs;
    if (after === undefined && kept.length < rows.length) await raiseFloor(account, oldest);
    return page(account, kept, after);
  };

  /** What is older than what was kept is offered no more. */
  async function raiseFloor(account: Account, floorMs: number): Promise<void> {
    await db.pool.query({
      name: 'im_offline_floor',
      text: 'update account set offline_floor_ms = greatest(offline_floor_ms, $2) where id = $1',
      values: [account.no, floorMs],
    });
  }
}

function page(
  account: Account,
  rows: readonly OfflineRow[],
  after: string | undefined,
): Awaited<ReturnType<Mailbox['offline']>> {
  const start = parsePosition(after);
  const rest = start === undefined ? rows : rows.filter((row) => isAfter(row, start));
  const some = firstPage(rest);
  const last = some.at(-1);
  return {
    messages: some.map((row) => ({ ...toMessage(row, account), peer: row.peer })),
    ...(last === undefined || some.length === rest.length
      ? {}
      : { after: `${last.stored_ms}.${last.conversation_id}.${last.seq}` }),
  };
}

function isAfter(row: OfflineRow, [storedMs, conversationId, seq]: [number, number, number]): boolean {
  if (row.stored_ms !== storedMs) return row.stored_ms > storedMs;
  if (row.conversation_id !== conversationId) return row.conversation_id > conversationId;
  return row.seq > seq;
}

/** Where a page ended; undefined for what is no such place: then it begins anew, and the terminal knows the repetitions. */
function parsePosition(after: string | undefined): [number, number, number] | undefined {
  const match = /^(\d{1,15})\.(\d{1,15})\.(\d{1,15})$/.exec(after ?? '');
  return match === null ? undefined : [Number(match[1]), Number(match[2]), Number(match[3])];
}
