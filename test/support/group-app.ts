import { type GroupTypeRow, groupTypeRow, groupTypes, isStandardGroupType } from '../../src/wire/index.ts';
import { completeApp } from './app-settings.ts';
import { imAppId } from './im.ts';

/** A type of the app's own: its members hear of who comes and goes while they are online, and read what was said before. */
const own = { name: 'Salon', base: 'Public', changeNotice: 'weak', showsEarlier: true } as const;

/** Types of groups in the model test. */
export const groupTestTypes = [...Object.keys(groupTypes), own.name];

export function groupTestTypeOf(type: string): GroupTypeRow {
  const { name, base, ...columns } = own;
  if (type === name) return groupTypeRow(base, columns);
  if (!isStandardGroupType(type)) throw new Error(`no type ${type}`);
  return groupTypes[type];
}

export const groupTestApp = () =>
  completeApp({
    sdkAppId: imAppId,
    secret: 'a secret of sixteen or more',
    admins: ['admin'],
    im: {
      ...{ commandPerSec: 0, appPerSec: 0, groupsPerDay: 0, groupTypes: [own] },
      groupRate: { perSec: 0, normalPerSec: 0, lowPerSec: 0, lowestPerSec: 0 },
    },
  });
