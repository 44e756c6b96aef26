import type pg from 'pg';
import type { Clock } from '../../auth/index.ts';
import { type Batcher, createBatcher } from '../../store/index.ts';
import type { SkipReason } from '../decide.ts';
import {
  type DeviceRow,
  deviceColumns,
  deviceJoins,
  type ReadingRow,
  readingColumns,
  readingJoins,
} from './device-facts.ts';
import { type Lane, priorities } from './lane.ts';
import { inTransaction, retried } from './transaction.ts';

/** Settings of the connections that the queue works on: with its partitions PostgreSQL would plan for longer than it works. */
export const queueSettings = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  jit: 'off',
};

/** A push that is due, with what its device and account are like now. Without a device: it is gone. */
export interface Item extends ReadingRow {
  readonly id: number;
  readonly day: number;
  /** 1 of a message, 2 of the badge alone. */
  readonly kind: 1 | 2;
  readonly conversationId: number | undefined;
  readonly seq: number;
  readonly messageDay: number;
  readonly campaignId: number | undefined;
  readonly campaignState: string | undefined;
  readonly dueMs: number;
  readonly deadlineMs: number;
  readonly attempts: number;
  readonly isCounted: boolean;
  readonly createdMs: number;
  /** Of the attempt before. */
  readonly reason: string | undefined;
  readonly device: DeviceRow | undefined;
}

/** A message that is pushed. */
export interface MessageRow {
  conversation_id: number;
  seq: number;
  kind: 1 | 2;
  recall_no: number;
  stored_ms: number;
  body: string;
  push: string | null;
  extra: string | null;
  sender: string;
  nick: string | null;
  group_id: string | null;
  group_name: string | null;
}

/** What became of a push, or of an attempt. */
export interface Mark {
  readonly id: number;
  readonly day: number;
  /** Undefined: it is tried again, at `dueMs`; without one it keeps its place. */
  readonly outcome: 'accepted' | 'skipped' | 'expired' | 'gone' | 'dead' | 'dropped' | undefined;
  readonly reason: SkipReason | (string & {}) | undefined;
  readonly dueMs?: number;
  /** Of an attempt, if there was one. */
  readonly attempt?: { readonly status: number | undefined; readonly tookMs: number; readonly id?: string | undefined };
  /** What its device learns of it. */
  readonly device?: DeviceChange | undefined;
}

export type DeviceChange = {
  readonly id: number;
  readonly token: string;
} /** Its token is dead, unless it was set after `sinceMs`. */ & (
  | { readonly do: 'drop'; readonly sinceMs: number | undefined }
  /** It wants no more until then. */
  | { readonly do: 'rest'; readonly untilMs: number }
  /** The other side of APNs may know its token. */
  | { readonly do: 'move'; readonly environment: 'production' | 'sandbox' }
);

/** How many pushes of a lane there is room for. */
export interface Wanted {
  readonly limit: number;
  /** Of them of campaigns. */
  readonly campaigns: number;
  /** Campaigns wait until then, but for what would be too late: of those that are next, so that nobody reads all of a million. */
  readonly quietUntilMs: number | undefined;
}

export interface Items {
  /**
   * What is due of a lane: people's messages first, then by age, of what is tried again since its time has come. Those that are under way, or
   * of these devices, aside. None while it is paused.
   */
  due(lane: Lane, wanted: Wanted, underWay: readonly number[], full: readonly number[]): Promise<Item[]>;
  /** When something of the lane is due, campaigns' no sooner than they may; undefined: nothing waits, or it is paused. */
  nextDueMs(lane: Lane, quietUntilMs: number | undefined): Promise<number | undefined>;
  /** Those of the lanes that have something due and are not paused: one round trip for all of them. */
  dueLanes(lanes: readonly Lane[]): Promise<Lane[]>;
  /** The messages of these, by `conversation seq`. */
  messages(items: readonly Item[]): Promise<Map<string, MessageRow>>;
  /**
   * Raises badges: once for each item, whatever happens (PUSH §3.3), in one transaction with its mark. Gives back the badge of each device
   * after all of them. Those of a badge alone raise none.
   */
  count(items: readonly { id: number; day: number }[]): Promise<Map<number, number>>;
  /** Writes down what became of it; many at a time. */
  mark(mark: Mark): Promise<void>;
}

interface ItemRow extends ReadingRow, Partial<DeviceRow> {
  id: number;
  day: number;
  kind: 1 | 2;
  conversation_id: number | null;
  seq: number | null;
  message_day: number | null;
  campaign_id: number | null;
  campaign_state: string | null;
  due_ms: number;
  deadline_ms: number;
  attempts: number;
  counted: boolean;
  created_ms: number;
  reason: string | null;
  found: boolean;
}

const dayMs = 86_400_000;
/** No push waits longer than its lifetime, which is 7 days at most. */
const oldestDays = 8;
const maxMarks = 500;
const spacingMs = 5;
const maxWords = 300;

