import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { AccountNo, ConversationId } from '../model.ts';

export interface Acknowledgements {
  /** The account's terminals have stored everything of the conversation up to there. */
  add(account: AccountNo, conversation: ConversationId, seq: number): void;
  /** Writes down what has been added of the account so far: before its offline messages are asked for. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Acknowledgements, gathered and written many at a time: one that a crash loses costs a second delivery, which the terminal
 * knows by its seq. Rows are written in order of their key, so writers never deadlock.
 */
export function createAcknowledgements(
  deps: { db: Database; logger: Logger; metrics: Metrics },
  { everyMs = 500, maxWaiting = 50_000 }: { everyMs?: number; maxWaiting?: number } = {},
): Acknowledgements {
  const { db, logger, metrics } = deps;
  let waiting = new Map<string, [AccountNo, ConversationId, number]>();
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  const dropped = metrics.counter(
    'qalgate_im_acknowledgements_dropped_total',
    'Acknowledgements that were not written down; their messages are delivered again',
  );

  async function write(rows: [AccountNo, ConversationId, number][]): Promise<void> {
    rows.sort(([a, b], [c, d]) => a - c || b - d);
    try {
      await db.pool.query({
        name: 'im_delivered',
        text: `
          insert into delivered as d (account_id, conversation_id, seq)
          select t.account_id, t.conversation_id, least(t.seq, c.last_seq)
          from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as t(account_id, conversation_id, seq)
          join conversation c on c.id = t.conversation_id
          order by 1, 2
          on conflict (account_id, conversation_id) do update set seq = excluded.seq where excluded.seq > d.seq`,
        values: [rows.map(([no]) => no), rows.map(([, id]) => id), rows.map(([, , seq]) => seq)],
      });
    } catch (error) {
      dropped.inc(rows.length);
      logger.warn({ err: error, rows: rows.length }, 'im.acknowledgements.failed');
    }
  }

  function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    if (waiting.size > 0) {
      const rows = [...waiting.values()];
      waiting = new Map();
      writing = writing.then(() => write(rows));
    }
    return writing;
  }

  return {
    add(account, conversation, seq) {
      const key = `${account}/${conversation}`;
      const known = waiting.get(key);
      if (known === undefined) waiting.set(key, [account, conversation, seq]);
      else if (seq > known[2]) known[2] = seq;
      if (waiting.size >= maxWaiting) void flush();
      else timer ??= setTimeout(flush, everyMs).unref();
    },
    flush,
    close: flush,
  };
}
