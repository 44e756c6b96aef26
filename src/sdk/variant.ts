import {
  type CacheRules,
  combinedOf,
  type Policy,
  parseRequest,
  parseResponse,
  policyOf,
  type RawFields,
  type RefusalRule,
  type RequestFacts,
  type ResponseFacts,
  type ResponseTimes,
  storable,
  type Vary,
  varyKey,
} from '../cache/core/index.ts';

/** One stored response. */
export interface Variant {
  /** Stands for the request fields that chose it: equal for those that match (RFC 9111 §4.1). */
  readonly id: string;
  readonly status: number;
  readonly statusText: string;
  readonly raw: RawFields;
  /** The Age that it came with; `0`: none. */
  readonly age: string;
  readonly times: ResponseTimes;
  readonly body: Uint8Array;
  readonly facts: ResponseFacts;
  readonly policy: Policy;
}

export type VariantParts = Omit<Variant, 'facts' | 'policy'>;

export type PrivateRules = CacheRules & { readonly kind: 'private' };

/** What a request for the whole says that asks for nothing special. */
export function plainGet(): RequestFacts {
  return parseRequest('GET', [], { hasSession: true, hasBody: false, nowMs: 0 });
}

/**
 * A response with what its fields mean. Worked out anew each time that it is read, so that a release or a mode that judges
 * differently does so of what is stored, too.
 * @returns `refused`: why it may not be stored
 */
export function judge(
  parts: VariantParts,
  rules: PrivateRules,
): { variant: Variant; refused: RefusalRule | undefined } {
  const facts = parseResponse(parts.status, [...parts.raw, 'age', parts.age], parts.times.receivedMs);
  const verdict = storable(plainGet(), facts, { ...rules, routeShared: false }, parts.times);
  const policy = verdict.store === 'no' ? policyOf(facts, rules, parts.times) : verdict.policy;
  return { variant: { ...parts, facts, policy }, refused: verdict.store === 'no' ? verdict.rule : undefined };
}

/**
 * The id of the variant that a request selects among responses with this Vary. Authorization and Cookie always count: an app may
 * know its users by them, without telling us. A hash, as what is in it is nobody's to read from a disk.
 * @param injected the value that stands for a `qal-*` field, which the access service will add
 */
export function variantId(vary: Vary, raw: RawFields, injected: (name: string) => string): string {
  const names = vary === '*' ? [vary] : vary;
  const fieldOf = (name: string): string | undefined =>
    name.startsWith('qal-') ? injected(name) : combinedOf(raw, name);
  return hash(`${names.join(',')}\n${varyKey([...names, 'authorization', 'cookie'], fieldOf)}`);
}

/** FNV-1a, 64 bits: not for secrets to be safe in, but without a second hit by accident. */
function hash(text: string): string {
  let sum = 0xcbf29ce484222325n;
  for (const c of text) sum = BigInt.asUintN(64, (sum ^ BigInt(c.codePointAt(0) ?? 0)) * 0x100000001b3n);
  return sum.toString(36);
}