export function messageKeyOf({ conversationId, seq }: Pick<Item, 'conversationId' | 'seq'>): string {
  return `${conversationId} ${seq}`;
}

/** `pool`: connections with {@link queueSettings}. */
export function createItems({ pool, clock }: { pool: pg.Pool; clock: Clock }): Items {
  const days = (): [number, number] => {
    const today = Math.floor(clock() / dayMs);
    return [today - oldestDays, today + 1];
  };

  async function dueOf(
    lane: Lane,
    priority: number,
    limit: number,
    underWay: readonly number[],
    full: readonly number[],
    lateAtMs?: number,
  ): Promise<Item[]> {
    const { rows } = await pool.query<ItemRow>({
      name: 'push_due',
      text: `
        select i.*, ${deviceColumns.replaceAll('d.id as device_id', 'd.id is not null as found, d.id as device_id')}, ${readingColumns},
          k.state as campaign_state
        from (
          select id, day, kind, conversation_id, seq, message_day, campaign_id, deadline_ms, attempts, counted, created_ms, reason,
            device_id as wanted, account_id as receiver, due_ms
          from push_item
          where sdk_app_id = $1 and channel = $2 and priority = $3 and done_ms is null and due_ms <= $4 and day between $5 and $6
            and id <> all ($7::bigint[]) and (device_id is null or device_id <> all ($9::bigint[]))
            and not exists (select 1 from push_pause p where p.sdk_app_id = $1 and p.channel in ('', $2))
          order by due_ms limit $8
        ) i
        left join push_device d on d.id = i.wanted and d.channel = $2
        ${deviceJoins.replace('join account', 'left join account')}
        ${readingJoins('i.receiver', 'i.conversation_id')}
        left join campaign k on k.id = i.campaign_id
        where $10::bigint is null or i.deadline_ms <= $10
        order by i.due_ms, i.id`,
      values: [lane.sdkAppId, lane.channel, priority, clock(), ...days(), underWay, limit, full, lateAtMs],
    });
    return rows.map(
      (row): Item => ({
        id: row.id,
        day: row.day,
        kind: row.kind,
        conversationId: row.conversation_id ?? undefined,
        seq: row.seq ?? 0,
        messageDay: row.message_day ?? 0,
        campaignId: row.campaign_id ?? undefined,
        campaignState: row.campaign_state ?? undefined,
        dueMs: row.due_ms,
        deadlineMs: row.deadline_ms,
        attempts: row.attempts,
        isCounted: row.counted,
        createdMs: row.created_ms,
        reason: row.reason ?? undefined,
        is_member: row.is_member,
        msg_flag: row.msg_flag,
        read_seq: row.read_seq,
        delivered_seq: row.delivered_seq,
        device: row.found ? (row as DeviceRow) : undefined,
      }),
    );
  }

  const marks: Batcher<Mark, void> = createBatcher(
    async (marked) => {
      // Devices first, and all in the order of their ids, as everybody does: so that two never wait for one another.
      const batch = marked.toSorted((a, b) => a.id - b.id);
      const changes = batch.flatMap(({ device }) => device ?? []).sort((a, b) => a.id - b.id);
      const nowMs = clock();
      await inTransaction(pool, async (client) => {
        for (const change of changes) await changeDevice(client, change);
        await client.query({
          name: 'push_mark',
          text: `
            update push_item i set
              done_ms = case when k.outcome is null then null else $1::bigint end, outcome = k.outcome, reason = k.reason,
              due_ms = coalesce(k.due, i.due_ms), attempts = i.attempts + k.attempted::integer,
              status = case when k.attempted then k.status else i.status end,
              took_ms = case when k.attempted then k.took else i.took_ms end,
              provider_id = coalesce(k.provider_id, i.provider_id)
            from unnest(
              $2::bigint[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::boolean[], $8::smallint[], $9::integer[], $10::text[]
            ) as k(id, day, outcome, reason, due, attempted, status, took, provider_id)
            where i.id = k.id and i.day = k.day and i.done_ms is null`,
          values: [
            nowMs,
            batch.map(({ id }) => id),
            batch.map(({ day }) => day),
            batch.map(({ outcome }) => outcome ?? null),
            batch.map(({ reason }) => cleanOf(reason)),
            batch.map(({ dueMs }) => (dueMs === undefined ? null : Math.round(dueMs))),
            batch.map(({ attempt }) => attempt !== undefined),
            batch.map(({ attempt }) => attempt?.status ?? null),
            batch.map(({ attempt }) => (attempt === undefined ? null : Math.round(attempt.tookMs))),
            batch.map(({ attempt }) => cleanOf(attempt?.id)),
          ],
        });
      });
      return batch.map(() => undefined);
    },
    { max: maxMarks, spacingMs },
  );

  return {
    async due(lane, { limit, campaigns, quietUntilMs }, underWay, full) {
      const chat = await dueOf(lane, priorities.chat, limit, underWay, full);
      const left = Math.min(campaigns, limit - chat.length);
      if (left <= 0) return chat;
      return [...chat, ...(await dueOf(lane, priorities.campaign, left, underWay, full, quietUntilMs))];
    },

    async nextDueMs({ sdkAppId, channel }, quietUntilMs = 0) {
      const { rows } = await pool.query<{ due_ms: number | null }>({
        name: 'push_next_due',
        text: `
          select min(greatest(due_ms, from_ms)) as due_ms from (values ($3::smallint, 0::bigint), ($4, $5)) as k(priority, from_ms)
          cross join lateral (
            select due_ms from push_item
            where sdk_app_id = $1 and channel = $2 and priority = k.priority and done_ms is null and day between $6 and $7
            order by due_ms limit 1
          ) first_one
          where not exists (select 1 from push_pause p where p.sdk_app_id = $1 and p.channel in ('', $2))`,
        values: [sdkAppId, channel, priorities.chat, priorities.campaign, quietUntilMs, ...days()],
      });
      return rows[0]?.due_ms ?? undefined;
    },

    async dueLanes(lanes) {
      if (lanes.length === 0) return [];
      const { rows } = await pool.query<{ position: number }>({
        name: 'push_due_lanes',
        text: `
          select k.position - 1 as position from unnest($1::bigint[], $2::text[]) with ordinality as k(app, channel, position)
          where exists (
            select 1 from unnest($3::smallint[]) as p(priority) cross join lateral (
              select 1 from push_item
              where sdk_app_id = k.app and channel = k.channel and priority = p.priority and done_ms is null and due_ms <= $4
                and day between $5 and $6
              limit 1
            ) due
          ) and not exists (select 1 from push_pause p where p.sdk_app_id = k.app and p.channel in ('', k.channel))`,
        values: [
          lanes.map(({ sdkAppId }) => sdkAppId),
          lanes.map(({ channel }) => channel),
          Object.values(priorities),
          clock(),
          ...days(),
        ],
      });
      return rows.flatMap(({ position }) => lanes[position] ?? []);
    },

    async messages(items) {
      const wanted = new Map(items.filter(({ kind }) => kind === 1).map((item) => [messageKeyOf(item), item]));
      if (wanted.size === 0) return new Map();
      const list = [...wanted.values()];
      const { rows } = await pool.query<MessageRow>({
        name: 'push_messages',
        text: `
          select m.conversation_id, m.seq, c.kind, m.recall_no, m.stored_ms, m.body, m.push, m.extra, a.identifier as sender,
            a.profile->>'nick' as nick, g.group_id, g.name as group_name
          from unnest($1::bigint[], $2::bigint[], $3::integer[]) as k(conversation_id, seq, day)
          join message m on m.conversation_id = k.conversation_id and m.seq = k.seq and m.day = k.day
          join conversation c on c.id = m.conversation_id
          join account a on a.id = m.sender_id
          left join chat_group g on g.conversation_id = m.conversation_id`,
        values: [
          list.map(({ conversationId }) => conversationId),
          list.map(({ seq }) => seq),
          list.map(({ messageDay }) => messageDay),
        ],
      });
      return new Map(rows.map((row) => [`${row.conversation_id} ${row.seq}`, row]));
    },

    async count(items) {
      if (items.length === 0) return new Map();
      const sorted = items.toSorted((a, b) => a.id - b.id);
      const { rows } = await retried(() =>
        pool.query<{ id: number; badge: number }>({
          name: 'push_count',
          text: 'select id, badge from push_count($1::bigint[], $2::integer[])',
          values: [sorted.map(({ id }) => id), sorted.map(({ day }) => day)],
        }),
      );
      return new Map(rows.map(({ id, badge }) => [id, badge]));
    },

    mark: (mark) => marks.add(mark),
  };
}

/** A service's own words, as the database takes them: one that it does not would fail with all others of its batch, again and again. */
function cleanOf(words: string | undefined): string | null {
  return words?.replaceAll('\0', '').slice(0, maxWords).toWellFormed() ?? null;
}

async function changeDevice(client: pg.PoolClient, change: DeviceChange): Promise<void> {
  const { id, token } = change;
  switch (change.do) {
    case 'drop':
      await client.query({
        name: 'push_device_drop',
        text: 'delete from push_device where id = $1 and token = $2 and ($3::bigint is null or registered_ms < $3)',
        values: [id, token, change.sinceMs ?? null],
      });
      return;
    case 'rest':
      await client.query({
        name: 'push_device_rest',
        text: 'update push_device set not_before_ms = greatest(not_before_ms, $3) where id = $1 and token = $2',
        values: [id, token, Math.round(change.untilMs)],
      });
      return;
    case 'move':
      await client.query({
        name: 'push_device_move',
        text: 'update push_device set environment = $3 where id = $1 and token = $2',
        values: [id, token, change.environment],
      });
      return;
  }
}
