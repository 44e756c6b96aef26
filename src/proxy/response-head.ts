import { type FieldClasses, isEndToEnd } from './header-fields.ts';

/** May a response to this method with this status have a body (RFC 9112 §6.3)? */
export function responseHasBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304 && status >= 200;
}

/** Names in Connection fields, in lower case. */
function namedByConnection(raw: readonly string[], classes: FieldClasses): Set<string> | undefined {
  let named: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    if (classes.of(raw[i] as string) !== 'connection') continue;
    for (const part of (raw[i + 1] as string).split(',')) {
      const name = part.trim().toLowerCase();
      if (name === '' || name === 'keep-alive' || name === 'close') continue;
      named ??= new Set();
      named.add(name);
    }
  }
  return named;
}

/**
 * The fields of an upstream's response that go on to the client, as they came and in their order (A1): all but those
 * that speak of the upstream connection. The framing towards the client is Node's.
 *
 * @param chunked the body goes on in chunks; only then may its length stay unsaid and trailers be announced
 */
export function filterResponseHead(
  raw: readonly string[],
  classes: FieldClasses,
  chunked: boolean,
  status = 200,
): string[] {
  const named = namedByConnection(raw, classes);
  const out: string[] = [];
  let lengthSaid = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    switch (classes.of(name)) {
      case 'connection':
      case 'hop-by-hop':
      case 'transfer-encoding':
      case 'te':
        continue;
      case 'content-length':
        // Said once, even if the upstream said it twice alike; a 204 and a chunked body have none.
        if (chunked || status === 204 || status < 200 || lengthSaid) continue;
        lengthSaid = true;
        break;
      case 'trailer':
        if (!chunked) continue;
        break;
      default:
        if (named?.has(name.toLowerCase())) continue;
    }
    out.push(name, raw[i + 1] as string);
  }
  return out;
}

/** Request trailers to forward, as lines: end-to-end ones only, so nothing of ours can be set there (A11). */
export function filterTrailers(raw: readonly string[], classes: FieldClasses): string {
  let lines = '';
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (isEndToEnd(classes.of(name))) lines += `${name}: ${raw[i + 1]}\r\n`;
  }
  return lines;
}
