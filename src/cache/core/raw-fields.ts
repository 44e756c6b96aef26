/**
 * Header fields as they come from the wire: name, value, name, value …; names in any case, values without the white
 * space around them. Nothing here changes an array that it is given.
 */
export type RawFields = readonly string[];

/** All values of a field, in order. @param name in lower case */
export function valuesOf(raw: RawFields, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const each = raw[i] as string;
    if (each.length === name.length && each.toLowerCase() === name) values.push(raw[i + 1] as string);
  }
  return values;
}

/** The first value of a field. @param name in lower case */
export function firstOf(raw: RawFields, name: string): string | undefined {
  for (let i = 0; i < raw.length; i += 2) {
    const each = raw[i] as string;
    if (each.length === name.length && each.toLowerCase() === name) return raw[i + 1];
  }
  return undefined;
}

/** The field as one value, its lines joined as a list (RFC 9110 §5.3). @param name in lower case */
export function combinedOf(raw: RawFields, name: string): string | undefined {
  const values = valuesOf(raw, name);
  return values.length === 0 ? undefined : values.join(', ');
}

/** Members of a comma-separated list, trimmed, empty ones left out; commas within quotes belong to their member. */
export function splitList(value: string): string[] {
  if (!value.includes('"')) return splitPlain(value);
  const members: string[] = [];
  let from = 0;
  let quoted = false;
  for (let i = 0; i < value.length; i += 1) {
    const c = value[i];
    if (quoted && c === '\\') i += 1;
    else if (c === '"') quoted = !quoted;
    else if (c === ',' && !quoted) {
      const member = trimOws(value.slice(from, i));
      if (member !== '') members.push(member);
      from = i + 1;
    }
  }
  const rest = value.slice(from);
  // A quote that never ends quotes nothing: no directive is to hide behind one.
  if (quoted) return [...members, ...splitPlain(rest)];
  const last = trimOws(rest);
  return last === '' ? members : [...members, last];
}

function splitPlain(value: string): string[] {
  return value
    .split(',')
    .map(trimOws)
    .filter((member) => member !== '');
}

/** Removes spaces and tabs at both ends; other white space is data. */
export function trimOws(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isOws(value.charCodeAt(start))) start += 1;
  while (end > start && isOws(value.charCodeAt(end - 1))) end -= 1;
  return start === 0 && end === value.length ? value : value.slice(start, end);
}

function isOws(code: number): boolean {
  return code === 32 || code === 9;
}
