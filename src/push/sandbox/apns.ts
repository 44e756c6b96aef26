import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import {
  constants,
  createSecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { type ApnsReason, apnsReasons, isApnsReason } from '../apns/reasons.ts';
import { answer, answerPage, readRequest } from './apns-exchange.ts';
import type { ApnsFault } from './apns-faults.ts';
import { ApnsPeer } from './apns-peer.ts';
import { type ApnsRequest, type ApnsVerdict, checkRequest, ProviderTokenWatch } from './apns-rules.ts';
import { listen, urlOf } from './listener.ts';
import { createRecord, type Shown } from './record.ts';
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
export interface ApnsShown extends Shown {
  readonly body: string;
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
  close(): Promise<void>;
}

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
  const record = createRecord<ApnsArrival, ApnsShown>({ maxArrivals, maxDevices, maxShown, onArrival });
  const counts = { taken: 0, opened: 0, mostInFlight: 0, violations: 0 };
  const peers = new Map<ServerHttp2Session, ApnsPeer>();
  const held: (() => void)[] = [];
  let isHolding = false;
  let maxStreams = options.maxConcurrentStreams ?? 512;
  const firstStreams = startsWithOne ? 1 : maxStreams;

  function keep(arrival: ApnsArrival): void {
    const { isTaken, token, headers, body } = arrival;
    if (isTaken) {
      counts.taken += 1;
      record.show(token, { key: headers['apns-collapse-id'] ?? `#${counts.taken}`, body });
    }
    record.keep(arrival);
  }

  /** Who is it, what does it ask? */
  function judge(peer: ApnsPeer, request: ApnsRequest): ApnsVerdict {
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
    stream.on('error', () => {});
    const peer = stream.session === undefined ? undefined : peers.get(stream.session as ServerHttp2Session);
    if (peer === undefined) {
      stream.close();
      return;
    }
    if (!peer.begin(stream)) counts.violations += 1;
    counts.mostInFlight = Math.max(counts.mostInFlight, peer.inFlight.size);
    readRequest(stream, { headers, raw, connection: peer.number }, clock, (request) => {
      const go = () => later(latencyMs, () => receive(peer, stream, request));
      if (isHolding) held.push(go);
      else go();
    });
  }

  function receive(peer: ApnsPeer, stream: ServerHttp2Stream, request: ApnsRequest): void {
    if (!peer.sees(stream)) return;
    const fault = faultOf?.(request);
    const verdict = fault !== undefined && isApnsReason(fault.word) ? undefined : judge(peer, request);
    if (fault !== undefined && verdict?.status === 200) {
      suffer(fault, peer, stream, request);
      return;
    }
    const { status, reason } = verdict ?? { status: apnsReasons[fault?.word as ApnsReason], reason: fault?.word };
    keep({ ...request, status, answered: reason ?? 'ok', isTaken: status === 200 });
    // The first good request of a connection: from now on it has as many streams as all.
    if (status === 200 && peer.limit < maxStreams) peer.allow(maxStreams);
    answer(stream, request, { status, ...(reason === undefined ? {} : { reason }) }, fault);
  }

  /** What happens to a good request instead of an answer in words. */
  function suffer(fault: ApnsFault, peer: ApnsPeer, stream: ServerHttp2Stream, request: ApnsRequest): void {
    const { word, amount = 0 } = fault;
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
        answerPage(stream, status);
        break;
      case 'goaway':
        peer.goaway();
        answer(stream, request, { status });
        break;
      default:
      // Silence.
    }
  }

  const server = createSecureServer({
    key: tls.key,
    cert: tls.cert,
    minVersion: 'TLSv1.2',
    maxSessionMemory: 100,
    settings: { maxConcurrentStreams: firstStreams },
    ...(certificates.length === 0
      ? {}
      : { requestCert: true, rejectUnauthorized: false, ca: certificates.map((one) => one.cert) }),
  });
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: string[]) =>
    onStream(stream, headers, raw),
  );
  server.on('sessionError', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_HTTP2_ERROR') counts.violations += 1;
  });
  const listener = await listen(server, canSilence ? { host: '127.0.0.1', port: 0 } : { host, port });
  server.on('session', (session) => {
    const raw = listener.below(session.socket);
    if (raw === undefined) {
      session.destroy();
      return;
    }
    const shown = certificates.length === 0 ? undefined : (session.socket as TLSSocket).getPeerCertificate();
    const fingerprint = shown?.fingerprint256;
    counts.opened += 1;
    const peer = new ApnsPeer(session, {
      number: counts.opened,
      raw,
      limit: firstStreams,
      hasCertificate: fingerprint !== undefined,
      topics: fingerprint === undefined ? undefined : topicsOf.get(fingerprint),
    });
    peers.set(session, peer);
    session.once('close', () => peers.delete(session));
    // With a certificate there is no first good request to wait for.
    if (peer.topics !== undefined) peer.allow(maxStreams);
  });
  const inner = listener.address;
  const relay = canSilence ? await openRelay({ host: inner.address, port: inner.port }, { host, port }) : undefined;
  const actual = relay?.port ?? inner.port;
  return {
    url: urlOf(host, actual),
    port: actual,
    credentials,
    arrivals: record.arrivals,
    get received() {
      return record.received;
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
    shown: record.shown,
    hold() {
      isHolding = true;
    },
    letGo() {
      isHolding = false;
      for (const go of held.splice(0)) go();
    },
    goaway(answered, how) {
      for (const peer of peers.values()) peer.goaway(answered, how);
    },
    limitStreams(count) {
      maxStreams = count;
      for (const peer of peers.values()) peer.allow(count);
    },
    silence: () => relay?.silence() ?? 0,
    async close() {
      await listener.close();
      await relay?.close();
    },
  };
}

function makeCredentials(): ApnsCredentials {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), ...demoIds };
}

function later(ms: number, act: () => void): void {
  if (ms === 0) act();
  else setTimeout(act, ms).unref();
}
