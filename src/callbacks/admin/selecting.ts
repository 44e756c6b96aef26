import { type RawBuilder, sql } from 'kysely';
import type { SdkAppId } from '../../wire/index.ts';
import { type Db, dayOf } from '../explain/events.ts';
import { drainKeyIs, findPlaces, type Places } from '../explain/places.ts';
import type { Selection } from './orders.ts';

/** A selection whose names have been looked up: as it is written down with a replay. */
export interface Resolved {
  readonly selection: Selection;
  readonly places: Places;
}

export async function resolveSelection(db: Db, sdkAppId: SdkAppId, selection: Selection): Promise<Resolved> {
  return { selection, places: await findPlaces(db, sdkAppId, selection.filter) };
}

/** A condition on entries `o` of the outbox; undefined: nothing can fit. */
export function entryFits({ selection, places }: Resolved): RawBuilder<unknown> | undefined {
  const { ids, filter, sinceMs, untilMs } = selection;
  const key = drainKeyIs(sql`o.drain_key`, filter, places);
  if (key === undefined) return undefined;
  return sql.join(
    [
      key,
      ...(ids === undefined ? [] : [sql`o.id = any (${[...ids]})`]),
      ...(filter.command === undefined ? [] : [sql`o.event = ${filter.command}`]),
      // Its day stands beside the time, so that other days' partitions stay closed.
      ...(sinceMs === undefined ? [] : [sql`o.created_ms >= ${sinceMs} and o.day >= ${dayOf(sinceMs)}`]),
      ...(untilMs === undefined ? [] : [sql`o.created_ms <= ${untilMs} and o.day <= ${dayOf(untilMs)}`]),
    ],
    sql` and `,
  );
}

/** The same of dead letters `d`. */
export function letterFits({ selection, places }: Resolved): RawBuilder<unknown> | undefined {
  const { ids, filter, sinceMs, untilMs } = selection;
  const key = drainKeyIs(sql`d.drain_key`, filter, places);
  if (key === undefined) return undefined;
  return sql.join(
    [
      key,
      ...(ids === undefined ? [] : [sql`d.outbox_id = any (${[...ids]})`]),
      ...(filter.command === undefined ? [] : [sql`d.command = ${filter.command}`]),
      ...(sinceMs === undefined ? [] : [sql`d.created_ms >= ${sinceMs}`]),
      ...(untilMs === undefined ? [] : [sql`d.created_ms <= ${untilMs}`]),
    ],
    sql` and `,
  );
}
