import type { RawFields } from '../cache/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import { type FieldClasses, isEndToEnd } from './header-fields.ts';

/** A request as its client sent it, checked and taken apart, before anything of ours is added. */
export interface RequestHead {
  readonly method: string;
  /** Origin form: path and query; or `*` of OPTIONS. */
  readonly target: string;
  /** Value of Host; '' when an HTTP/1.0 client sent none. */
  readonly host: string;
  /** End-to-end fields to forward, as lines with their ends, in the order received. */
  readonly lines: string;
  /** Value of QAL-Session, if there is exactly one. */
  readonly session: string | undefined;
  /** Values of X-Forwarded-For in order. */
  readonly forwardedFor: readonly string[];
  /** `length`: `contentLength` bytes follow; `chunked`; or `none`. */
  readonly body: 'none' | 'length' | 'chunked';
  readonly contentLength: number;
  readonly expectsContinue: boolean;
  readonly acceptsTrailers: boolean;
  /** There is an Upgrade field. */
  readonly asksToUpgrade: boolean;
  /** The end-to-end fields that a cache reads: name, value, name, value … */
  readonly cacheFields: RawFields;
  /** What a trusted proxy in front says of the client's connection. */
  readonly forwardedProto: 'http' | 'https' | undefined;
  /** All that it says of it and the backend is told, as lines; '' mostly. Backends make links of it, so answers differ by it. */
  readonly forwardedDetail: string;
  /** It may mean another method or another URL than it says: no answer to it is another's. */
  readonly overrides: boolean;
  /** The client wants to be told what the cache decides. */
  readonly asksCacheDebug: boolean;
}

const noFields: RawFields = [];

export type HeadRefusal = { ok: false; code: ErrorCode; reason: string };
export type HeadResult = { ok: true; head: RequestHead } | HeadRefusal;

export interface HeadInput {
  method: string;
  url: string;
  httpVersionMajor: number;
  httpVersionMinor: number;
  /** Name, value, name, value … as Node's parser gives them (latin1). */
  rawHeaders: readonly string[];
  /** Is the connection's other end a trusted proxy? Then its X-Forwarded-Proto, -Host and -Port stay. */
  peerTrusted: boolean;
  maxHeaders: number;
  maxUrlBytes: number;
}

const refuse = (code: ErrorCode, reason: string): HeadRefusal => ({ ok: false, code, reason });

/** reg-name, IPv4 or bracketed IPv6, with an optional port (RFC 3986 §3.2.2), and nothing that could end a line. */
const hostPattern = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?$/;
const digits = /^[0-9]{1,15}$/;

/** `http://host/path` → its parts. OPTIONS without a path asks of the server as a whole (RFC 9112 §3.2.4). */
function splitAbsolute(method: string, url: string): { authority: string; target: string } | undefined {
  const match = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url);
  if (match === null) return undefined;
  const [, authority = '', rest = ''] = match;
  if (rest === '' && method === 'OPTIONS') return { authority, target: '*' };
  return { authority, target: rest.startsWith('/') ? rest : `/${rest}` };
}

/** The options of all Connection fields, in lower case; undefined when there are only the usual ones. */
function connectionOptions(value: string, into: Set<string> | undefined): Set<string> | undefined {
  let options = into;
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase();
    if (name === '' || name === 'close' || name === 'keep-alive' || name === 'upgrade' || name === 'te') continue;
    options ??= new Set();
    options.add(name);
  }
  return options;
}

function withoutNamed(raw: readonly string[], named: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    if (!named.has((raw[i] as string).toLowerCase())) kept.push(raw[i] as string, raw[i + 1] as string);
  }
  return kept;
}

/**
 * Checks a request head and takes it apart. Pure; Node's strict parser has already refused what is no HTTP at all
 * (A11). Refused here: what two parsers could read differently.
 */
