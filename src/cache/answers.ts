import { randomBytes } from 'node:crypto';
import {
  ageOf,
  type ByteRange,
  type CacheStatus,
  contentRange,
  fieldsOf304,
  firstOf,
  formatCacheStatus,
  formatHttpDate,
  hasCondition,
  isNotModified,
  type RequestFacts,
  selectRanges,
} from './core/index.ts';
import type { BodyReader, FillingBody } from './filling-body.ts';
import type { AnswerHead, StoredResponse } from './stored-response.ts';

/** An answer from the cache, ready to be sent. */
export interface CachedAnswer {
  readonly status: number;
  readonly reason: string;
  /** Name, value, name, value …; with Content-Length where it is known. Read it before the next answer is made. */
  readonly raw: readonly string[];
  /** The whole body; undefined: none, or `reader` has it. */
  readonly body: Buffer | undefined;
  /** Of a body that is still arriving. */
  readonly reader?: BodyReader;
  /** False: the end of the body has to be marked by its framing. */
  readonly lengthKnown: boolean;
  /** Of a whole stored response to which nothing but the usual is said: `raw` is its head's. */
  readonly head?: AnswerHead;
  /** What it was made of; see {@link explainAnswer}. */
  readonly of?: Pick<StoredResponse, 'facts' | 'policy'>;
}

/** What holds for an answer from the cache, for people: its age, its bounds and the rules that gave them. */
export function explainAnswer({ of }: CachedAnswer, nowMs: number): string {
  if (of === undefined) return 'not-stored';
  const { facts, policy } = of;
  const seconds = (ms: number): string => String(Math.round(ms) / 1_000);
  const parts = [
    `age=${seconds(ageOf(policy, nowMs))}`,
    `fresh-until=${seconds(policy.freshMs)}`,
    `fresh-by=${policy.freshRule}`,
    ...(policy.staleRule === undefined
      ? []
      : [`stale-until=${seconds(policy.staleMs)}`, `stale-by=${policy.staleRule}`]),
    `error-until=${seconds(policy.staleIfErrorMs)}`,
    ...(policy.neverStale === undefined ? [] : [`never-stale-by=${policy.neverStale}`]),
    ...(facts.vary.length === 0 ? [] : [`vary="${facts.vary === '*' ? '*' : facts.vary.join(' ')}"`]),
  ];
  return parts.join('; ');
}

/** Our name in Cache-Status. */
export const cacheName = 'qalgate';

const statusField = 'Cache-Status';

/** Answers from a complete stored response: whole, to a client's condition, or a part of it (RFC 9110 §13, §14). */
export function answerFrom(
  response: StoredResponse,
  request: RequestFacts,
  status: CacheStatus,
  nowMs: number,
): CachedAnswer {
  if (hasCondition(request) && isNotModified(request, response.facts, response.policy.receivedMs)) {
    return notModified(response, status, nowMs);
  }
  if (request.range !== undefined) {
    const ranges = selectRanges(request, response.facts, response.body.length, nowMs);
    if (ranges === 'unsatisfiable') return unsatisfiable(response, status, nowMs);
    if (ranges !== 'whole') return partial(response, ranges, status, nowMs);
  }
  const body = request.method === 'HEAD' ? undefined : response.body;
  return {
    status: response.facts.status,
    reason: response.reason,
    raw: wholeHead(response, status, nowMs),
    body,
    lengthKnown: true,
    head: response.answerHead,
    of: response,
  };
}

/** Statuses whose messages have no body and say no length. */
export function hasLength(status: number): boolean {
  return status !== 204 && status !== 304;
}

/** The head of the usual answer: one array per stored response, in which only two values change. */
function wholeHead(response: StoredResponse, status: CacheStatus, nowMs: number): readonly string[] {
  const head = response.answerHead;
  const { raw } = head;
  if (raw.length === 0) {
    raw.push(...response.raw);
    if (hasLength(response.facts.status)) raw.push('Content-Length', String(response.body.length));
    raw.push('Age', '', statusField, '');
  }
  const ageMs = ageOf(response.policy, nowMs);
  const ageSec = Math.floor(ageMs / 1_000);
  const ttlSec = Math.floor((response.policy.freshMs - ageMs) / 1_000);
  const plain = status.hit === true && status.ttlMs !== undefined && status.forwarded === undefined;
  if (plain && head.ageSec === ageSec && head.ttlSec === ttlSec && head.detail === status.detail) return raw;
  head.wire = undefined;
  raw[raw.length - 3] = String(ageSec);
  raw[raw.length - 1] = formatCacheStatus(cacheName, status);
  head.ageSec = plain ? ageSec : -1;
  head.ttlSec = ttlSec;
  head.detail = status.detail ?? '';
  return raw;
}

