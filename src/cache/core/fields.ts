import type { ResponseDirectives } from './directives.ts';
import type { RawFields } from './raw-fields.ts';

/** Fields that belong to the message or its connection, not to what is stored (RFC 9111 §3.1). */
const notStored = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  // Made anew for each answer.
  'age',
  'content-length',
]);

/** Fields that say how the stored bytes are to be read: a 304 does not bring other bytes (RFC 9111 §3.2). */
const ofBytes = new Set(['content-encoding', 'content-length', 'content-range', 'content-md5']);

/** What a 304 leaves away: it has no body to describe (RFC 9110 §15.4.5). Written out, so that bundlers can leave it away. */
const notIn304 = new Set([
  'accept-ranges',
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-range',
  'content-type',
]);

function without(raw: RawFields, isDropped: (name: string) => boolean): string[] {
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (!isDropped(name.toLowerCase())) kept.push(name, raw[i + 1] as string);
  }
  return kept;
}

/** The fields of a response that are stored: without those that its directives except (RFC 9111 §5.2.2.4, §5.2.2.7). */
export function fieldsToStore(
  raw: RawFields,
  directives: Pick<ResponseDirectives, 'noCacheFields' | 'privateFields'>,
  kind: 'shared' | 'private',
): string[] {
  const excepted = new Set(directives.noCacheFields);
  if (kind === 'shared') for (const name of directives.privateFields) excepted.add(name);
  return without(raw, (name) => notStored.has(name) || excepted.has(name));
}

/** The stored fields as a 304 (or the answer to a HEAD) makes them: what it names it replaces, all lines of a name. */
export function updatedFields(stored: RawFields, update: RawFields): string[] {
  const fresh = without(update, (name) => notStored.has(name) || ofBytes.has(name));
  const named = new Set<string>();
  for (let i = 0; i < fresh.length; i += 2) named.add((fresh[i] as string).toLowerCase());
  return [...without(stored, (name) => named.has(name)), ...fresh];
}

/** The stored fields that a 304 to a client's own condition carries. */
export function fieldsOf304(stored: RawFields): string[] {
  return without(stored, (name) => notIn304.has(name));
}
