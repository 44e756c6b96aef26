import type { Logger } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import type { AccountNo, Clock } from '../model.ts';
import type { KickedBy, LinkEnd } from '../services.ts';
import { loginOf } from './link-id.ts';
import type { OwnLink, OwnLinks } from './own-links.ts';
import type { StateEvents } from './state-events.ts';
import { pushPlatforms } from './terminal-state.ts';

/** Links that one statement is about, at most. */
const maxAtOnce = 2_000;

interface FoundRow {
  link_id: string;
  place_link: string | null;
  node_id: string | null;
  is_deleted: boolean;
  kicked_ms: number | null;
  kicked_by: string | null;
  platform: string | null;
  last_there_ms: number | null;
}

/** A transition that was written down, or one of an app that nobody is told of. */
interface ToldRow {
  sdk_app_id: SdkAppId;
  id: AccountNo;
}

export interface LinkCheck {
  /**
   * Compares the links of this process with the rows that name it. Ends links that have lost their place (a bus message was
   * lost), takes back those that were ended because our lease had run out, and ends rows whose link is gone (its end could not
   * be written down).
   */
  run(): Promise<void>;
}

export function createLinkCheck(deps: {
  db: Database;
  nodeId: string;
  links: OwnLinks;
  /** Logins under way: they may have their place in the database and not here yet. */
  isPending(linkId: string): boolean;
  end(linkId: string, end: LinkEnd, by?: KickedBy): void;
  events: StateEvents;
  clock: Clock;
  logger: Logger;
  onHealed(links: number): void;
}): LinkCheck {
  const { db, nodeId, links, isPending, end, events, clock, logger, onHealed } = deps;

  async function readPlaces(): Promise<Set<string>> {
    const { rows } = await db.pool.query<[string]>({
      name: 'im_node_links',
      // A deleted account's place is none, should nobody have been left to say so.
      text: `
        select t.link_id from terminal t join account a on a.id = t.account_id and a.deleted_ms is null
        where t.node_id = $1`,
      values: [nodeId],
      rowMode: 'array',
    });
    return new Set(rows.map(([linkId]) => linkId));
  }

  async function settle(some: readonly (readonly [string, OwnLink])[]): Promise<void> {
    const { rows } = await db.pool.query<FoundRow>({
      name: 'im_links_lost',
      text: `
        select l.link_id, t.link_id as place_link, t.node_id, a.deleted_ms is not null as is_deleted, t.kicked_ms, t.kicked_by,
          t.platform, t.last_there_ms
        from unnest($1::bigint[], $2::text[], $3::text[]) as l(account_id, platform, link_id)
        join account a on a.id = l.account_id
        left join terminal t on t.account_id = l.account_id and t.platform = l.platform`,
      values: columnsOf(some),
    });
    const byId = new Map(some);
    const back: (readonly [string, OwnLink])[] = [];
    for (const row of rows) {
      const link = byId.get(row.link_id);
      // It may have ended meanwhile.
      if (link === undefined || links.get(row.link_id) !== link) continue;
      const verdict = judge(row);
      if (verdict === 'keep') continue;
      if (verdict === 'take-back') {
        back.push([row.link_id, link]);
        continue;
      }
      onHealed(1);
      end(row.link_id, verdict.end, verdict.by);
    }
    if (back.length > 0) await takeBack(back);
  }

  /** Our lease had run out, so another process ended them; they live. */
  async function takeBack(some: readonly (readonly [string, OwnLink])[]): Promise<void> {
    const told = events.bits();
    const { rows, rowCount } = await db.pool.query<ToldRow>({
      text: `
        with back as (
          update terminal t set node_id = $4, last_there_ms = $5,
            state = case when t.is_background and t.platform = any ($6) then 'push-online' else 'online' end
          from unnest($1::bigint[], $2::text[], $3::text[]) as l(account_id, platform, link_id), account a
          where t.account_id = l.account_id and t.platform = l.platform and t.link_id = l.link_id
            and t.node_id is null and t.kicked_ms is null and a.id = t.account_id and a.deleted_ms is null
          returning a.sdk_app_id, a.id, a.identifier, t.platform, t.state
        )
        select b.sdk_app_id, b.id, im_state_event(c.bits, b.sdk_app_id, b.id, b.identifier, b.platform, b.state, 'login', $5)
        from back b left join unnest($7::bigint[], $8::integer[]) as c(app, bits)
          -- P4: one in the background was PushOnline all the time, which is no login.
          on c.app = b.sdk_app_id and b.state = 'online'`,
      values: [...columnsOf(some), nodeId, clock(), [...pushPlatforms], told.apps, told.bits],
    });
    written(rows);
    logger.info({ links: rowCount }, 'im.presence.links.taken_back');
  }

  /** Terminals of this process whose link is not there: its end could not be written down when it came. */
  async function endForgotten(linkIds: readonly string[]): Promise<void> {
    const told = events.bits();
    const { rows, rowCount } = await db.pool.query<ToldRow>({
      text: `
        with ended as (
          update terminal t set node_id = null,
            state = case when t.platform = any ($3) then 'push-online' else 'offline' end, last_there_ms = $4
          from account a
          where t.node_id = $1 and t.link_id = any ($2) and a.id = t.account_id
          returning a.sdk_app_id, a.id, a.identifier, t.platform, t.state
        )
        select e.sdk_app_id, e.id, im_state_event(c.bits, e.sdk_app_id, e.id, e.identifier, e.platform, e.state, 'link-closed', $4)
        from ended e left join unnest($5::bigint[], $6::integer[]) as c(app, bits) on c.app = e.sdk_app_id`,
      values: [nodeId, linkIds, [...pushPlatforms], clock(), told.apps, told.bits],
    });
    written(rows);
    logger.info({ links: rowCount }, 'im.presence.links.forgotten');
  }

  function written(rows: readonly ToldRow[]): void {
    for (const { sdk_app_id, id } of rows) events.written(sdk_app_id, id);
  }

  return {
    async run() {
      // Taken before the rows are read: a link of later is in neither.
      const own = [...links.entries()];
      const places = await readPlaces();
      const lost = own.filter(([linkId]) => !places.has(linkId));
      for (let i = 0; i < lost.length; i += maxAtOnce) await settle(lost.slice(i, i + maxAtOnce));
      const forgotten = [...places].filter((linkId) => links.get(linkId) === undefined && !isPending(linkId));
      for (let i = 0; i < forgotten.length; i += maxAtOnce) await endForgotten(forgotten.slice(i, i + maxAtOnce));
    },
  };

  function judge(row: FoundRow): 'keep' | 'take-back' | { end: LinkEnd; by?: KickedBy } {
    if (row.is_deleted) return { end: 'account-deleted' };
    // A kick over REST leaves no link; a logout would have been our own.
    if (row.place_link === null) return { end: 'kicked-by-admin' };
    if (row.place_link !== row.link_id) {
      if (loginOf(row.place_link) === loginOf(row.link_id)) return { end: 'replaced' };
      return { end: 'kicked', by: { platform: row.platform ?? '', at: toSec(row.last_there_ms) } };
    }
    if (row.kicked_ms !== null) {
      return { end: 'kicked', by: { platform: row.kicked_by ?? '', at: toSec(row.kicked_ms) } };
    }
    return row.node_id === nodeId ? 'keep' : 'take-back';
  }
}

function columnsOf(some: readonly (readonly [string, OwnLink])[]) {
  return [
    some.map(([, { account }]) => account.no),
    some.map(([, { platform }]) => platform),
    some.map(([linkId]) => linkId),
  ];
}

function toSec(ms: number | null): number {
  return Math.floor((ms ?? 0) / 1_000);
}
