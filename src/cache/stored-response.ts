import {
  type CacheRules,
  combinedOf,
  fieldsToStore,
  type Policy,
  type RawFields,
  type ResponseFacts,
  varyKey,
} from './core/index.ts';

/** A complete answer as it is kept, and what was worked out of it. */
export interface StoredResponse {
  readonly facts: ResponseFacts;
  readonly policy: Policy;
  readonly reason: string;
  /** Fields as stored: end-to-end, without Age and Content-Length, with Date. */
  readonly raw: RawFields;
  readonly body: Buffer;
  /** Request fields that select it, in lower case, and what they were. */
  readonly varyNames: readonly string[];
  /** The same names as one text. */
  readonly varyText: string;
  readonly varyKey: string;
  /** Of Cache-Tag and Surrogate-Key. */
  readonly tags: readonly string[];
  /** How many more it names: no purge finds it by those. */
  readonly tagsLeftOut: number;
  /** Memory that it counts for. */
  readonly bytes: number;
  /** What its answers' heads are made in; see `answers.ts`. */
  readonly answerHead: AnswerHead;
  /** When it last answered a request; milliseconds since the epoch. */
  usedAtMs: number;
  /** When a refresh that failed may be tried again; milliseconds since the epoch. */
  retryAtMs: number;
  failedRefreshes: number;
}

/** A head that is written again and again: only Age and Cache-Status change, at most once a second. */
export interface AnswerHead {
  readonly raw: string[];
  ageSec: number;
  ttlSec: number;
  detail: string;
  /** For whoever sends it, to keep what he makes of it; dropped when it changes. */
  wire: Buffer | undefined;
  /** Memory in front of a larger body, in which its head may be written: one piece is sent faster than two. */
  readonly room: { readonly buffer: Buffer; readonly bodyAt: number } | undefined;
  /** Sends from that memory that are not over: it must not change. */
  sending: number;
}

/** A body up to this may stand behind its head in {@link AnswerHead.wire}. It is counted twice, then. */
export const wireBodyBytes = 16_384;
/** A body up to this has room for its head in front of it; larger ones are sent in pieces. */
const roomyBodyBytes = 262_144;
const roomBytes = 2_048;

/** What an entry costs beside its texts and its body: objects, arrays, its place in the tables. */
const overheadBytes = 1_024;
/** What a tag costs beside its text, when no other response has it: a table of its own. */
const tagOverheadBytes = 256;

/** What each text of the fields costs beside its characters. */
const textOverheadBytes = 16;

/** Tags of one response at most, and their length: more are left out. */
const maxTags = 64;
export const maxTagChars = 256;

export interface StoredParts {
  facts: ResponseFacts;
  policy: Policy;
  reason: string;
  raw: RawFields;
  body: Buffer;
  /** What brought it. */
  request: SelectingRequest;
}

/** A request by whose fields a response is selected: as the backend sees them, by name in lower case. */
export interface SelectingRequest {
  fieldOf(name: string): string | undefined;
}

/** Tells which responses a request selects; works out what its fields are once for all that have the same Vary. */
export class Selector {
  #request: SelectingRequest;
  #names = '';
  #key = '';

  constructor(request: SelectingRequest) {
    this.#request = request;
  }

  selects({ varyNames, varyText, varyKey: key }: StoredResponse): boolean {
    if (varyText === '') return true;
    if (varyText !== this.#names) {
      this.#names = varyText;
      this.#key = selectorOf(varyNames, this.#request);
    }
    return this.#key === key;
  }
}

/** What the request's fields are for a list of names (RFC 9111 §4.1). */
export function selectorOf(names: readonly string[], request: SelectingRequest): string {
  return names.length === 0 ? '' : varyKey(names, (name) => request.fieldOf(name));
}

export function createStoredResponse(parts: StoredParts, kind: CacheRules['kind']): StoredResponse {
  const { facts, policy, reason } = parts;
  const room = makeRoom(parts.body);
  const body = room === undefined ? parts.body : room.buffer.subarray(room.bodyAt);
  const raw = fieldsToStore(parts.raw, facts.directives, kind);
  const varyNames = facts.vary === '*' ? [] : facts.vary;
  const key = selectorOf(varyNames, parts.request);
  const named = readTags(raw);
  const tags = named.filter((tag) => tag.length <= maxTagChars).slice(0, maxTags);
  let chars = reason.length + key.length;
  // As stored, as answered, and as bytes.
  for (const text of raw) chars += 3 * text.length + textOverheadBytes;
  for (const text of [...varyNames, ...tags]) chars += text.length;
  return {
    facts,
    policy,
    reason,
    raw,
    body,
    varyNames,
    varyText: varyNames.join(),
    varyKey: key,
    tags,
    tagsLeftOut: named.length - tags.length,
    bytes:
      body.length * (body.length <= wireBodyBytes ? 2 : 1) +
      (room === undefined ? 0 : roomBytes) +
      chars +
      tags.length * tagOverheadBytes +
      overheadBytes,
    answerHead: { raw: [], ageSec: -1, ttlSec: 0, detail: '', wire: undefined, room, sending: 0 },
    usedAtMs: policy.receivedMs,
    retryAtMs: 0,
    failedRefreshes: 0,
  };
}

function makeRoom(body: Buffer): AnswerHead['room'] {
  if (body.length <= wireBodyBytes || body.length > roomyBodyBytes) return undefined;
  const buffer = Buffer.allocUnsafeSlow(roomBytes + body.length);
  body.copy(buffer, roomBytes);
  return { buffer, bodyAt: roomBytes };
}

/** `Cache-Tag: a, b` and `Surrogate-Key: a b`. */
function readTags(raw: RawFields): string[] {
  const tags = new Set(
    [
      ...(combinedOf(raw, 'cache-tag') ?? '').split(','),
      ...(combinedOf(raw, 'surrogate-key') ?? '').split(/[\s,]+/),
    ].map((tag) => tag.trim()),
  );
  return [...tags].filter((tag) => tag !== '');
}
