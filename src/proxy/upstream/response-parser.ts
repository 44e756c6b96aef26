/**
 * Reads the responses of one upstream connection: heads, bodies, trailers (RFC 9112). Strict, because a response that
 * two readers could take differently must not be forwarded: whatever is not plainly HTTP ends the connection.
 *
 * Pure: bytes in, calls out. Why not a library: ADR 0001.
 */

/** What the parser tells. A call may close the parser ({@link ResponseParser.close}); then nothing follows. */
export interface ResponseEvents {
  /** A 1xx head, 101 aside. */
  onInformation(status: number, reason: string, rawHeaders: string[]): void;
  /** The final head. `rawHeaders` alternate name and value, as sent, framing fields included. */
  onHead(status: number, reason: string, rawHeaders: string[], body: BodyFraming): void;
  /** A piece of the body: a view that is valid during the call only. */
  onBody(chunk: Buffer): void;
  /** The message is complete. `reusable`: the connection may carry another exchange. */
  onEnd(rawTrailers: string[], reusable: boolean): void;
  /** The bytes are no valid response; nothing of this connection can be believed any more. */
  onInvalid(reason: string): void;
}

/** How the body is delimited: none at all, by its length in bytes, by chunks, or by the end of the connection. */
export type BodyFraming = 'none' | 'chunked' | 'close' | number;

export interface ParserLimits {
  headBytes: number;
  headCount: number;
  informationHeads: number;
}

export const defaultParserLimits: ParserLimits = { headBytes: 65_536, headCount: 256, informationHeads: 16 };

const statusLine = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const invalidValue = /[^\t\x20-\x7e\x80-\xff]/;
const digits = /^[0-9]{1,15}$/;
const chunkSize = /^([0-9A-Fa-f]{1,12})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/;
const maxChunkLine = 1_024;

type State =
  | 'idle'
  | 'head'
  | 'length'
  | 'until-close'
  | 'chunk-size'
  | 'chunk-data'
  | 'chunk-end'
  | 'trailers'
  | 'closed';

type Fields = { ok: true; raw: string[] } | { ok: false; reason: string };

/** Field lines → name, value, name, value …; optional white space around values removed. */
function parseFields(text: string, maxCount: number): Fields {
  const raw: string[] = [];
  if (text === '') return { ok: true, raw };
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    // A proxy removes white space between name and colon of a response (RFC 9112 §5.1): spaces and tabs, nothing else.
    let nameEnd = Math.max(0, colon);
    while (nameEnd > 0 && (line.charCodeAt(nameEnd - 1) === 32 || line.charCodeAt(nameEnd - 1) === 9)) nameEnd -= 1;
    const name = line.slice(0, nameEnd);
    if (!token.test(name)) return { ok: false, reason: 'malformed field line' };
    const value = line.slice(colon + 1);
    if (invalidValue.test(value)) return { ok: false, reason: 'control character in a field value' };
    raw.push(name, trimOws(value));
  }
  if (raw.length / 2 > maxCount) return { ok: false, reason: 'too many fields' };
  return { ok: true, raw };
}

/** Removes spaces and tabs at both ends; unlike trim() it leaves 0xA0, which is data. */
function trimOws(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && (value.charCodeAt(start) === 32 || value.charCodeAt(start) === 9)) start += 1;
  while (end > start && (value.charCodeAt(end - 1) === 32 || value.charCodeAt(end - 1) === 9)) end -= 1;
  return start === 0 && end === value.length ? value : value.slice(start, end);
}

type Framing = { ok: true; body: BodyFraming; keepAlive: boolean } | { ok: false; reason: string };

