import { sql } from 'kysely';
import type { Database } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import type { AccountNo, Clock } from '../model.ts';
import type { StateEvents } from './state-events.ts';
import { pushPlatforms } from './terminal-state.ts';

/** Terminals that one transaction ends at most: it stays within the time of a statement. */
const maxEnded = 5_000;

export interface NodeEnds {
  /** Ends the terminals that a process has, as link closed, and the process's row. Gives back how many there were. */
  end(nodeId: string): Promise<number>;
  /** Does so for each process whose lease ran out at least so long ago; one survivor does it for one of them. */
  endExpired(exceptNodeId: string, forMs: number): Promise<{ nodes: number; terminals: number }>;
  /** Does so for processes that terminals name, and that have no row: a login came between the end of both. */
  endOrphans(exceptNodeId: string): Promise<number>;
}

export function createNodeEnds(deps: { db: Database; events: StateEvents; clock: Clock }): NodeEnds {
  const { db, events, clock } = deps;

  /**
   * Some terminals of a node, in one transaction. An expired one's row is locked first: if its lease is good again, or another
   * survivor is at it, it is not ours to end: undefined. Its terminals were there as long as its lease was good.
   */
  async function endSome(nodeId: string, why: 'closing' | 'expired' | 'orphaned'): Promise<number | undefined> {
    const done = await endSomeInOne(nodeId, why);
    for (const [sdkAppId, account] of done?.told ?? []) events.written(sdkAppId, account);
    return done?.ended;
  }

  function endSomeInOne(
    nodeId: string,
    why: 'closing' | 'expired' | 'orphaned',
  ): Promise<{ ended: number; told: readonly (readonly [SdkAppId, AccountNo])[] } | undefined> {
    return db.kysely.transaction().execute(async (transaction) => {
      const nowMs = clock();
      let lastThereMs = why === 'closing' ? nowMs : null;
      if (why === 'expired') {
        const { rows } = await sql<{ for_ms: number }>`
          select (extract(epoch from clock_timestamp() - lease_until) * 1000)::bigint as for_ms
          from node where id = ${nodeId} and lease_until < clock_timestamp()
          for update skip locked`.execute(transaction);
        if (rows[0] === undefined) return undefined;
        lastThereMs = nowMs - rows[0].for_ms;
      }
      const { apps, bits } = events.bits();
      // A terminal that a login holds is changed by it, or left for the next round.
      const { rows } = await sql<{ ended: number; told: [SdkAppId, AccountNo][] | null }>`
        with held as (
          select account_id, platform from terminal where node_id = ${nodeId}
          limit ${maxEnded} for update skip locked
        ), ended as (
          update terminal t set node_id = null,
            state = case when t.platform = any (${[...pushPlatforms]}) then 'push-online' else 'offline' end,
            last_there_ms = greatest(t.last_there_ms, ${lastThereMs}::bigint)
          from held h, account a
          where t.account_id = h.account_id and t.platform = h.platform and a.id = t.account_id
          returning a.sdk_app_id, a.id, a.identifier, t.platform, t.state
        ), told as (
          select e.sdk_app_id, e.id,
            im_state_event(c.bits, e.sdk_app_id, e.id, e.identifier, e.platform, e.state, 'link-closed', ${nowMs})
          from ended e join unnest(${apps}::bigint[], ${bits}::integer[]) as c(app, bits) on c.app = e.sdk_app_id
        )
        select (select count(*) from ended) as ended,
          (select json_agg(json_build_array(sdk_app_id, id)) from told) as told`.execute(transaction);
      const ended = Number(rows[0]?.ended ?? 0);
      if (ended < maxEnded) {
        await sql`
          delete from node where id = ${nodeId} and not exists (select 1 from terminal where node_id = ${nodeId})`.execute(
          transaction,
        );
      }
      return { ended, told: rows[0]?.told ?? [] };
    });
  }

  async function endAll(...node: Parameters<typeof endSome>): Promise<number | undefined> {
    let total = 0;
    for (;;) {
      const ended = await endSome(...node);
      if (ended === undefined) return total === 0 ? undefined : total;
      total += ended;
      if (ended < maxEnded) return total;
    }
  }

  return {
    end: async (nodeId) => (await endAll(nodeId, 'closing')) ?? 0,
    async endExpired(exceptNodeId, forMs) {
      const { rows } = await db.pool.query<{ id: string }>({
        name: 'im_nodes_expired',
        text: `
          select id from node where lease_until < clock_timestamp() - $2 * interval '1 millisecond' and id <> $1`,
        values: [exceptNodeId, forMs],
      });
      const done = { nodes: 0, terminals: 0 };
      for (const { id } of rows) {
        const ended = await endAll(id, 'expired');
        if (ended === undefined) continue;
        done.nodes += 1;
        done.terminals += ended;
      }
      return done;
    },
    async endOrphans(exceptNodeId) {
      const { rows } = await db.pool.query<{ node_id: string }>({
        name: 'im_nodes_orphaned',
        // The distinct nodes, a step of the index each.
        text: `
          with recursive named as (
            (select node_id from terminal where node_id is not null order by node_id limit 1)
            union all
            select (
              select t.node_id from terminal t
              where t.node_id is not null and t.node_id > named.node_id order by t.node_id limit 1
            )
            from named where named.node_id is not null
          )
          select node_id from named
          where node_id is not null and node_id <> $1 and not exists (select 1 from node where id = node_id)`,
        values: [exceptNodeId],
      });
      let total = 0;
      for (const { node_id } of rows) total += (await endAll(node_id, 'orphaned')) ?? 0;
      return total;
    },
  };
}
