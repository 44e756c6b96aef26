import { fitsUtf8, type ImErrorName, type ImRefusal, type ImResult } from '../../wire/index.ts';

/** The slot of tags; those of attributes are 0 to 9. */
export const tagSlot = -1;
export const maxMarkBytes = 50;
const maxTags = 10;

/** A tag, or an attribute with its value: what an account has, or not. */
export interface Term {
  readonly slot: number;
  readonly value: string;
}

/** Who is meant: the accounts with all of `and`, and with one at least of `or` where there are any. Both empty: everybody. */
export interface Terms {
  readonly and: readonly Term[];
  readonly or: readonly Term[];
}

const families = [
  ['TagsOr', 'TagsAnd'],
  ['AttrsOr', 'AttrsAnd'],
] as const;
const fields: readonly string[] = families.flat();

/**
 * Reads the Condition of a push to many (API reference §8.1). Strict: a condition that is not understood is no condition at all, and would
 * go to everybody. `slots`: the app's attributes by name. Pure and total.
 */
export function parseCondition(condition: unknown, slots: ReadonlyMap<string, number>): ImResult<Terms> {
  if (condition === undefined) return { ok: true, value: { and: [], or: [] } };
  if (!isMap(condition)) return refuse('Condition', 'PUSH_CONDITION', 'must be an object');
  const given = Object.keys(condition);
  const unknown = given.find((name) => !fields.includes(name));
  if (unknown !== undefined) {
    const field = `Condition.${unknown.slice(0, 40)}`;
    return refuse(field, 'PUSH_CONDITION', 'is no field of a condition', fields.join(', '));
  }
  if (given.length === 0) {
    return refuse('Condition', 'PUSH_CONDITION', 'must not be empty', `${fields.join(', ')}; absent: everybody`);
  }
  const used = families.filter((family) => family.some((name) => given.includes(name)));
  if (used.length > 1) {
    return refuse('Condition', 'CONDITION_FAMILIES', 'has both tags and attributes', 'one of them');
  }
  return given.some((name) => name.startsWith('Tags')) ? readTags(condition) : readAttributes(condition, slots);
}

function readTags(condition: Readonly<Record<string, unknown>>): ImResult<Terms> {
  const or = readTagList(condition, 'TagsOr');
  if (!or.ok) return or;
  const and = readTagList(condition, 'TagsAnd');
  if (!and.ok) return and;
  const twice = and.value.findIndex((tag) => or.value.includes(tag));
  if (twice !== -1) return refuse(`Condition.TagsAnd[${twice}]`, 'TAG_TWICE', 'stands in TagsOr, too');
  const terms = (tags: readonly string[]) => [...new Set(tags)].map((value): Term => ({ slot: tagSlot, value }));
  return { ok: true, value: { and: terms(and.value), or: terms(or.value) } };
}

function readTagList(condition: Readonly<Record<string, unknown>>, name: string): ImResult<readonly string[]> {
  const field = `Condition.${name}`;
  const allowed = `1 … ${maxTags} tags`;
  if (!Object.hasOwn(condition, name)) return { ok: true, value: [] };
  const tags = condition[name];
  if (!Array.isArray(tags)) return refuse(field, 'PUSH_CONDITION', 'must be an array', allowed);
  if (tags.length === 0) return refuse(field, 'PUSH_CONDITION', 'must not be empty', allowed);
  if (tags.length > maxTags) return refuse(field, 'TOO_MANY_TAGS', `has ${tags.length} tags`, allowed);
  for (const [i, tag] of tags.entries()) {
    const fault = markFault(tag);
    if (fault === undefined) continue;
    const errors = { empty: 'TAG_EMPTY', long: 'TAG_LENGTH', type: 'PUSH_CONDITION' } as const;
    return refuse(`${field}[${i}]`, errors[fault.kind], fault.reason, fault.allowed);
  }
  return { ok: true, value: tags };
}

function readAttributes(
  condition: Readonly<Record<string, unknown>>,
  slots: ReadonlyMap<string, number>,
): ImResult<Terms> {
  const terms: { or: Term[]; and: Term[] } = { or: [], and: [] };
  for (const [name, list] of [
    ['AttrsOr', terms.or],
    ['AttrsAnd', terms.and],
  ] as const) {
    const field = `Condition.${name}`;
    if (!Object.hasOwn(condition, name)) continue;
    const attributes = condition[name];
    if (!isMap(attributes)) return refuse(field, 'PUSH_CONDITION', 'must be an object');
    if (Object.keys(attributes).length === 0) return refuse(field, 'PUSH_CONDITION', 'must not be empty');
    for (const [attribute, value] of Object.entries(attributes)) {
      const at = `${field}.${attribute.slice(0, 50)}`;
      const slot = slots.get(attribute);
      if (slot === undefined) return refuse(at, 'ATTRIBUTE_UNKNOWN', 'is no attribute of the app', namesOf(slots));
      const fault = markFault(value);
      if (fault !== undefined) return refuse(at, 'PUSH_CONDITION', fault.reason, fault.allowed);
      list.push({ slot, value: value as string });
    }
  }
  return { ok: true, value: terms };
}

/** What is wrong with a tag, or with the name or value of an attribute; undefined: nothing. */
export function markFault(
  value: unknown,
): { kind: 'type' | 'empty' | 'long'; reason: string; allowed: string } | undefined {
  const allowed = `1 … ${maxMarkBytes} bytes of UTF-8`;
  if (typeof value !== 'string') return { kind: 'type', reason: 'must be a string', allowed };
  if (value === '') return { kind: 'empty', reason: 'must not be empty', allowed };
  if (!fitsUtf8(value, maxMarkBytes)) return { kind: 'long', reason: 'is too long', allowed };
  // What a database cannot hold.
  if (value.isWellFormed() && !value.includes('\0')) return undefined;
  return { kind: 'type', reason: 'must be well-formed Unicode without U+0000', allowed };
}

/** The app's attributes, for whoever named one that it has not. */
export function namesOf(slots: ReadonlyMap<string, number>): string {
  return slots.size === 0 ? 'none: im_set_attr_name defines them' : [...slots.keys()].join(', ');
}

export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(field: string, error: ImErrorName, reason: string, allowed?: string): ImRefusal {
  return { ok: false, error, field, reason, ...(allowed === undefined ? {} : { allowed }) };
}