/** Body framing and persistence by RFC 9112 §6.3 and §9.3; what is ambiguous there is refused here. */
function frame(head: boolean, minor: string, status: number, raw: string[]): Framing {
  let length = -1;
  let chunked = false;
  let close = false;
  let keepAlive = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (name.length !== 10 && name.length !== 14 && name.length !== 17) continue;
    const value = raw[i + 1] as string;
    switch (name.toLowerCase()) {
      case 'connection':
        close ||= /(?:^|,)[\t ]*close[\t ]*(?:,|$)/i.test(value);
        keepAlive ||= /(?:^|,)[\t ]*keep-alive[\t ]*(?:,|$)/i.test(value);
        break;
      case 'content-length':
        if (!digits.test(value)) return { ok: false, reason: 'malformed Content-Length' };
        if (length >= 0 && length !== Number(value)) return { ok: false, reason: 'conflicting Content-Length' };
        length = Number(value);
        break;
      case 'transfer-encoding':
        if (chunked || value.toLowerCase() !== 'chunked') return { ok: false, reason: 'unknown Transfer-Encoding' };
        chunked = true;
        break;
      default:
    }
  }
  if (chunked && length >= 0) return { ok: false, reason: 'Content-Length and Transfer-Encoding together' };
  if (chunked && minor === '0') return { ok: false, reason: 'Transfer-Encoding in HTTP/1.0' };
  const persistent = !close && (minor === '1' || keepAlive);
  // These have no body (RFC 9112 §6.3). An upstream that announces one may send it all the same, and so late that it
  // would be taken for the answer to the next request: that one gets another connection.
  if (head || status === 204 || status === 304) {
    return { ok: true, body: 'none', keepAlive: persistent && !chunked && length <= 0 };
  }
  if (chunked) return { ok: true, body: 'chunked', keepAlive: persistent };
  if (length >= 0) return { ok: true, body: length === 0 ? 'none' : length, keepAlive: persistent };
  return { ok: true, body: 'close', keepAlive: false };
}

export class ResponseParser {
  #events: ResponseEvents;
  #limits: ParserLimits;
  #state: State = 'idle';
  #headRequest = false;
  #reusable = false;
  /** Bytes still to come of the body or of the chunk. */
  #left = 0;
  /** Start of a head, a chunk line or trailers that has not ended yet. */
  #pending: Buffer | undefined;
  #informationHeads = 0;

  constructor(events: ResponseEvents, limits: ParserLimits = defaultParserLimits) {
    this.#events = events;
    this.#limits = limits;
  }

  /** Has a response begun (or ended) whose exchange is not over? False: nothing has been received for it. */
  get started(): boolean {
    return (
      this.#state !== 'idle' && (this.#state !== 'head' || this.#pending !== undefined || this.#informationHeads > 0)
    );
  }

  /** Expects the response to a request that was (or will be) written now. */
  expect(method: string): void {
    this.#state = 'head';
    this.#headRequest = method === 'HEAD';
    this.#informationHeads = 0;
    this.#pending = undefined;
  }

  /** Stops: no event will follow. */
  close(): void {
    this.#state = 'closed';
    this.#pending = undefined;
  }

