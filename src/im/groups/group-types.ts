import type { AppSettings } from '../../store/index.ts';
import { type GroupTypeRow, groupTypeRow, groupTypes, standardGroupTypes } from '../../wire/index.ts';

export { type GroupTypeRow, groupTypes } from '../../wire/index.ts';

/** Of an app's settings, which are another object as soon as something in them is another one. */
const known = new WeakMap<object, ReadonlyMap<string, GroupTypeRow>>();

type App = { readonly im: Pick<AppSettings['im'], 'groupTypes'> };

/**
 * The row of a type of an app: the standard ones, as the app has changed them, and those of its own (G38); undefined: there is none of
 * that name. What the columns mean stands in wire.
 */
export function groupTypeOf(app: App, type: string): GroupTypeRow | undefined {
  return typesOf(app).get(type);
}

/** The names of all types of an app: the standard ones first. */
export function groupTypeNames(app: App): string[] {
  return [...typesOf(app).keys()];
}

function typesOf({ im }: App): ReadonlyMap<string, GroupTypeRow> {
  const found = known.get(im);
  if (found !== undefined) return found;
  const types = new Map<string, GroupTypeRow>(standardGroupTypes.map((name) => [name, groupTypes[name]]));
  for (const { name, base, roamingDays: _, rate: __, ...columns } of im.groupTypes) {
    types.set(name, groupTypeRow(base, columns));
  }
  known.set(im, types);
  return types;
}
