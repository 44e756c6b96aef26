import type pg from 'pg';
import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Metrics } from '../../observe/index.ts';
import type { PushSettings } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { decide, type SkipReason } from '../decide.ts';
import {
  type DeviceRow,
  deviceColumns,
  deviceFactsOf,
  deviceJoins,
  type ReadingRow,
  readingColumns,
  readingFactsOf,
  readingJoins,
} from './device-facts.ts';
import { type Lane, laneId, priorities, type SkipCounter } from './lane.ts';
import { inTransaction } from './transaction.ts';

/** Makes pushes of messages: finds the devices of those who get one, and writes down a push for each, or why there is none. */
export interface Expand {
  /**
   * Takes messages of the outbox, some hundred at a time, until there are none or `signal` says so; tells of each lane that has something to
   * send now, as soon as it has. Each message in the transaction that marks it: a process that is killed leaves nothing half done. Several
   * processes share the work.
   */
  run(signal: AbortSignal, wakeLane: (lane: Lane) => void): Promise<void>;
}

/** A message that somebody may have to be told of. Null where it is gone by now. */
interface EntryRow {
  id: number;
  day: number;
  sdk_app_id: SdkAppId;
  conversation_id: number;
  seq: number;
  origin: string | null;
  kind: 1 | 2 | null;
  receiver_id: number | null;
  sender_id: number | null;
  visible_to: number | null;
  push: string | null;
  msg_time: number | null;
  stored_ms: number | null;
  offline_until: number | null;
  recall_no: number | null;
}

type Candidate = DeviceRow & ReadingRow & { position: number };

interface NewItem {
  readonly entry: EntryRow;
  readonly channel: string;
  readonly device: DeviceRow | undefined;
  /** Who gets it; null: all members of a group. */
  readonly accountId: number | null;
  readonly campaignId: number | null;
  readonly dueMs: number;
  readonly deadlineMs: number;
  /** Undefined: it waits to be sent. */
  readonly reason: SkipReason | undefined;
}

const maxEntries = 200;
const pageDevices = 2_000;
/** Pushes of one transaction: of large groups fewer messages are looked at in one, so that none of it takes for ever. */
const manyItems = 10_000;
const dayMs = 86_400_000;
/** Clocks of processes may differ: what one of them has stored just now is due on each of them. */
const clockMs = 10_000;
/** Entries wait 72 hours at most, then others give them up; the rest is for clocks that differ. */
const oldestDays = 8;

