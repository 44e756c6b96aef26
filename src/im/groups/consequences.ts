import { sql, type Transaction } from 'kysely';
import type { Schema } from '../../store/index.ts';
import {
  type AfterCommand,
  type GroupNotice,
  type GroupTip,
  noticeContent,
  packCallbackNotes,
  tipBody,
} from '../../wire/index.ts';
import type { Account, AccountNo } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import type { GroupTypeRow } from './group-types.ts';
import type { Group } from './model.ts';

/** `seq` 0: for those who are online alone. */
export interface StoredTip {
  readonly seq: number;
  /** For nobody but those who have just joined. */
  readonly isForJoined: boolean;
  readonly sec: number;
  readonly operator: Account;
  readonly body: string;
}

export interface StoredNotice {
  readonly to: AccountNo;
  readonly seq: number;
  readonly sec: number;
  readonly body: string;
}

const comingsAndGoings: ReadonlySet<GroupTip['kind']> = new Set(['join', 'quit', 'kick']);

/** Nobody is asked about tips, or told of them. */
const tipNotes = packCallbackNotes({ consumers: 0, before: 'unasked-kind', after: 'kind' });

/** What a change of a group causes: gathered while it goes on, written down in its transaction when it is done. */
export function createConsequences(tx: Transaction<Schema>, type: GroupTypeRow, nowMs: number) {
  const nowSec = Math.floor(nowMs / 1_000);
  const tips: { operator: Account; tip: GroupTip }[] = [];
  const notices: { to: AccountNo; body: string }[] = [];
  const callbacks: { command: AfterCommand; fields: Record<string, unknown>; origin: unknown }[] = [];

  async function storeTip(
    { conversationId: id, authEpoch }: Group,
    operator: Account,
    body: string,
  ): Promise<{ seq: number; sec: number }> {
    const { rows } = await sql<{ seq: number; msg_time: number }>`
      select seq, msg_time from im_commit_one(
        ${nowMs}, ${id}, ${operator.no}, ${authEpoch}, null, 0, ${nowSec}, 0, 0, 0::smallint, ${type.countsUnread}, 0,
        ${tipNotes}::smallint, ${body}, null, null, null, '{"tip":true}'
      )`.execute(tx);
    const { seq, msg_time: sec } = rows[0] ?? { seq: 0, msg_time: nowSec };
    return { seq, sec };
  }

  async function storeNotices({ sdkAppId }: Group): Promise<StoredNotice[]> {
    const { rows } = await sql<{ account_id: AccountNo; seq: number; msg_time: number }>`
      select account_id, seq, msg_time from im_notices(
        ${sdkAppId}, ${notices.map(({ to }) => to)}, ${notices.map(({ body }) => body)}, ${nowMs}
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

  /** The commands of which somebody is told. */
  async function storeCallbacks(ports: Pick<ImPorts, 'consumers'>, { sdkAppId, conversationId }: Group) {
    const written: AfterCommand[] = [];
    for (const { command, fields, origin } of callbacks) {
      const consumers = ports.consumers?.(sdkAppId, command) ?? 0;
      if (consumers === 0) continue;
      await sql`
        select outbox_event(
          ${consumers}, ${sdkAppId}, ${String(conversationId)}, ${command}, ${JSON.stringify({ fields, origin })}, ${nowMs}
        )`.execute(tx);
      written.push(command);
    }
    return written;
  }

  return {
    tip: (operator: Account, tip: GroupTip): void => void tips.push({ operator, tip }),
    /** To others than its owner a group that is hidden is not there. */
    notice(group: Group, to: readonly AccountNo[], notice: Omit<GroupNotice, 'groupId' | 'groupName'>): void {
      const body = JSON.stringify(noticeContent({ ...notice, groupId: group.groupId, groupName: group.name }));
      for (const no of to) if (!group.isHidden || no === group.owner) notices.push({ to: no, body });
    },
    callback(command: AfterCommand, fields: Record<string, unknown>, { origin }: { origin: unknown }): void {
      callbacks.push({ command, fields, origin });
    },

    /** `group`: as it is after the change. `lastSeq` and `lastSec`: the group's, where a tip has moved them. */
    async store(
      ports: Pick<ImPorts, 'consumers'>,
      group: Group,
      isDismissed: boolean,
    ): Promise<{
      tips: StoredTip[];
      notices: StoredNotice[];
      written: AfterCommand[];
      lastSeq?: number;
      lastSec?: number;
    }> {
      const told: StoredTip[] = [];
      for (const { operator, tip } of isDismissed ? [] : tips) {
        const isQuiet = type.changeNotice === 'none' && comingsAndGoings.has(tip.kind);
        // Whoever joins has other terminals, which hear of it at once, as with the other types.
        if (isQuiet && tip.kind !== 'join') continue;
        const body = JSON.stringify(tipBody(tip));
        const stored = type.changeNotice === 'strong' ? await storeTip(group, operator, body) : { seq: 0, sec: nowSec };
        told.push({ ...stored, isForJoined: isQuiet, operator, body });
      }
      const last = told.findLast(({ seq }) => seq > 0);
      return {
        tips: told,
        notices: notices.length === 0 ? [] : await storeNotices(group),
        written: await storeCallbacks(ports, group),
        ...(last === undefined ? {} : { lastSeq: last.seq, lastSec: last.sec }),
      };
    },
  };
}
