import { createPublicKey, generateKeyPairSync, randomUUID, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  constants,
  createSecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { LRUCache } from 'lru-cache';
import { type ApnsReason, apnsReasons, isApnsReason } from '../apns/reasons.ts';
import type { ApnsFault } from './apns-faults.ts';
import { type ApnsRequest, type ApnsVerdict, checkRequest, ProviderTokenWatch, tokenOfPath } from './apns-rules.ts';
import { openRelay } from './relay.ts';

/** A request as it came, and what became of it. */
export interface ApnsArrival extends ApnsRequest {
  /** 0: there was no answer. */
  readonly status: number;
  /** `ok`, a reason, or in a word what happened instead of an answer. */
  readonly answered: string;
  /** Whether the device got it, whatever its sender was told. */
  readonly isTaken: boolean;
}

/** What a device shows under one collapse id; what has none stands for itself. */
export interface ApnsShown {
  readonly key: string;
  readonly body: string;
  /** How many pushes have been shown here, one in the place of the other. */
  readonly times: number;
}

/** What senders show that they are who they say. */
export interface ApnsCredentials {
  /** PEM, as in a .p8 file. */
  readonly key: string;
  readonly keyId: string;
  readonly teamId: string;
}

export interface ApnsSandboxOptions {
  readonly tls: { readonly key: string; readonly cert: string };
  readonly host?: string;
  readonly port?: number;
  /** Of whom provider tokens are taken; by default of a key that it makes. */
  readonly credentials?: ApnsCredentials;
  /** Bundle ids that its senders may push to; any. */
  readonly topics?: readonly string[];
  /** Certificates, PEM, by which senders may show themselves instead, and the topics of each. */
  readonly certificates?: readonly { readonly cert: string; readonly topics: readonly string[] }[];
  readonly maxConcurrentStreams?: number;
  /** Whether a connection with provider tokens has one stream until its first good request, as Apple's do; true. */
  readonly startsWithOne?: boolean;
  /** Unix milliseconds. */
  readonly clock?: () => number;
  /** Requests are looked at so late. */
  readonly latencyMs?: number;
  /** Whether connections can be silenced; they cost more then. */
  readonly canSilence?: boolean;
  /** Arrivals that are kept, and devices; beyond it the oldest go. */
  readonly maxArrivals?: number;
  readonly maxDevices?: number;
  /** What becomes of this push. */
  readonly fault?: (request: ApnsRequest) => ApnsFault | undefined;
  readonly onArrival?: (arrival: ApnsArrival) => void;
}

/** Apple's service on a socket of ours. */
export interface ApnsSandbox {
  readonly url: string;
  readonly port: number;
  readonly credentials: ApnsCredentials;
  readonly arrivals: readonly ApnsArrival[];
  /** All so far, those that are no longer kept too; and those that a device got. */
  readonly received: number;
  readonly taken: number;
  /** Open ones, and all so far. */
  readonly connections: number;
  readonly opened: number;
  /** Requests that are read and not yet answered. */
  readonly inFlight: number;
  /** The most that any connection had at once. */
  readonly mostInFlight: number;
  /** Requests that came while there were more than SETTINGS allow, and connections that broke the protocol otherwise. */
  readonly violations: number;
  shown(token: string): readonly ApnsShown[];
  /** Requests are held, neither looked at nor answered, until they are let go. */
  hold(): void;
  letGo(): void;
  /**
   * Says on every connection that it wants no more than the first `answered` of what is in flight; what is above is never looked at. The
   * debug data has the reason.
   */
  goaway(answered: number, options?: { code?: number; reason?: string }): void;
  /** From now on on every connection, those that come too. */
  limitStreams(count: number): void;
  /** What is open says and hears nothing any more, and is not closed. Gives back how many connections. */
  silence(): number;
  /** Every connection is reset. */
  cut(): void;
  close(): Promise<void>;
}

/** One connection. */
interface Peer {
  readonly number: number;
  readonly raw: Socket;
  readonly inFlight: Set<ServerHttp2Stream>;
  /** Id of the newest stream that was looked at, and of the last that will be. */
  seenId: number;
  lastId: number;
  /** Its last SETTINGS. */
  limit: number;
  /** After one that changed its provider token too often. */
  isBlocked: boolean;
  /** What the certificate that it showed may push to; undefined: it showed none. */
  readonly topics: readonly string[] | undefined;
  readonly hasCertificate: boolean;
}

const maxBodyBytes = 65_536;
/** As much as a device shows of one app, here. */
const maxShown = 1_000;
const demoIds = { keyId: 'SANDBOXKEY', teamId: 'SANDBOXTEA' };

/** Rejects when it cannot listen there. */
export async function openApnsSandbox(options: ApnsSandboxOptions): Promise<ApnsSandbox> {
  const { tls, host = '127.0.0.1', port = 0, topics, certificates = [] } = options;
  const { clock = Date.now, latencyMs = 0, startsWithOne = true, canSilence = false } = options;
  const { maxArrivals = 1_000, maxDevices = 10_000, fault: faultOf, onArrival } = options;
  const credentials = options.credentials ?? makeCredentials();
  const watch = new ProviderTokenWatch([{ ...credentials, publicKey: createPublicKey(credentials.key) }]);
  const topicsOf = new Map(
    certificates.map((one) => [new X509Certificate(one.cert).fingerprint256, one.topics] as const),
  );
  const arrivals: ApnsArrival[] = [];
  const devices = new LRUCache<string, Map<string, ApnsShown>>({ max: maxDevices });
  const counts = { received: 0, taken: 0, opened: 0, mostInFlight: 0, violations: 0 };
  const sockets = new Set<Socket>();
  const peers = new Map<ServerHttp2Session, Peer>();
  const held: (() => void)[] = [];
  let isHolding = false;
  let maxStreams = options.maxConcurrentStreams ?? 512;

  function keep(arrival: ApnsArrival): void {
    counts.received += 1;
    if (arrival.isTaken) show(arrival);
    arrivals.push(arrival);
    // In blocks: one at a time would move all the others each time.
    if (arrivals.length >= maxArrivals * 2) arrivals.splice(0, arrivals.length - maxArrivals);
    onArrival?.(arrival);
  }

  function show({ token, headers, body }: ApnsRequest): void {
    counts.taken += 1;
    const shown = devices.get(token) ?? new Map<string, ApnsShown>();
    devices.set(token, shown);
    const key = headers['apns-collapse-id'] ?? `#${counts.taken}`;
    const times = (shown.get(key)?.times ?? 0) + 1;
    shown.delete(key);
    shown.set(key, { key, body, times });
    if (shown.size > maxShown) shown.delete(shown.keys().next().value as string);
  }

  /** Who is it, what does it ask? */
  function judge(peer: Peer, request: ApnsRequest): ApnsVerdict {
    const authorization = request.headers.authorization;
    if (peer.isBlocked) return { status: 429, reason: 'TooManyProviderTokenUpdates' };
    if (authorization === undefined && peer.hasCertificate) {
      return peer.topics === undefined ? { status: 403, reason: 'BadCertificate' } : checkRequest(request, peer.topics);
    }
    const refused = watch.check(authorization, clock());
    if (refused?.status === 429) peer.isBlocked = true;
    return refused ?? checkRequest(request, topics);
  }

  function onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, raw: readonly string[]): void {
    const session = stream.session as ServerHttp2Session | undefined;
    const peer = session === undefined ? undefined : peers.get(session);
    stream.on('error', () => {});
    if (peer === undefined) {
      stream.close();
      return;
    }
    peer.inFlight.add(stream);
    stream.once('close', () => peer.inFlight.delete(stream));
    counts.mostInFlight = Math.max(counts.mostInFlight, peer.inFlight.size);
    if (peer.inFlight.size > peer.limit) counts.violations += 1;
    const chunks: Buffer[] = [];
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxBodyBytes) chunks.push(chunk);
    });
    stream.once('end', () => {
      const request = readRequest(peer.number, stream.id ?? 0, headers, raw, Buffer.concat(chunks).toString(), clock());
      const go = () => later(latencyMs, () => receive(peer, stream, request));
      if (isHolding) held.push(go);
      else go();
    });
  }

  function receive(peer: Peer, stream: ServerHttp2Stream, request: ApnsRequest): void {
    // Refused since it was read: a service that looked at it nevertheless would show it twice.
    if (stream.closed || stream.destroyed || request.stream > peer.lastId) return;
    peer.seenId = Math.max(peer.seenId, request.stream);
    const fault = faultOf?.(request);
    const verdict = fault !== undefined && isApnsReason(fault.word) ? undefined : judge(peer, request);
    if (fault !== undefined && verdict?.status === 200) {
      suffer(fault, peer, stream, request);
      return;
    }
    const { status, reason } = verdict ?? { status: apnsReasons[fault?.word as ApnsReason], reason: fault?.word };
    keep({ ...request, status, answered: reason ?? 'ok', isTaken: status === 200 });
    if (status === 200) widen(stream.session as ServerHttp2Session | undefined, peer);
    answer(stream, request, { status, ...(reason === undefined ? {} : { reason }) }, fault);
  }

  /** What happens to a good request instead of an answer in words. */
  function suffer({ word, amount = 0 }: ApnsFault, peer: Peer, stream: ServerHttp2Stream, request: ApnsRequest): void {
    const isTaken = word === 'slow' || word === 'lost' || word === 'goaway';
    const status = word === 'html' ? amount : isTaken && word !== 'lost' ? 200 : 0;
    keep({ ...request, status, answered: word, isTaken });
    switch (word) {
      case 'slow':
        later(amount, () => answer(stream, request, { status }));
        break;
      case 'reset':
      case 'lost':
        peer.raw.resetAndDestroy();
        break;
      case 'refused':
        stream.close(constants.NGHTTP2_REFUSED_STREAM);
        break;
      case 'broken':
        stream.close(constants.NGHTTP2_INTERNAL_ERROR);
        break;
      case 'html':
        respond(stream, { ':status': status, 'content-type': 'text/html' }, errorPage);
        break;
      case 'goaway':
        peer.lastId = Math.min(peer.lastId, peer.seenId);
        stream.session?.goaway(constants.NGHTTP2_NO_ERROR, peer.lastId);
        answer(stream, request, { status });
        leave(stream.session);
        break;
      default:
      // Silence.
    }
  }

  /** The first good request of a connection: from now on it has as many streams as all. */
  function widen(session: ServerHttp2Session | undefined, peer: Peer): void {
    if (session === undefined || peer.limit >= maxStreams) return;
    setLimit(session, peer, maxStreams);
  }

  function setLimit(session: ServerHttp2Session, peer: Peer, count: number): void {
    if (session.destroyed || session.closed) return;
    // A lower one binds the peer when it has it, a higher one at once.
    if (count > peer.limit) peer.limit = count;
    session.settings({ maxConcurrentStreams: count }, () => {
      peer.limit = count;
    });
  }

  const server = createSecureServer({
    key: tls.key,
    cert: tls.cert,
    minVersion: 'TLSv1.2',
    maxSessionMemory: 100,
    settings: { maxConcurrentStreams: startsWithOne ? 1 : maxStreams },
    ...(certificates.length === 0
      ? {}
      : { requestCert: true, rejectUnauthorized: false, ca: certificates.map((one) => one.cert) }),
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.setNoDelay();
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('session', (session) => {
    const { remotePort } = session.socket;
    const raw = [...sockets].find((socket) => socket.remotePort === remotePort);
    if (raw === undefined) {
      session.destroy();
      return;
    }
    const shown = certificates.length === 0 ? undefined : (session.socket as TLSSocket).getPeerCertificate();
    const limit = startsWithOne ? 1 : maxStreams;
    counts.opened += 1;
    peers.set(session, {
      number: counts.opened,
      raw,
      inFlight: new Set(),
      seenId: 0,
      lastId: Number.POSITIVE_INFINITY,
      limit,
      isBlocked: false,
      hasCertificate: shown?.fingerprint256 !== undefined,
      topics: shown?.fingerprint256 === undefined ? undefined : topicsOf.get(shown.fingerprint256),
    });
    session.on('error', () => {});
    session.once('close', () => peers.delete(session));
    // With a certificate there is no first good request to wait for.
    const peer = peers.get(session);
    if (peer?.topics !== undefined) setLimit(session, peer, maxStreams);
  });
  server.on('sessionError', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_HTTP2_ERROR') counts.violations += 1;
  });
  server.on('tlsClientError', () => {});
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: string[]) =>
    onStream(stream, headers, raw),
  );
  server.listen(canSilence ? 0 : port, canSilence ? '127.0.0.1' : host);
  await once(server, 'listening');
  const inner = server.address() as AddressInfo;
  const relay = canSilence ? await openRelay({ host: inner.address, port: inner.port }, { host, port }) : undefined;
  const actual = relay?.port ?? inner.port;
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    url: `https://${host.includes(':') ? `[${host}]` : host}:${actual}`,
    port: actual,
    credentials,
    arrivals,
    get received() {
      return counts.received;
    },
    get taken() {
      return counts.taken;
    },
    get connections() {
      return peers.size;
    },
    get opened() {
      return counts.opened;
    },
    get inFlight() {
      return [...peers.values()].reduce((sum, { inFlight }) => sum + inFlight.size, 0);
    },
    get mostInFlight() {
      return counts.mostInFlight;
    },
    get violations() {
      return counts.violations;
    },
    shown: (token) => [...(devices.get(token)?.values() ?? [])],
    hold() {
      isHolding = true;
    },
    letGo() {
      isHolding = false;
      for (const go of held.splice(0)) go();
    },
    goaway(answered, { code = constants.NGHTTP2_NO_ERROR, reason } = {}) {
      const data = Buffer.from(reason === undefined ? '' : JSON.stringify({ reason }));
      for (const [session, peer] of peers) {
        const ids = [...peer.inFlight].map(({ id }) => id ?? 0).toSorted((a, b) => a - b);
        const lastId = answered === 0 ? 0 : (ids.at(Math.min(answered, ids.length) - 1) ?? 0);
        // What was looked at is never above it, or it would show twice.
        peer.lastId = Math.min(peer.lastId, Math.max(lastId, peer.seenId));
        session.goaway(code, peer.lastId, data);
        leave(session);
      }
    },
    limitStreams(count) {
      maxStreams = count;
      for (const [session, peer] of peers) setLimit(session, peer, count);
    },
    silence: () => relay?.silence() ?? 0,
    cut,
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      cut();
      await closed;
      await relay?.close();
    },
  };
}

