import { LRUCache } from 'lru-cache';
import type { Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { Account, Clock, ConversationId } from '../model.ts';

export interface Conversation {
  readonly id: ConversationId;
  /** What was known of who may send here, when it was read; the commit compares it (DESIGN §6). */
  readonly authEpoch: number;
}

export interface Conversations {
  /**
   * The one-to-one conversation of two accounts, made if there is none; undefined: one of them was deleted before there was one.
   * `firstTime`: of its first message, Unix seconds.
   */
  ensure(a: Account, b: Account, firstTime?: number): Promise<Conversation | undefined>;
  /** The same, if there is one. */
  find(a: Account, b: Account): Promise<Conversation | undefined>;
  /** Forgets what is remembered of it: the commit said that it has changed. */
  forget(a: Account, b: Account): void;
}

/** Remembers ids, which never change, and epochs, which the commit checks. */
export function createConversations(
  deps: { db: Database; clock: Clock; metrics: Metrics },
  { maxCached = 200_000 }: { maxCached?: number } = {},
): Conversations {
  const { db, clock, metrics } = deps;
  const known = new LRUCache<string, Conversation>({ max: maxCached });
  metrics.gaugeOf('qalgate_im_conversations_cached', 'Conversations in memory', () => known.size);

  async function read(a: Account, b: Account): Promise<Conversation | undefined> {
    const { rows } = await db.pool.query<{ id: ConversationId; auth_epoch: number }>({
      name: 'im_conversation',
      text: 'select id, auth_epoch from conversation where kind = 1 and account_a = $1 and account_b = $2',
      values: pairOf(a, b),
    });
    const [row] = rows;
    if (row === undefined) return undefined;
    const conversation = { id: row.id, authEpoch: row.auth_epoch };
    known.set(keyOf(a, b), conversation);
    return conversation;
  }

  async function make(a: Account, b: Account, firstTime: number): Promise<void> {
    await db.pool.query({
      name: 'im_conversation_make',
      // A deletion raises the epochs of the conversations that there are; behind it none is made.
      // read_time: nothing in it can have expired before its first message was written.
      text: `
        with made as (
          insert into conversation (sdk_app_id, kind, account_a, account_b)
          select $1::bigint, 1, $2::bigint, $3::bigint
          where not exists (select from account where id in ($2, $3) and deleted_ms is not null)
          on conflict (account_a, account_b) where kind = 1 do nothing returning id
        )
        insert into member (account_id, conversation_id, read_time)
        select distinct account_id, made.id, $4::bigint from made, unnest(array[$2, $3]::bigint[]) as account_id`,
      values: [a.sdkAppId, ...pairOf(a, b), firstTime],
    });
  }

  const find: Conversations['find'] = async (a, b) => known.get(keyOf(a, b)) ?? read(a, b);

  return {
    find,
    async ensure(a, b, firstTime = Math.floor(clock() / 1_000)) {
      const found = await find(a, b);
      if (found !== undefined) return found;
      await make(a, b, firstTime);
      return read(a, b);
    },
    forget: (a, b) => void known.delete(keyOf(a, b)),
  };
}

function pairOf(a: Account, b: Account): [number, number] {
  return a.no <= b.no ? [a.no, b.no] : [b.no, a.no];
}

function keyOf(a: Account, b: Account): string {
  return pairOf(a, b).join('/');
}
