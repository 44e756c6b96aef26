import type { Logger } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { AccountId } from '../../wire/index.ts';
import type { AccountNo, Clock } from '../model.ts';
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

export interface MissedLook {
  /** Something came of a link: whether it missed something is looked at, at most once a period. */
  heard(link: Link, nowMs: number): void;
  close(): void;
}

/**
 * Finds links that missed an event because its wake was lost (DESIGN §6, Bus): once a heartbeat period of a link, whether
 * one of its account's conversations got a message since the look before that this link was not sent. One query for all
 * links that were heard of within a quarter of a second.
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
    const { rows } = await db.pool.query<{ account: AccountNo; peer: AccountId; seq: number; stored_ms: number }>({
      name: 'im_links_missed',
      text: `
        select w.account, p.identifier as peer, c.seq, c.last_stored_ms as stored_ms
        from unnest($1::bigint[], $2::bigint[]) as w(account, since_ms)
        cross join lateral (
          select account_b as peer, a_last_seq as seq, last_stored_ms from conversation
          where kind = 1 and account_a = w.account and last_stored_ms > w.since_ms
          union all
          select account_a, b_last_seq, last_stored_ms from conversation
          where kind = 1 and account_b = w.account and account_a <> account_b and last_stored_ms > w.since_ms
        ) c
        join account p on p.id = c.peer
        where c.last_stored_ms < $3 limit ${maxRows}`,
      values: [[...sinceByAccount.keys()], [...sinceByAccount.values()], clock() - underWayMs],
    });
    const byAccount = Map.groupBy(rows, ({ account }) => account);
    for (const [link, sinceMs] of some) {
      const { terminal } = link;
      if (!link.isOpen || terminal === undefined) continue;
      const missed = (byAccount.get(terminal.account.no) ?? []).filter(
        ({ peer, seq, stored_ms }) => stored_ms > sinceMs && !link.wasSent(peer, seq),
      );
      link.turnSeqs();
      if (missed.length === 0) continue;
      for (const { peer, seq } of missed) link.noteSeq(peer, seq);
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
