export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  /** Undefined: a field that may be absent is. */
  readonly [key: string]: JsonValue | undefined;
}

/** What is wrong with a value, and where; `too-long` alone: it is right so far, but over the limit. */
export type Fault = { field: string; reason: string; allowed?: string } | 'too-long';

/** Arrays and maps within one another, at most: far more than any element has, far less than a stack holds. */
const maxDepth = 16;
const maxKeyChars = 40;

/**
 * Makes a check of values that shall be JSON: plain maps, arrays, well-formed texts without U+0000 (which a database
 * refuses), finite numbers. All values that one check sees may together take `maxBytes`; it stops as soon as they surely
 * take more, so that its work is bounded by the limit and not by the value.
 */
export function createJsonCheck(maxBytes: number): (value: unknown, field: string) => Fault | undefined {
  // A lower bound of the bytes: a UTF-16 unit takes at least one.
  let least = 0;

  function check(value: unknown, field: string, depth: number): Fault | undefined {
    least += 1;
    if (typeof value === 'string') {
      least += value.length;
      return least > maxBytes ? 'too-long' : textFault(value, field);
    }
    if (least > maxBytes) return 'too-long';
    if (value === null || typeof value === 'boolean') return undefined;
    if (typeof value === 'number') {
      return Number.isFinite(value) ? undefined : { field, reason: 'must be a finite number' };
    }
    const isArray = Array.isArray(value);
    if (!isArray && !isPlainMap(value)) return { field, reason: 'must be JSON' };
    if (depth === maxDepth) return { field, reason: 'is nested too deeply', allowed: `${maxDepth} levels` };
    // JSON.stringify would print what this one returns.
    if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return { field, reason: 'must be JSON' };
    return isArray ? checkList(value, field, depth + 1) : checkMap(value, field, depth + 1);
  }

  function checkList(list: readonly unknown[], field: string, depth: number): Fault | undefined {
    for (let i = 0; i < list.length; i += 1) {
      const fault = check(list[i], `${field}[${i}]`, depth);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  function checkMap(map: Record<string, unknown>, field: string, depth: number): Fault | undefined {
    for (const key of Object.keys(map)) {
      least += key.length;
      if (least > maxBytes) return 'too-long';
      if (textFault(key, field) !== undefined) {
        return { field, reason: 'has a key that is no well-formed Unicode or holds U+0000' };
      }
      const fault = check(map[key], below(field, key), depth);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  return (value, field) => check(value, field, 0);
}

/** What is wrong with a text, as far as Unicode goes. */
export function textFault(value: string, field: string): Exclude<Fault, 'too-long'> | undefined {
  if (value.includes('\0')) return { field, reason: 'must not hold U+0000' };
  if (!value.isWellFormed()) return { field, reason: 'must be well-formed Unicode' };
  return undefined;
}

/** Whether a value is a map as JSON has them, of whatever realm. */
export function isPlainMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** The path of a field of a map: `Data.title`, or `Data["a b"]` where the key is no name; long keys are cut. */
function below(field: string, key: string): string {
  if (/^\w{1,40}$/.test(key)) return `${field}.${key}`;
  const shown = key.length <= maxKeyChars ? key : `${key.slice(0, maxKeyChars).toWellFormed()}…`;
  return `${field}[${JSON.stringify(shown)}]`;
}
