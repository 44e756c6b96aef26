import type { ImRefusal } from '../../wire/index.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The JSON object that a body is, whatever its Content-Type says. `bytes` is undefined where there was no body. */
export function readBody(bytes: unknown): { ok: true; value: Readonly<Record<string, unknown>> } | ImRefusal {
  const refuse = (reason: string): ImRefusal => ({
    ok: false,
    error: 'NOT_JSON',
    field: 'body',
    reason,
    allowed: 'a JSON object, {} where a command needs no fields',
  });
  if (!(bytes instanceof Uint8Array) || bytes.length === 0) return refuse('must not be empty');
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(bytes));
  } catch {
    return refuse('must be JSON in UTF-8');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse('must be an object');
  return { ok: true, value: value as Record<string, unknown> };
}