export function parseRequestHead(input: HeadInput, classes: FieldClasses): HeadResult {
  const { method, rawHeaders: raw } = input;
  if (raw.length / 2 > input.maxHeaders) return refuse('HEADERS_TOO_LARGE', `more than ${input.maxHeaders} fields`);
  // Node's parser also takes HTTP/0.9 and HTTP/2.0 for versions of this protocol.
  if (input.httpVersionMajor !== 1 || input.httpVersionMinor > 1)
    return refuse('BAD_REQUEST', 'neither HTTP/1.1 nor HTTP/1.0');
  if (input.url.length > input.maxUrlBytes) return refuse('URL_TOO_LONG', `over ${input.maxUrlBytes} bytes`);

  let host: string | undefined;
  let session: string | undefined;
  let sessions = 0;
  let contentLength = -1;
  let chunked = false;
  let expectsContinue = false;
  let acceptsTrailers = false;
  let asksToUpgrade = false;
  let named: Set<string> | undefined;
  let forwardedFor: string[] | undefined;
  let cacheFields: string[] | undefined;
  let forwardedProto: RequestHead['forwardedProto'];
  let asksCacheDebug = false;
  let overrides = false;

  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    switch (classes.of(name)) {
      case 'host':
        if (host !== undefined) return refuse('AMBIGUOUS_HOST', 'Host is there twice');
        host = value;
        break;
      case 'content-length':
        if (contentLength >= 0) return refuse('BAD_REQUEST', 'Content-Length is there twice');
        if (!digits.test(value)) return refuse('BAD_REQUEST', 'Content-Length is no number');
        contentLength = Number(value);
        break;
      case 'transfer-encoding':
        if (chunked) return refuse('BAD_REQUEST', 'Transfer-Encoding is there twice');
        if (value.toLowerCase() !== 'chunked') {
          return refuse('TRANSFER_CODING_UNSUPPORTED', 'Transfer-Encoding is not chunked');
        }
        chunked = true;
        break;
      case 'session':
        session = value;
        sessions += 1;
        break;
      case 'forwarded':
        if (name.length === 15 && name.toLowerCase() === 'x-forwarded-for') {
          forwardedFor ??= [];
          forwardedFor.push(value);
        }
        break;
      case 'connection':
        named = connectionOptions(value, named);
        break;
      case 'caching':
        cacheFields ??= [];
        cacheFields.push(name, value);
        break;
      case 'override':
        overrides = true;
        break;
      case 'forwarded-detail':
        if (input.peerTrusted && name.length === 17 && name.toLowerCase() === 'x-forwarded-proto') {
          // Of a chain of proxies the first saw the client.
          const proto = value.split(',', 1)[0]?.trim().toLowerCase();
          if (proto === 'http' || proto === 'https') forwardedProto ??= proto;
        }
        break;
      case 'qal':
        asksCacheDebug ||= name.length === 15 && name.toLowerCase() === 'qal-cache-debug';
        break;
      case 'hop-by-hop':
        asksToUpgrade ||= name.length === 7 && name.toLowerCase() === 'upgrade';
        break;
      case 'te':
        acceptsTrailers ||= /(?:^|,)\s*trailers\s*(?:,|$)/i.test(value);
        break;
      case 'expect':
        if (value.toLowerCase() !== '100-continue') return refuse('EXPECTATION_FAILED', 'unknown expectation');
        expectsContinue = input.httpVersionMinor >= 1;
        break;
      default:
    }
  }

  if (chunked && contentLength >= 0) return refuse('BAD_REQUEST', 'Content-Length and Transfer-Encoding together');
  if (chunked && input.httpVersionMinor === 0) return refuse('BAD_REQUEST', 'Transfer-Encoding in HTTP/1.0');
  if (host === undefined && input.httpVersionMinor >= 1) return refuse('BAD_REQUEST', 'Host is missing');
  if (sessions > 1) return refuse('BAD_REQUEST', 'QAL-Session is there twice');

  let target = input.url;
  if (target[0] !== '/') {
    if (target !== '*' || method !== 'OPTIONS') {
      const absolute = splitAbsolute(method, target);
      if (absolute === undefined) return refuse('BAD_TARGET', 'neither a path nor an http URL');
      if (host === undefined) host = absolute.authority;
      if (absolute.authority.toLowerCase() !== host.toLowerCase()) {
        return refuse('AMBIGUOUS_HOST', 'the request target and Host name different hosts');
      }
      target = absolute.target;
    }
  }
  if (host !== undefined && !hostPattern.test(host)) return refuse('BAD_REQUEST', 'the host is malformed');
  if (target.includes('#')) return refuse('BAD_TARGET', 'a fragment is not sent to servers');

  let lines = '';
  let forwardedDetail = '';
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const kind = classes.of(name);
    const passes =
      isEndToEnd(kind) || (kind === 'trailer' && chunked) || (kind === 'forwarded-detail' && input.peerTrusted);
    if (!passes || named?.has(name.toLowerCase()) === true) continue;
    const line = `${name}: ${raw[i + 1]}\r\n`;
    lines += line;
    if (kind === 'forwarded-detail') forwardedDetail += line;
  }

  // A field that ends at us is none for the cache either: it decides by what the backend sees.
  if (cacheFields !== undefined && named !== undefined) cacheFields = withoutNamed(cacheFields, named);

  return {
    ok: true,
    head: {
      method,
      target,
      host: host ?? '',
      lines,
      session,
      forwardedFor: forwardedFor ?? [],
      body: chunked ? 'chunked' : contentLength > 0 ? 'length' : 'none',
      contentLength,
      expectsContinue,
      acceptsTrailers,
      asksToUpgrade,
      cacheFields: cacheFields ?? noFields,
      forwardedProto,
      forwardedDetail,
      asksCacheDebug,
      overrides,
    },
  };
}