function ageFields(response: Pick<StoredResponse, 'policy'>, status: CacheStatus, nowMs: number): string[] {
  const ageSec = Math.floor(ageOf(response.policy, nowMs) / 1_000);
  return ['Age', String(ageSec), statusField, formatCacheStatus(cacheName, status)];
}

function notModified(
  response: Pick<StoredResponse, 'facts' | 'raw' | 'policy'>,
  status: CacheStatus,
  nowMs: number,
): CachedAnswer {
  return {
    status: 304,
    reason: 'Not Modified',
    raw: [...fieldsOf304(response.raw), ...ageFields(response, status, nowMs)],
    body: undefined,
    lengthKnown: true,
    of: response,
  };
}

function unsatisfiable(response: StoredResponse, status: CacheStatus, nowMs: number): CachedAnswer {
  return {
    status: 416,
    reason: 'Range Not Satisfiable',
    raw: [
      'Date',
      formatHttpDate(nowMs),
      'Content-Range',
      `bytes */${response.body.length}`,
      'Content-Length',
      '0',
      ...ageFields(response, status, nowMs),
    ],
    body: undefined,
    lengthKnown: true,
    of: response,
  };
}

function partial(
  response: StoredResponse,
  ranges: readonly ByteRange[],
  status: CacheStatus,
  nowMs: number,
): CachedAnswer {
  const { body: whole, raw } = response;
  const [only] = ranges;
  let body: Buffer;
  let fields: string[];
  if (ranges.length === 1 && only !== undefined) {
    body = whole.subarray(only.first, only.last + 1);
    fields = [...raw, 'Content-Range', contentRange(only, whole.length)];
  } else {
    const boundary = randomBytes(12).toString('hex');
    body = multipart(whole, ranges, firstOf(raw, 'content-type'), boundary);
    fields = [];
    for (let i = 0; i < raw.length; i += 2) {
      if ((raw[i] as string).toLowerCase() !== 'content-type') fields.push(raw[i] as string, raw[i + 1] as string);
    }
    fields.push('Content-Type', `multipart/byteranges; boundary=${boundary}`);
  }
  return {
    status: 206,
    reason: 'Partial Content',
    raw: [...fields, 'Content-Length', String(body.length), ...ageFields(response, status, nowMs)],
    body,
    lengthKnown: true,
    of: response,
  };
}

/** RFC 9110 §14.6. */
function multipart(
  whole: Buffer,
  ranges: readonly ByteRange[],
  contentType: string | undefined,
  boundary: string,
): Buffer {
  const type = contentType === undefined ? '' : `Content-Type: ${contentType}\r\n`;
  const parts = ranges.flatMap((range) => [
    Buffer.from(`\r\n--${boundary}\r\n${type}Content-Range: ${contentRange(range, whole.length)}\r\n\r\n`, 'latin1'),
    whole.subarray(range.first, range.last + 1),
  ]);
  return Buffer.concat([...parts, Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1')]);
}

/** A response that is stored while it arrives. */
export type Arriving = Pick<StoredResponse, 'facts' | 'policy' | 'reason' | 'raw'> & { readonly body: FillingBody };

/**
 * Answers from a response that is still arriving: whole, or to a client's condition, which needs no body.
 * @param lengthBytes of the whole, where it is known
 * @param asked it was asked for by this client, who so gets it without an Age of ours
 * @param judged the origin has judged the client's condition itself, and this is what it answered
 */
export function answerFromArriving(
  response: Arriving,
  request: RequestFacts,
  status: CacheStatus,
  {
    nowMs,
    lengthBytes,
    asked,
    judged,
    onMore,
  }: {
    nowMs: number;
    lengthBytes: number | undefined;
    asked: boolean;
    judged: boolean;
    onMore: () => void;
  },
): CachedAnswer {
  if (!judged && hasCondition(request) && isNotModified(request, response.facts, response.policy.receivedMs)) {
    return notModified(response, status, nowMs);
  }
  const raw = [...response.raw];
  if (lengthBytes !== undefined && hasLength(response.facts.status)) raw.push('Content-Length', String(lengthBytes));
  if (asked) {
    // What was on the way already when it came to us is told on.
    if (response.facts.ageSec > 0) raw.push('Age', String(response.facts.ageSec));
    raw.push(statusField, formatCacheStatus(cacheName, status));
  } else raw.push(...ageFields(response, status, nowMs));
  return {
    status: response.facts.status,
    reason: response.reason,
    raw,
    body: undefined,
    reader: response.body.read(onMore),
    lengthKnown: lengthBytes !== undefined,
    of: response,
  };
}
