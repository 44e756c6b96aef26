import { type RawBuilder, sql } from 'kysely';
import type { SdkAppId } from '../../wire/index.ts';
import type { Epoch } from '../explain/epoch.ts';
import { type Db, dayOf } from '../explain/events.ts';
import { drainKeyIs, findPlaces, type Places } from '../explain/places.ts';
import type { Selection } from './orders.ts';

/** A selection whose names have been looked up: as it is written down with a replay. */
export interface Resolved {
  readonly selection: Omit<Selection, 'events'> & { readonly ids: readonly number[] | undefined };
  readonly places: Omit<Places, 'notes'>;
}

/** Names of events that are none of this database leave nothing. */
export async function resolveSelection(
  { db, epoch }: { db: Db; epoch: Epoch },
  sdkAppId: SdkAppId,
  { events, ...selection }: Selection,
): Promise<Resolved> {
  let ids: number[] | undefined;
  if (events !== undefined) {
    ids = [];
    for (const event of events) if (await epoch.isOurs(event)) ids.push(event.id);
  }
  const { notes: _, ...places } = await findPlaces(db, sdkAppId, selection.filter);
  return { selection: { ...selection, ids }, places };
}

/**
 * A condition on entries `o` of the outbox; undefined: nothing can fit. An event that is sent again keeps its name, so whoever names it
 * means its later entries, too.
 */
export function entryFits({ selection, places }: Resolved): RawBuilder<unknown> | undefined {
  const { ids, filter, sinceMs, untilMs } = selection;
  const key = drainKeyIs(sql`o.drain_key`, filter, places);
  if (key === undefined) return undefined;
  return sql.join(
    [
      key,
      ...(ids === undefined ? [] : [sql`(o.id = any (${[...ids]}) or o.origin_id = any (${[...ids]}))`]),
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
      ...(ids === undefined ? [] : [sql`(d.outbox_id = any (${[...ids]}) or d.origin_id = any (${[...ids]}))`]),
      ...(filter.command === undefined ? [] : [sql`d.command = ${filter.command}`]),
      ...(sinceMs === undefined ? [] : [sql`d.created_ms >= ${sinceMs}`]),
      ...(untilMs === undefined ? [] : [sql`d.created_ms <= ${untilMs}`]),
    ],
    sql` and `,
  );
}