  /** Takes what was read. `chunk` is not kept beyond the call. */
  execute(chunk: Buffer): void {
    let data = chunk;
    if (this.#pending !== undefined) {
      data = Buffer.concat([this.#pending, chunk]);
      this.#pending = undefined;
    }
    let at = 0;
    while (at < data.length) {
      switch (this.#state) {
        case 'closed':
          return;
        case 'idle':
          this.#invalid('bytes that no request asked for');
          return;
        case 'head': {
          const next = this.#head(data, at);
          if (next < 0) return;
          at = next;
          break;
        }
        case 'until-close':
          this.#events.onBody(at === 0 ? data : data.subarray(at));
          return;
        case 'length':
        case 'chunk-data': {
          const end = Math.min(data.length, at + this.#left);
          this.#left -= end - at;
          this.#events.onBody(at === 0 && end === data.length ? data : data.subarray(at, end));
          at = end;
          // The call may have closed the parser.
          if (this.#left === 0 && (this.#state as State) !== 'closed') {
            if (this.#state === 'chunk-data') this.#state = 'chunk-end';
            else this.#end([]);
          }
          break;
        }
        case 'chunk-end':
          if (data.length - at < 2) {
            this.#pending = Buffer.from(data.subarray(at));
            if (data[at] !== 13) this.#invalid('chunk does not end where it said');
            return;
          }
          if (data[at] !== 13 || data[at + 1] !== 10) {
            this.#invalid('chunk does not end where it said');
            return;
          }
          at += 2;
          this.#state = 'chunk-size';
          break;
        case 'chunk-size': {
          const next = this.#chunkSize(data, at);
          if (next < 0) return;
          at = next;
          break;
        }
        case 'trailers': {
          const next = this.#trailers(data, at);
          if (next < 0) return;
          at = next;
          break;
        }
      }
    }
  }

  /** The connection has ended in order. True when that completed a response. */
  finish(): boolean {
    if (this.#state !== 'until-close') return false;
    this.#end([]);
    return true;
  }

  #invalid(reason: string): void {
    this.close();
    this.#events.onInvalid(reason);
  }

  #end(trailers: string[]): void {
    this.#state = 'idle';
    this.#events.onEnd(trailers, this.#reusable);
  }

  /** Keeps an unfinished piece for the next read, or gives up when it is over `limit` bytes. */
  #wait(data: Buffer, at: number, limit: number, what: string): number {
    if (data.length - at > limit) this.#invalid(`${what} over ${limit} bytes`);
    else this.#pending = Buffer.from(data.subarray(at));
    return -1;
  }

  #head(data: Buffer, at: number): number {
    const limit = this.#limits.headBytes;
    const end = data.indexOf('\r\n\r\n', at, 'latin1');
    if (end < 0) {
      // Say early what can never become a head: binary, or a greeting of another protocol.
      if (data.length - at >= 5 && data.toString('latin1', at, at + 5) !== 'HTTP/') {
        this.#invalid('no HTTP response');
        return -1;
      }
      return this.#wait(data, at, limit, 'head');
    }
    if (end - at > limit) {
      this.#invalid(`head over ${limit} bytes`);
      return -1;
    }
    const text = data.toString('latin1', at, end);
    const eol = text.indexOf('\r\n');
    const match = statusLine.exec(eol < 0 ? text : text.slice(0, eol));
    if (match === null) {
      this.#invalid('malformed status line');
      return -1;
    }
    const fields = parseFields(eol < 0 ? '' : text.slice(eol + 2), this.#limits.headCount);
    if (!fields.ok) {
      this.#invalid(fields.reason);
      return -1;
    }
    const status = Number(match[2]);
    const reason = match[3] ?? '';
    if (status < 200) {
      this.#informationHeads += 1;
      if (status === 101) this.#invalid('101 although no upgrade was asked for');
      else if (this.#informationHeads > this.#limits.informationHeads) this.#invalid('too many 1xx heads');
      else this.#events.onInformation(status, reason, fields.raw);
      return end + 4;
    }
    const framing = frame(this.#headRequest, match[1] as string, status, fields.raw);
    if (!framing.ok) {
      this.#invalid(framing.reason);
      return -1;
    }
    this.#reusable = framing.keepAlive;
    this.#state = this.#bodyState(framing.body);
    this.#events.onHead(status, reason, fields.raw, framing.body);
    if (framing.body === 'none' && (this.#state as State) !== 'closed') this.#end([]);
    return end + 4;
  }

  #bodyState(body: BodyFraming): State {
    if (body === 'chunked') return 'chunk-size';
    if (body === 'close') return 'until-close';
    if (body !== 'none') this.#left = body;
    return 'length';
  }

  #chunkSize(data: Buffer, at: number): number {
    const eol = data.indexOf(10, at);
    if (eol < 0) return this.#wait(data, at, maxChunkLine, 'chunk size line');
    const match =
      eol - at <= maxChunkLine && data[eol - 1] === 13 ? chunkSize.exec(data.toString('latin1', at, eol - 1)) : null;
    if (match === null) {
      this.#invalid('malformed chunk size');
      return -1;
    }
    this.#left = Number.parseInt(match[1] as string, 16);
    this.#state = this.#left === 0 ? 'trailers' : 'chunk-data';
    return eol + 1;
  }

  #trailers(data: Buffer, at: number): number {
    if (data[at] === 13 && data[at + 1] === 10) {
      this.#end([]);
      return at + 2;
    }
    const end = data.indexOf('\r\n\r\n', at, 'latin1');
    if (end < 0) return this.#wait(data, at, this.#limits.headBytes, 'trailers');
    const fields =
      end - at > this.#limits.headBytes
        ? undefined
        : parseFields(data.toString('latin1', at, end), this.#limits.headCount);
    if (fields === undefined || !fields.ok) {
      this.#invalid('malformed trailers');
      return -1;
    }
    this.#end(fields.raw);
    return end + 4;
  }
}
