import { groupTypeFault, groupTypeRow, isStandardGroupType, standardGroupTypes } from '../wire/index.ts';
import type { AppSettings } from './app-settings.ts';
import type { Refusal } from './result.ts';

/** Custom fields of one type, at most (API reference §4.3). */
const fieldsPerType = { groupFields: 20, groupMemberFields: 5 } as const;

/** The refusal of settings of groups that contradict one another; undefined: none do. Pure. */
export function findGroupFault({ im }: AppSettings): Refusal | undefined {
  return (
    findTypeFault(im) ??
    findFieldFault(im, 'groupFields') ??
    findFieldFault(im, 'groupMemberFields') ??
    findSenderFieldFault(im)
  );
}

function findTypeFault({ groupTypes }: AppSettings['im']): Refusal | undefined {
  for (const [index, { name, base, roamingDays: _, rate: __, ...columns }] of groupTypes.entries()) {
    const place = `im.groupTypes[${index}]`;
    if (groupTypes.findIndex((one) => one.name === name) < index) {
      return refusal(`${place}.name`, `${name} stands twice`, 'one entry a type');
    }
    if (isStandardGroupType(name) && name !== base) {
      const reason = `${name} is a standard type: what is like ${base} needs another name`;
      return refusal(`${place}.name`, reason, `a name other than ${standardGroupTypes.join(', ')}`);
    }
    const fault = groupTypeFault(groupTypeRow(base, columns));
    if (fault !== undefined) return refusal(`${place}.${fault.column}`, fault.reason, fault.allowed);
  }
  return undefined;
}

function findFieldFault(im: AppSettings['im'], name: keyof typeof fieldsPerType): Refusal | undefined {
  const types = [...new Set([...standardGroupTypes, ...im.groupTypes.map((type) => type.name)])];
  const keys = new Map(types.map((type) => [type, new Set<string>()]));
  for (const [index, field] of im[name].entries()) {
    const place = `im.${name}[${index}]`;
    for (const type of field.types.length === 0 ? types : new Set(field.types)) {
      const ofType = keys.get(type);
      if (ofType === undefined) return refusal(`${place}.types`, `${type} is no type of groups`, types.join(', '));
      if (ofType.has(field.key)) {
        return refusal(`${place}.key`, `${field.key} stands twice for ${type}`, 'one field of a key and type');
      }
      ofType.add(field.key);
      if (ofType.size > fieldsPerType[name]) {
        return refusal(`im.${name}`, `has ${ofType.size} fields for ${type}`, `at most ${fieldsPerType[name]} a type`);
      }
    }
  }
  return undefined;
}

function findSenderFieldFault(im: AppSettings['im']): Refusal | undefined {
  const known = {
    account: { names: im.profileFields.map(({ keyword }) => keyword), where: 'im.profileFields' },
    group: { names: im.groupFields.map(({ key }) => key), where: 'im.groupFields' },
    member: { names: im.groupMemberFields.map(({ key }) => key), where: 'im.groupMemberFields' },
  };
  for (const part of ['account', 'group', 'member'] as const) {
    const { names, where } = known[part];
    const index = im.groupSenderFields[part].findIndex((name) => !names.includes(name));
    if (index < 0) continue;
    const reason = `${im.groupSenderFields[part][index]} is none of ${where}`;
    const allowed = names.length === 0 ? `none: ${where} is empty` : [...new Set(names)].join(', ');
    return refusal(`im.groupSenderFields.${part}[${index}]`, reason, allowed);
  }
  return undefined;
}

function refusal(field: string, reason: string, allowed: string): Refusal {
  return { ok: false, code: 'INVALID_FIELD', field, reason, allowed };
}
