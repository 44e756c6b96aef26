/** Header fields as an HTTP library gives them: Node's `request.headers`, Fetch `Headers`, a `Map` or a plain map; any case. */
export type HeadersLike =
  | Readonly<Record<string, string | readonly string[] | undefined>>
  | Iterable<readonly [string, string]>;

export type Lookup = { value: string } | { missing: true } | { malformed: string };

/** The one value of a field. Total: any input. @param name in lower case */
export function findHeader(headers: unknown, name: string): Lookup {
  const found = pairsOf(headers).filter(([key]) => typeof key === 'string' && key.toLowerCase() === name);
  const values = found.flatMap(([, value]) => value).filter((value) => value !== undefined && value !== null);
  const [value] = values;
  if (value === undefined) return { missing: true };
  if (values.length > 1) return { malformed: 'stands several times' };
  return typeof value === 'string' ? { value } : { malformed: 'is no text' };
}

function pairsOf(headers: unknown): [unknown, unknown][] {
  if (typeof headers !== 'object' || headers === null) return [];
  if (!(Symbol.iterator in headers)) return Object.entries(headers);
  return [...(headers as Iterable<unknown>)].flatMap((pair) => (Array.isArray(pair) ? [[pair[0], pair[1]]] : []));
}