export function createExpand(deps: {
  /** With {@link queueSettings}. */
  pool: pg.Pool;
  apps: AppLookup;
  skipped: SkipCounter;
  clock: Clock;
  metrics: Metrics;
}): Expand {
  const { pool, apps, skipped, clock, metrics } = deps;
  const messages = metrics.counter('qalgate_push_messages_total', 'Messages that were looked at for pushes', [
    'outcome',
  ]);

  /** People's messages before those of campaigns, whose keys are behind (B5). */
  async function take(client: pg.PoolClient): Promise<EntryRow[]> {
    const today = Math.floor(clock() / dayMs);
    const { rows } = await client.query<EntryRow>({
      name: 'push_entries',
      text: `
        select o.id, o.day, o.sdk_app_id, o.conversation_id, o.seq, o.body as origin, c.kind,
          case when c.account_a = m.sender_id then c.account_b else c.account_a end as receiver_id,
          m.sender_id, m.visible_to, m.push, m.msg_time, m.stored_ms, m.offline_until, m.recall_no
        from (
          select id, day, sdk_app_id, conversation_id, seq, body from outbox
          where consumer = 2 and done_ms is null and day between $1 and $2
          order by drain_key, id limit ${maxEntries} for update skip locked
        ) o
        left join message m on m.conversation_id = o.conversation_id and m.seq = o.seq and m.day = o.day
        left join conversation c on c.id = o.conversation_id`,
      values: [today - oldestDays, today + 1],
    });
    return rows;
  }

  /** The devices of the receivers of one-to-one messages. */
  async function devicesOfTwo(client: pg.PoolClient, entries: readonly EntryRow[]): Promise<Candidate[]> {
    if (entries.length === 0) return [];
    const { rows } = await client.query<Candidate>({
      name: 'push_devices_c2c',
      text: `
        select k.position - 1 as position, ${deviceColumns}, ${readingColumns}
        from unnest($1::bigint[], $2::bigint[]) with ordinality as k(account_id, conversation_id, position)
        join push_device d on d.account_id = k.account_id
        ${deviceJoins}
        ${readingJoins('k.account_id', 'k.conversation_id')}`,
      values: [entries.map(({ receiver_id }) => receiver_id), entries.map(({ conversation_id }) => conversation_id)],
    });
    return rows;
  }

  /** Those of the members of a group, by account. */
  async function devicesOfGroup(client: pg.PoolClient, entry: EntryRow, after: number): Promise<Candidate[]> {
    const { rows } = await client.query<Candidate>({
      name: 'push_devices_group',
      text: `
        select 0 as position, ${deviceColumns}, true as is_member, mem.msg_flag, mem.read_seq, dl.seq as delivered_seq
        from member mem
        join push_device d on d.account_id = mem.account_id
        ${deviceJoins}
        left join delivered dl on dl.account_id = mem.account_id and dl.conversation_id = mem.conversation_id
        where mem.conversation_id = $1 and mem.to_seq is null and mem.role is not null and mem.from_seq <= $2
          and mem.account_id <> $3 and mem.account_id > $4
        order by mem.account_id limit ${pageDevices}`,
      values: [entry.conversation_id, entry.seq, entry.sender_id, after],
    });
    return rows;
  }

  function itemOf(entry: EntryRow, push: PushSettings, row: Candidate): NewItem | undefined {
    if (push[row.channel as Lane['channel']] === undefined) return undefined;
    const nowMs = clock();
    const { seq } = entry;
    const message = { isRecalled: entry.recall_no !== 0, storedMs: entry.stored_ms ?? nowMs };
    const decision = decide(deviceFactsOf(row), message, readingFactsOf(row, entry.kind === 2), {
      seq,
      nowMs,
      ...push,
    });
    return {
      ...commonOf(entry, push),
      channel: row.channel,
      device: row,
      accountId: row.account_id,
      ...(decision.kind === 'wait' ? { dueMs: decision.untilMs } : {}),
      reason: decision.kind === 'skip' ? decision.reason : undefined,
    };
  }

  function commonOf(entry: EntryRow, push: PushSettings) {
    const sentMs = (entry.msg_time ?? 0) * 1_000;
    // Offline delivery is of one-to-one messages; a group's are pushed as long as the app says.
    const keptMs = entry.kind === 2 ? Number.POSITIVE_INFINITY : (entry.offline_until ?? 0) * 1_000 - sentMs;
    const campaignId = campaignOf(entry.origin);
    const deadlineMs = sentMs + Math.min(keptMs, push.lifetimeSec * 1_000);
    // Due since it was stored: so it goes by its age, also beside what is tried again.
    const nowMs = clock();
    const dueMs = Math.min(entry.stored_ms ?? nowMs, nowMs) - clockMs;
    return { entry, campaignId, deadlineMs, dueMs };
  }

  /** Written down for the message alone. */
  function nobody(entry: EntryRow, push: PushSettings, reason: SkipReason): NewItem {
    const accountId = entry.kind === 2 ? null : entry.receiver_id;
    return { ...commonOf(entry, push), channel: '', device: undefined, accountId, reason };
  }

  async function write(client: pg.PoolClient, items: readonly NewItem[]): Promise<void> {
    if (items.length === 0) return;
    const nowMs = clock();
    await client.query({
      name: 'push_write',
      text: `
        insert into push_item (
          day, sdk_app_id, channel, kind, priority, device_id, account_id, platform, conversation_id, seq, message_day, campaign_id,
          due_ms, deadline_ms, created_ms, done_ms, outcome, reason
        )
        select $1, app, channel, 1, priority, device, account, platform, conversation, seq, message_day, campaign, due, deadline, $2::bigint,
          case when reason is null then null::bigint else $2::bigint end, case when reason is null then null else 'skipped' end, reason
        from unnest(
          $3::bigint[], $4::text[], $5::smallint[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::bigint[], $11::integer[],
          $12::bigint[], $13::bigint[], $14::bigint[], $15::text[]
        ) as t(app, channel, priority, device, account, platform, conversation, seq, message_day, campaign, due, deadline, reason)`,
      values: [
        Math.floor(nowMs / dayMs),
        nowMs,
        items.map(({ entry }) => entry.sdk_app_id),
        items.map(({ channel }) => channel),
        items.map(({ campaignId }) => (campaignId === null ? priorities.chat : priorities.campaign)),
        items.map(({ device }) => device?.device_id ?? null),
        items.map(({ accountId }) => accountId),
        items.map(({ device }) => device?.platform ?? null),
        items.map(({ entry }) => entry.conversation_id),
        items.map(({ entry }) => entry.seq),
        items.map(({ entry }) => entry.day),
        items.map(({ campaignId }) => campaignId),
        items.map(({ dueMs }) => dueMs),
        items.map(({ deadlineMs }) => Math.round(deadlineMs)),
        items.map(({ reason }) => reason ?? null),
      ],
    });
    for (const { reason } of items) if (reason !== undefined) skipped.inc({ reason });
  }

  /** Gives back whether there may be more. */
  async function expand(client: pg.PoolClient, lanes: Map<string, Lane>): Promise<boolean> {
    const entries = await take(client);
    const looked: EntryRow[] = [];
    let written = 0;
    const ofTwo: EntryRow[] = [];
    const items: NewItem[] = [];
    const note = (made: readonly (NewItem | undefined)[]): void => {
      for (const item of made) {
        if (item === undefined) continue;
        items.push(item);
        if (item.reason !== undefined || item.dueMs > clock()) continue;
        const lane = { sdkAppId: item.entry.sdk_app_id, channel: item.channel as Lane['channel'] };
        lanes.set(laneId(lane), lane);
      }
    };
    for (const entry of entries) {
      if (written >= manyItems) break;
      looked.push(entry);
      const push = apps.get(entry.sdk_app_id)?.push;
      // Its app, or the message itself, is gone; or its app has no service any more.
      if (push === undefined || entry.sender_id === null || (push.apns ?? push.fcm) === undefined) {
        messages.inc({ outcome: 'gone' });
        continue;
      }
      messages.inc({ outcome: 'expanded' });
      // Nobody but its sender sees it, or he sent it to himself.
      if (entry.kind !== 2 && (entry.visible_to === 1 || entry.receiver_id === entry.sender_id)) continue;
      // S5
      if (hasPushFlag(entry.push)) note([nobody(entry, push, 'push-flag')]);
      else if (entry.kind === 2) {
        let after = 0;
        for (let isAll = false; !isAll; ) {
          const page = await devicesOfGroup(client, entry, after);
          isAll = page.length < pageDevices;
          // All devices of an account stand on one page: the last account's may go on, so it is asked for again, but for those seen.
          const whole = isAll ? page : page.filter(({ account_id }) => account_id !== page.at(-1)?.account_id);
          after = whole.at(-1)?.account_id ?? after;
          note(whole.map((row) => itemOf(entry, push, row)));
          written += whole.length;
          await write(client, items.splice(0));
        }
      } else ofTwo.push(entry);
    }
    const candidates = await devicesOfTwo(client, ofTwo);
    note(
      candidates.map((row) => {
        const entry = ofTwo[row.position];
        const push = entry === undefined ? undefined : apps.get(entry.sdk_app_id)?.push;
        return entry === undefined || push === undefined ? undefined : itemOf(entry, push, row);
      }),
    );
    await write(client, items);
    if (looked.length > 0) {
      await client.query({
        name: 'push_entries_done',
        text: `
          update outbox o set done_ms = $3, outcome = 'delivered' from unnest($1::bigint[], $2::integer[]) as k(id, day)
          where o.id = k.id and o.day = k.day`,
        values: [looked.map(({ id }) => id), looked.map(({ day }) => day), clock()],
      });
    }
    return entries.length === maxEntries || looked.length < entries.length;
  }

  return {
    async run(signal, wakeLane) {
      while (!signal.aborted) {
        const found = new Map<string, Lane>();
        const isMore = await inTransaction(pool, (client) => expand(client, found));
        for (const lane of found.values()) wakeLane(lane);
        if (!isMore) break;
      }
    },
  };
}

function hasPushFlag(push: string | null): boolean {
  return push !== null && (JSON.parse(push) as { PushFlag?: unknown }).PushFlag === 1;
}

/** A campaign's messages say so where others say what terminal they came from. */
function campaignOf(origin: string | null): number | null {
  if (origin === null) return null;
  const { campaign } = JSON.parse(origin) as { campaign?: unknown };
  return typeof campaign === 'number' ? campaign : null;
}
