import type { Logger } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import { isMember, roleNumbers } from '../groups/rows.ts';
import type { AccountNo, Clock } from '../model.ts';
import { c2cPrefix, groupPrefix, systemConversation } from './field-reader.ts';
import type { Link } from './link.ts';
import { resyncText } from './outgoing.ts';

/** Links heard of within so long go into one query. */
const gatherMs = 250;
/** Clocks of processes differ, and what is stored is seen a little later. */
const slackMs = 10_000;
/** What was stored just now is still on its way to the link. */
const underWayMs = 2_000;
/** Rows of one look at most; what is beyond is looked at a period later. */
const maxRows = 20_000;

interface MissedRow {
  account: AccountNo;
  /** As its terminals name the conversation. */
  name: string;
  seq: number;
  stored_ms: number;
}

export interface MissedLook {
  /** Something came of a link: whether it missed something is looked at, at most once a period. */
  heard(link: Link, nowMs: number): void;
  close(): void;
}

/**
 * Finds links that missed an event because its wake was lost (DESIGN §6, Bus): once a heartbeat period of a link, whether
 * one of its account's conversations, groups that it is in and notices among them, got a message since the look before that this
 * link was not sent. One query for all links that were heard of within a quarter of a second.
 */
export function createMissedLook(
  deps: { db: Database; clock: Clock; logger: Logger; onResync(): void },
  { periodMs }: { periodMs: number },
): MissedLook {
  const { db, clock, logger, onResync } = deps;
  /** Since when each is looked at. */
  let waiting = new Map<Link, number>();
  let timer: NodeJS.Timeout | undefined;

  async function look(some: ReadonlyMap<Link, number>): Promise<void> {
    const sinceByAccount = new Map<AccountNo, number>();
    for (const [link, sinceMs] of some) {
      const no = link.terminal?.account.no;
      if (no !== undefined) sinceByAccount.set(no, Math.min(sinceMs, sinceByAccount.get(no) ?? sinceMs));
    }
    const { rows } = await db.pool.query<MissedRow>({
      name: 'im_links_missed',
      text: `
        select w.account, c.name, c.seq, c.last_stored_ms as stored_ms
        from unnest($1::bigint[], $2::bigint[]) as w(account, since_ms)
        cross join lateral (
          select '${c2cPrefix}' || p.identifier as name, a_last_seq as seq, last_stored_ms
          from conversation c join account p on p.id = c.account_b
          where kind = 1 and account_a = w.account and last_stored_ms > w.since_ms
          union all
          select '${c2cPrefix}' || p.identifier, b_last_seq, last_stored_ms
          from conversation c join account p on p.id = c.account_a
          where kind = 1 and account_b = w.account and account_a <> account_b and last_stored_ms > w.since_ms
          union all
          select '${groupPrefix}' || g.group_id, c.last_seq, c.last_stored_ms
          from member m join conversation c on c.id = m.conversation_id join chat_group g on g.conversation_id = c.id
            and (not g.is_hidden or m.role = ${roleNumbers.Owner})
          where m.account_id = w.account and ${isMember} and m.msg_flag <> 'Discard'
            and c.last_stored_ms > w.since_ms and c.last_seq >= m.from_seq
          union all
          select '${systemConversation}', last_seq, last_stored_ms from conversation
          where kind = 3 and account_a = w.account and last_stored_ms > w.since_ms
        ) c
        where c.last_stored_ms < $3 limit ${maxRows}`,
      values: [[...sinceByAccount.keys()], [...sinceByAccount.values()], clock() - underWayMs],
    });
    const byAccount = Map.groupBy(rows, ({ account }) => account);
    for (const [link, sinceMs] of some) {
      const { terminal } = link;
      if (!link.isOpen || terminal === undefined) continue;
      const missed = (byAccount.get(terminal.account.no) ?? []).filter(
        ({ name, seq, stored_ms }) => stored_ms > sinceMs && !link.wasSent(name, seq),
      );
      link.turnSeqs();
      if (missed.length === 0) continue;
      for (const { name, seq } of missed) link.noteSeq(name, seq);
      // One that is behind is told when it has caught up.
      if (link.isBehind) continue;
      link.send(resyncText);
      onResync();
    }
  }

  function run(): void {
    timer = undefined;
    const some = waiting;
    waiting = new Map();
    look(some).catch((error: unknown) => {
      logger.warn({ err: error, links: some.size }, 'im.link.missed.failed');
      // The next look goes as far back.
      for (const [link, sinceMs] of some) link.lookedMs = sinceMs + slackMs;
    });
  }

  return {
    heard(link, nowMs) {
      if (nowMs - link.lookedMs < periodMs) return;
      if (!waiting.has(link)) waiting.set(link, link.lookedMs - slackMs);
      link.lookedMs = nowMs;
      timer ??= setTimeout(run, gatherMs).unref();
    },
    close() {
      clearTimeout(timer);
      waiting.clear();
    },
  };
}
