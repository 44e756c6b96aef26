import { type AppSettings, type GroupFieldLevel, groupFieldLevels } from '../../store/index.ts';
import type { ImRefusal } from '../../wire/index.ts';
import { offsetMsOf } from '../time-zone.ts';
import { checkText } from './check-fields.ts';
import { groupTypeNames, groupTypeOf } from './group-types.ts';
import type { CustomFields } from './model.ts';
import type { Standing } from './rights.ts';

/** What an app's settings say about its groups. Pure. */

type App = Pick<AppSettings, 'timeZone' | 'im'>;

/** Refuses a type that the app does not have. */
export function typeFault(app: App, type: string): ImRefusal | undefined {
  if (groupTypeOf(app, type) !== undefined) return undefined;
  const allowed = groupTypeNames(app).join(', ');
  return { ok: false, error: 'GROUP_PARAMETER', field: 'Type', reason: 'is no type of groups', allowed };
}

/** Types whose groups are in no list of those that somebody is in. */
export function unlistedTypesOf(app: App): string[] {
  return groupTypeNames(app).filter((name) => groupTypeOf(app, name)?.isInJoinedList === false);
}

/** Groups that may be created on a day, less those dismissed; 0: any number (G4). */
export function groupsPerDayOf({ im }: App): number {
  return im.groupsPerDay;
}

/** The number of the day that it is in the app's time zone, from 1 January 1970 there (G4). */
export function dayOf(app: App, nowMs: number): number {
  return Math.floor((nowMs + offsetMsOf(app)) / 86_400_000);
}

/** How many days messages of groups of the type can be fetched; 0: none are kept (G23). */
export function groupRoamingDaysOf(app: App, type: string): number {
  if (groupTypeOf(app, type)?.isStored === false) return 0;
  return ownOf(app, type)?.roamingDays ?? app.im.groupRoamingDays;
}

/** The longest of an app, of any kind of message. */
export function longestRoamingDays(app: App): number {
  return Math.max(app.im.roamingDays, ...groupTypeNames(app).map((type) => groupRoamingDaysOf(app, type)));
}

/** Messages a second to one group, and of them those of a priority; 0: any number (G29, G30, G32). */
export type GroupRate = AppSettings['im']['groupRate'];

export function groupRateOf(app: App, type: string): GroupRate {
  const { perSec, normalPerSec, lowPerSec, lowestPerSec } = { ...app.im.groupRate, ...ownOf(app, type)?.rate };
  return { perSec, normalPerSec, lowPerSec, lowestPerSec };
}

function ownOf({ im }: App, type: string) {
  return im.groupTypes.find(({ name }) => name === type);
}

/** Whether the sender of a message that the rate limit drops is told (G31). */
export function tellsDropped({ im }: App): boolean {
  return im.groupTellsDropped;
}

/** A custom field of groups, or of members. */
export interface CustomField {
  readonly key: string;
  readonly read: GroupFieldLevel;
  readonly write: GroupFieldLevel;
  readonly maxBytes: number;
  /** Of members: what they may do with their own in any case. */
  readonly selfRead: boolean;
  readonly selfWrite: boolean;
  /** Of groups: whether the app's backend hears of changes (G9). */
  readonly callback: boolean;
}

/** The custom fields of groups of the type, or of their members, by key. */
export function customFieldsOf(app: App, type: string, of: 'group' | 'member'): ReadonlyMap<string, CustomField> {
  const isOfType = ({ types }: { types: readonly string[] }) => types.length === 0 || types.includes(type);
  if (of === 'group') {
    const fields = app.im.groupFields.filter(isOfType);
    return new Map(
      fields.map(({ key, read, write, callback }) => {
        return [key, { key, read, write, callback, maxBytes: 512, selfRead: false, selfWrite: false }];
      }),
    );
  }
  // Of an audience nothing is noted.
  const fields = groupTypeOf(app, type)?.isAudience === true ? [] : app.im.groupMemberFields.filter(isOfType);
  return new Map(
    fields.map(({ key, read, write, selfRead, selfWrite }) => {
      return [key, { key, read, write, selfRead, selfWrite, maxBytes: 64, callback: false }];
    }),
  );
}

