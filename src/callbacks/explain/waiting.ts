import { sql } from 'kysely';
import type { AppSettings } from '../../store/index.ts';
import { type AfterCommand, afterCommands } from '../../wire/index.ts';
import { type Endpoint, endpointOf, urlHash } from '../endpoint/endpoint.ts';
import type { Pause, Pauses } from '../pauses.ts';
import { type CallbackEvent, type Db, type LoggedAttempt, readLog } from './events.ts';

/** Why an event has not been told yet; several may hold, what decides first. */
export type WaitReason =
  /** The settings do not name its command any more. */
  | { readonly code: 'off' }
  | { readonly code: 'paused'; readonly pause: Pause }
  /** No process sends callbacks. `seenMs`: when one did. */
  | { readonly code: 'no-relay'; readonly seenMs: number | undefined }
  | { readonly code: 'circuit-open'; readonly url: string }
  /** An earlier event of the same conversation or account fails, and order is kept. */
  | { readonly code: 'behind-failing'; readonly head: Head; readonly ahead: number }
  | { readonly code: 'behind'; readonly head: Head; readonly ahead: number }
  /** Its last attempt failed; the next one is due then. */
  | { readonly code: 'retry'; readonly atMs: number; readonly last: LoggedAttempt | undefined }
  /** It is not to be told before then. */
  | { readonly code: 'not-due'; readonly atMs: number }
  /** Its turn is about to come. */
  | { readonly code: 'due' };

/** The first event that waits of a conversation or account at an endpoint: the others follow it. */
export interface Head {
  readonly id: number;
  readonly attempts: number;
  readonly nextAttemptMs: number | undefined;
  readonly last: LoggedAttempt | undefined;
}

export interface WaitingDeps {
  db: Db;
  pauses: Pick<Pauses, 'find'>;
  clock: () => number;
  /** Endpoints whose circuit is not closed, by id, as far as this process knows. */
  openCircuits: () => ReadonlySet<string>;
}

/** Events ahead of one that are counted. */
export const maxAhead = 1_000;

/** Why those events wait, in their order. */
export async function whyWaiting(
  { db, pauses, clock, openCircuits }: WaitingDeps,
  app: AppSettings,
  events: readonly CallbackEvent[],
): Promise<WaitReason[][]> {
  if (events.length === 0) return [];
  const endpoints = events.map((event) => endpointOf(app, event.command));
  const [heads, relay] = await Promise.all([readHeads(db, app, events, endpoints), readRelay(db)]);
  const circuits = openCircuits();
  const nowMs = clock();
  return events.map((event, index) => {
    const endpoint = endpoints[index];
    if (endpoint === undefined) return [{ code: 'off' }];
    const reasons: WaitReason[] = [];
    const pause = pauses.find(app.sdkAppId, event.command, urlHash(endpoint.url));
    if (pause !== undefined) reasons.push({ code: 'paused', pause });
    if (!relay.isAlive) reasons.push({ code: 'no-relay', seenMs: relay.seenMs });
    if (circuits.has(endpoint.id)) reasons.push({ code: 'circuit-open', url: endpoint.url });
    const found = heads[index];
    if (found !== undefined && found.head.id !== event.id) {
      const { head, ahead } = found;
      reasons.push({ code: head.attempts > 0 ? 'behind-failing' : 'behind', head, ahead });
    } else if (event.nextAttemptMs !== undefined && event.nextAttemptMs > nowMs) {
      const atMs = event.nextAttemptMs;
      reasons.push(event.attempts > 0 ? { code: 'retry', atMs, last: event.log.at(-1) } : { code: 'not-due', atMs });
    }
    return reasons.length === 0 ? [{ code: 'due' }] : reasons;
  });
}

interface HeadRow {
  position: number;
  id: number;
  attempts: number;
  next_attempt_ms: number;
  attempt_log: string | null;
  ahead: number;
}

async function readHeads(
  db: Db,
  app: AppSettings,
  events: readonly CallbackEvent[],
  endpoints: readonly (Endpoint | undefined)[],
): Promise<(undefined | { head: Head; ahead: number })[]> {
  const commandsOf = (endpoint: Endpoint | undefined): AfterCommand[] =>
    endpoint === undefined ? [] : afterCommands.filter((command) => endpointOf(app, command)?.id === endpoint.id);
  const isAhead = sql`o.consumer = 1 and o.drain_key = k.drain_key and o.done_ms is null and o.sdk_app_id = ${app.sdkAppId}
    and o.event = any (string_to_array(k.commands, ','))`;
  // The first one and how many there are apart: together they tempt the planner to sort all that waits of the key, for each event.
  const { rows } = await sql<HeadRow>`
    select k.position, h.id, h.attempts, h.next_attempt_ms, h.attempt_log, n.ahead
    from unnest(
      ${events.map(({ drainKey }) => drainKey)}::text[], ${events.map(({ id }) => id)}::bigint[],
      ${endpoints.map((endpoint) => commandsOf(endpoint).join(','))}::text[]
    ) with ordinality as k(drain_key, id, commands, position)
    cross join lateral (
      select o.id, o.attempts, o.next_attempt_ms, o.attempt_log from outbox o
      where ${isAhead} and o.id <= k.id order by o.id limit 1
    ) h
    cross join lateral (
      select count(*) as ahead from (select from outbox o where ${isAhead} and o.id < k.id limit ${maxAhead}) o
    ) n`.execute(db);
  const heads = events.map((): undefined | { head: Head; ahead: number } => undefined);
  for (const row of rows) {
    heads[row.position - 1] = {
      head: {
        id: row.id,
        attempts: row.attempts,
        nextAttemptMs: row.next_attempt_ms === 0 ? undefined : row.next_attempt_ms,
        last: readLog(row.attempt_log).at(-1),
      },
      ahead: row.ahead,
    };
  }
  return heads;
}

/** Leases that processes with the role relay hold, one or another of them. */
export const relayTasks = ['callbacks-replays', 'callbacks-backlog'] as const;

/** Whether any process sends callbacks, as its leases tell: a process that was killed is noticed when they end. */
export async function readRelay(db: Db): Promise<{ isAlive: boolean; seenMs: number | undefined }> {
  const { rows } = await sql<{ task: string; is_held: boolean; until_ms: number; now_ms: number }>`
    select task, lease_until > now() as is_held, floor(extract(epoch from lease_until) * 1000)::bigint as until_ms,
      floor(extract(epoch from now()) * 1000)::bigint as now_ms
    from task_lease where task = any (${[...relayTasks]})`.execute(db);
  // The one that is renewed more often knows better.
  const lease = rows.find(({ task }) => task === relayTasks[0]) ?? rows[0];
  return {
    isAlive: lease?.is_held === true,
    seenMs: lease === undefined ? undefined : Math.min(lease.until_ms, lease.now_ms),
  };
}