const errorPage = `<html><head><title>502 Bad Gateway</title></head><body>${'<p>Sorry.</p>'.repeat(1_000)}</body></html>`;

function makeCredentials(): ApnsCredentials {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), ...demoIds };
}

function readRequest(
  connection: number,
  stream: number,
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  body: string,
  atMs: number,
): ApnsRequest {
  const fields: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(':') && value !== undefined) fields[name] = String(value);
  }
  const names = raw.filter((_, i) => i % 2 === 0);
  const repeated = names.length === new Set(names).size ? [] : names.filter((name, i) => names.indexOf(name) < i);
  const path = headers[':path'] ?? '';
  return {
    connection,
    stream,
    method: headers[':method'] ?? '',
    path,
    token: tokenOfPath(path),
    headers: fields,
    repeated,
    body,
    atMs,
  };
}

function answer(
  stream: ServerHttp2Stream,
  { headers }: ApnsRequest,
  { status, reason }: ApnsVerdict,
  { amount, timestampMs = 0 }: Partial<ApnsFault> = {},
): void {
  const fields = {
    ':status': status,
    'apns-id': (headers['apns-id'] ?? randomUUID()).toUpperCase(),
    ...(amount === undefined ? {} : { 'retry-after': String(amount) }),
  };
  const body =
    reason === undefined ? '' : JSON.stringify(status === 410 ? { reason, timestamp: timestampMs } : { reason });
  respond(stream, fields, body);
}

function respond(stream: ServerHttp2Stream, fields: Record<string, string | number>, body: string): void {
  // Its other side may have gone meanwhile.
  if (stream.closed || stream.destroyed) return;
  if (body === '') stream.respond(fields, { endStream: true });
  else {
    stream.respond(fields);
    stream.end(body);
  }
}

/** Ends the connection when its streams have ended: after a farewell Node reads it no more, and would not hear that the other side has gone. */
function leave(session: Pick<ServerHttp2Session, 'close'> | undefined): void {
  setImmediate(() => session?.close());
}

function later(ms: number, act: () => void): void {
  if (ms === 0) act();
  else setTimeout(act, ms).unref();
}