const standings: readonly Standing[] = ['administrator', 'Owner', 'Admin', 'Member', 'none'];

/** Whether somebody has a right that from `level` on everybody above has, too. */
function has(standing: Standing, level: GroupFieldLevel): boolean {
  return standings.indexOf(standing) <= groupFieldLevels.indexOf(level);
}

/** Refuses custom fields of a group that its type does not have, that somebody may not write, or that are too long. '' takes one away. */
export function customFieldFault(
  app: App,
  type: string,
  custom: CustomFields | undefined,
  standing: Standing,
): ImRefusal | undefined {
  const fields = customFieldsOf(app, type, 'group');
  return valuesFault(fields, custom, 'AppDefinedData', ({ write }) => has(standing, write));
}

/** The same of a member; whom somebody may change at all is another right. */
export function memberFieldFault(
  app: App,
  type: string,
  custom: CustomFields | undefined,
  { standing, isSelf }: { standing: Standing; isSelf: boolean },
): ImRefusal | undefined {
  const fields = customFieldsOf(app, type, 'member');
  const mayWrite = ({ write, selfWrite }: CustomField) => (isSelf && selfWrite) || has(standing, write);
  return valuesFault(fields, custom, 'AppMemberDefinedData', mayWrite);
}

/** A key that nobody knows is shown so far. */
const maxShownChars = 32;

function valuesFault(
  fields: ReadonlyMap<string, CustomField>,
  custom: CustomFields | undefined,
  name: string,
  mayWrite: (field: CustomField) => boolean,
): ImRefusal | undefined {
  for (const [key, value] of Object.entries(custom ?? {})) {
    const known = fields.get(key);
    if (known === undefined) {
      const reason = `${JSON.stringify(key.slice(0, maxShownChars).toWellFormed())} is no key of groups of this type`;
      const allowed = fields.size === 0 ? 'none: the app has declared none' : [...fields.keys()].join(', ');
      return { ok: false, error: 'GROUP_PARAMETER', field: name, reason, allowed };
    }
    const field = `${name}.${key}`;
    if (!mayWrite(known)) {
      const allowed = known.write === 'Any' ? 'anybody' : `from ${known.write} on`;
      return { ok: false, error: 'GROUP_FORBIDDEN', field, reason: 'may not be written by the caller', allowed };
    }
    const refusal = checkText(value, field, known.maxBytes);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** What somebody may read of a group's custom fields. */
export function readableFields(app: App, type: string, custom: CustomFields, standing: Standing): CustomFields {
  return pick(custom, customFieldsOf(app, type, 'group'), ({ read }) => has(standing, read));
}

/** What somebody may read of a member's custom fields. */
export function readableMemberFields(
  app: App,
  type: string,
  custom: CustomFields,
  { standing, isSelf }: { standing: Standing; isSelf: boolean },
): CustomFields {
  const mayRead = ({ read, selfRead }: CustomField) => (isSelf && selfRead) || has(standing, read);
  return pick(custom, customFieldsOf(app, type, 'member'), mayRead);
}

function pick(
  custom: CustomFields,
  fields: ReadonlyMap<string, CustomField>,
  isWanted: (field: CustomField) => boolean,
): CustomFields {
  const wanted = Object.entries(custom).filter(([key]) => {
    const field = fields.get(key);
    return field !== undefined && isWanted(field);
  });
  return Object.fromEntries(wanted);
}

/**
 * The custom fields that a message of a group of the type carries (G25): names of profile fields of its sender, keys of the group's, and of
 * the sender's as a member.
 */
export function senderFieldsOf(
  app: App,
  type: string,
): { account: readonly string[]; group: readonly string[]; member: readonly string[] } {
  const { account, group, member } = app.im.groupSenderFields;
  const [ofGroup, ofMember] = [customFieldsOf(app, type, 'group'), customFieldsOf(app, type, 'member')];
  return {
    account,
    group: group.filter((key) => ofGroup.has(key)),
    member: member.filter((key) => ofMember.has(key)),
  };
}
