import { fitsUtf8, type ImErrorName, type ImRefusal, utf8Bytes } from '../../wire/index.ts';

/** Checks of what groups and members are called and say of themselves (G3, API reference §4.2, §4.3). Pure; undefined: it is right. */

const generatedPrefix = '@TGS#';
const maxIdBytes = 48;
const idForm = `1 … ${maxIdBytes} characters of printable ASCII (0x20 … 0x7e)`;

/** An id as requests name groups: of the app's own or one that was given. */
export function checkGroupIdForm(value: unknown): ImRefusal | undefined {
  if (typeof value !== 'string') return malformed('must be a string', idForm);
  if (value === '') return malformed('must not be empty', idForm);
  if (value.length > maxIdBytes) return malformed(`has ${value.length} characters`, idForm);
  return /^[\x20-\x7e]+$/.test(value) ? undefined : malformed('holds characters other than printable ASCII', idForm);
}

/** An id of the app's own, for a new group (G3). */
export function checkGroupId(value: unknown): ImRefusal | undefined {
  const refusal = checkGroupIdForm(value);
  if (refusal !== undefined) return refusal;
  if (!(value as string).startsWith(generatedPrefix)) return undefined;
  return malformed(
    `begins with ${generatedPrefix}, as only ids do that the service gives`,
    `${idForm}, begun otherwise`,
  );
}

/** Characters of an id behind its prefix: 62 bits, so that two are the same once in billions of groups; then the next one is tried. */
const idChars = 12;

/** An id for a group that has none of its own (G2). `random`: 0 … 1. */
export function newGroupId(random: () => number): string {
  const digits = Array.from({ length: idChars }, () => Math.floor(random() * 36).toString(36));
  return generatedPrefix + digits.join('').toUpperCase();
}

/** Bytes of UTF-8 at most; where the reference names two numbers, the larger one. */
const texts = {
  name: { field: 'Name', maxBytes: 30 },
  introduction: { field: 'Introduction', maxBytes: 240 },
  notification: { field: 'Notification', maxBytes: 300 },
  faceUrl: { field: 'FaceUrl', maxBytes: 100 },
} as const;
type TextField = keyof typeof texts;

/** The texts of a group's profile, those that are given. A group has to have a name. */
export function checkGroupTexts(given: { readonly [Field in TextField]?: unknown }): ImRefusal | undefined {
  for (const name of Object.keys(texts) as TextField[]) {
    const value = given[name];
    if (value === undefined) continue;
    const { field, maxBytes } = texts[name];
    if (name === 'name' && value === '') return parameter(field, 'must not be empty', `1 … ${maxBytes} bytes of UTF-8`);
    const refusal = checkText(value, field, maxBytes);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** What a member is called in the group; '' is nothing. */
export function checkNameCard(value: unknown): ImRefusal | undefined {
  return checkText(value, 'NameCard', 50);
}

/** A text that the database keeps, of so many bytes of UTF-8 at most. */
export function checkText(value: unknown, field: string, maxBytes: number): ImRefusal | undefined {
  const allowed = `a text of at most ${maxBytes} bytes of UTF-8`;
  if (typeof value !== 'string') return parameter(field, 'must be a string', allowed);
  if (value.includes('\0')) return parameter(field, 'must not hold U+0000', allowed);
  if (!value.isWellFormed()) return parameter(field, 'must be well-formed Unicode', allowed);
  return fitsUtf8(value, maxBytes) ? undefined : parameter(field, `has ${utf8Bytes(value)} bytes`, allowed);
}

const parameter = (field: string, reason: string, allowed: string) =>
  refused('GROUP_PARAMETER', field, reason, allowed);
const malformed = (reason: string, allowed: string) => refused('GROUP_ID', 'GroupId', reason, allowed);
const refused = (error: ImErrorName, field: string, reason: string, allowed: string): ImRefusal => ({
  ok: false,
  error,
  field,
  reason,
  allowed,
});
