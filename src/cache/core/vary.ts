import { type RawFields, splitList, valuesOf } from './raw-fields.ts';

/** Names in Vary, in lower case, sorted, each once; `*`: nothing that is sent again can match. */
export type Vary = readonly string[] | '*';

const none: readonly string[] = [];

export function parseVary(raw: RawFields): Vary {
  const lines = valuesOf(raw, 'vary');
  if (lines.length === 0) return none;
  const names = new Set(lines.flatMap(splitList).map((name) => name.toLowerCase()));
  return names.has('*') ? '*' : [...names].sort();
}

/** Lists of which RFC 9110 says that white space around their commas means nothing, and their case neither. */
const listFields = new Set(['accept-charset', 'accept-encoding', 'accept-language', 'te']);

/**
 * What a request's fields are for a given Vary: two requests match exactly when these texts are equal (RFC 9111 §4.1).
 * @param fieldOf the field's lines joined, undefined where it is absent
 */
export function varyKey(names: readonly string[], fieldOf: (name: string) => string | undefined): string {
  let key = '';
  for (const name of names) {
    const value = fieldOf(name);
    // No value can hold a line end, so none can pass for another's end or for an absent field.
    if (value !== undefined) key += `=${listFields.has(name) ? splitList(value.toLowerCase()).join(',') : value}`;
    key += '\n';
  }
  return key;
}
