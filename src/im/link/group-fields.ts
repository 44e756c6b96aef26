import type { CustomFields } from '../groups/model.ts';
import { withoutAbsent } from '../without-absent.ts';
import { type FieldReader, groupPrefix, parseAccount, parseGroupId } from './field-reader.ts';

/** Fields that several requests about groups have. */

/** Accounts that one request names, and members that a group is made with. */
const maxAccounts = 500;

/** The id of the group whose conversation the request names. */
export function groupOfConversation(fields: FieldReader): string {
  const name = fields.raw('conversation');
  return fields.take(parseGroupId(String(name).slice(groupPrefix.length), 'conversation')) ?? '';
}

/** Accounts, each any number of times. */
export function readAccounts(fields: FieldReader, name: string) {
  return fields.list(name, maxAccounts, parseAccount);
}

/** At least one account that something is to be done with. */
export function readTargets(fields: FieldReader) {
  const accounts = readAccounts(fields, 'accounts');
  if (accounts.length === 0) {
    const allowed = `1 … ${maxAccounts} accounts`;
    fields.refuse({ error: 'INVALID_FIELD', field: 'accounts', reason: 'is empty', allowed });
  }
  return accounts;
}

/** Words of somebody to somebody. */
export function readWords(fields: FieldReader, name: string, maxBytes: number): string | undefined {
  const words = fields.optionalPlain(name);
  if (words === undefined || Buffer.byteLength(words) <= maxBytes) return words;
  fields.refuse({
    error: 'INVALID_FIELD',
    field: name,
    reason: 'is too long',
    allowed: `at most ${maxBytes} bytes of UTF-8`,
  });
  return undefined;
}

/** Values of the app's own fields. Which keys there are and who may set them the groups know. */
export function readCustom(fields: FieldReader, name = 'custom'): CustomFields | undefined {
  if (fields.raw(name) === undefined) return undefined;
  const given = fields.object(name);
  for (const [key, value] of Object.entries(given)) {
    if (!isPlain(key) || typeof value !== 'string' || !isPlain(value)) {
      const reason = 'must hold texts by their keys, of well-formed Unicode without U+0000';
      fields.refuse({ error: 'INVALID_FIELD', field: name, reason, allowed: '{"key": "value", …}' });
      return undefined;
    }
  }
  return given as CustomFields;
}

function isPlain(text: string): boolean {
  return text.isWellFormed() && !text.includes('\u0000');
}

/** The fields that are there, of which there must be one. */
export function someOf<T extends object>(fields: FieldReader, given: T, names: readonly string[]) {
  const present = withoutAbsent(given);
  if (Object.keys(present).length === 0) {
    const [field = ''] = names;
    fields.refuse({
      error: 'INVALID_FIELD',
      field,
      reason: 'names nothing to be changed',
      allowed: names.join(', '),
    });
  }
  return present;
}
