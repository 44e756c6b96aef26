/** A request as it came, its form checked; the fields of each request are checked by whoever carries it out. */
export interface Frame {
  /** Undefined: not to be answered. */
  readonly id: number | undefined;
  readonly do: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export type FrameResult = { ok: true; value: Frame } | { ok: false; reason: string };

/** A frame of a client at most; its WebSocket refuses more. */
export const maxFrameBytes = 32_768;
/** Arrays and objects within one another: far more than any request has. */
const maxDepth = 24;

const openBrace = 0x7b;
const openBracket = 0x5b;
const quote = 0x22;
const backslash = 0x5c;

/**
 * Reads a text frame. Total: any bytes give a result, in time bounded by their number. `JSON.parse` makes own properties of
 * whatever keys there are, `__proto__` too, so nothing inherited is ever read as a field.
 */
export function parseFrame(data: Buffer): FrameResult {
  if (isDeeperThan(data, maxDepth)) return { ok: false, reason: `is nested deeper than ${maxDepth} levels` };
  let value: unknown;
  try {
    value = JSON.parse(data.toString());
  } catch {
    return { ok: false, reason: 'is not JSON' };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { ok: false, reason: 'is not a JSON object' };
  }
  const fields = value as Record<string, unknown>;
  const id = Object.hasOwn(fields, 'id') ? fields.id : undefined;
  if (id !== undefined && !(Number.isSafeInteger(id) && (id as number) >= 0)) {
    return { ok: false, reason: 'has an id that is not an integer; allowed: 0 … 2^53 - 1' };
  }
  if (!Object.hasOwn(fields, 'do') || typeof fields.do !== 'string') {
    return { ok: false, reason: 'has no do that is a string' };
  }
  return { ok: true, value: { id: id as number | undefined, do: fields.do, fields } };
}

/** Looks at brackets outside of texts only. Of what is no JSON it says something, and JSON.parse the rest. */
function isDeeperThan(data: Buffer, levels: number): boolean {
  let depth = 0;
  let isText = false;
  for (let i = 0; i < data.length; i++) {
    const byte = data[i] as number;
    if (isText) {
      if (byte === backslash) i++;
      else if (byte === quote) isText = false;
    } else if (byte === quote) isText = true;
    else if (byte === openBrace || byte === openBracket) {
      depth++;
      if (depth > levels) return true;
    } else if (byte === openBrace + 2 || byte === openBracket + 2) depth--;
  }
  return false;
}
