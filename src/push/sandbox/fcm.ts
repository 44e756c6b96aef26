import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse, type Http2Session } from 'node:http2';
import { createServer } from 'node:https';
import { fcmRefusal, type SandboxAnswer } from './fcm-answers.ts';
import { breakOff, type FcmBreak, type FcmFault, refusalOf, write } from './fcm-faults.ts';
import { type FcmMessage, readFcmRequest } from './fcm-message.ts';
import { createFcmOauth, type TokenFault } from './fcm-oauth.ts';
import { createMinuteQuota } from './fcm-quota.ts';
import { listen, urlOf } from './listener.ts';
import { createRecord, type Shown } from './record.ts';

/** A request of `messages:send` as it came, and what was said to it. */
export interface FcmArrival {
  readonly atMs: number;
  readonly protocol: 'h2' | 'http/1.1';
  /** Of the device; undefined where the body named none. */
  readonly token: string | undefined;
  readonly body: string;
  /** 0: there was no answer. */
  readonly status: number;
  /** `ok`, or in a word why not. */
  readonly answered: string;
}

/** What a device shows under one key: the tag of its notifications, else the collapse key, else each is by itself. */
export interface FcmShown extends Shown {
  readonly title: string | undefined;
  readonly body: string | undefined;
  readonly count: number | undefined;
}

export interface FcmSandboxOptions {
  readonly tls: { readonly key: string; readonly cert: string };
  readonly host?: string;
  readonly port?: number;
  /** Of the service account, PEM; by default one is made. */
  readonly privateKey?: string;
  /** What it speaks, by ALPN; both. */
  readonly protocols?: readonly ('h2' | 'http/1.1')[];
  /** Unix milliseconds. */
  readonly clock?: () => number;
  /** How long access tokens hold. */
  readonly tokenLifeSec?: number;
  /** Answers to messages come so late. */
  readonly latencyMs?: number;
  /** Messages of the project in a minute, any failed ones too; and to one device. */
  readonly perMin?: number;
  readonly perDeviceMin?: number;
  /** Arrivals that are kept, and devices; beyond it the oldest go. */
  readonly maxArrivals?: number;
  readonly maxDevices?: number;
  /** What becomes of this message, and of this request for an access token. */
  readonly fault?: (token: string) => FcmFault | undefined;
  readonly tokenFault?: () => TokenFault | 'silent' | undefined;
  readonly onArrival?: (arrival: FcmArrival) => void;
}

/** Google's service on a socket of ours: OAuth, and FCM HTTP v1. */
export interface FcmSandbox {
  readonly url: string;
  readonly port: number;
  /** JSON text, as Google gives it out; its `token_uri` is here. */
  readonly serviceAccount: string;
  readonly arrivals: readonly FcmArrival[];
  /** All so far, those that are no longer kept too; and those taken. */
  readonly received: number;
  readonly taken: number;
  readonly connections: number;
  /** Requests for access tokens so far. */
  readonly grants: number;
  shown(token: string): readonly FcmShown[];
  /** All access tokens end. */
  revokeTokens(): void;
  close(): Promise<void>;
}

/** What is said to a message, and the word for it. */
interface Judged {
  readonly answer: SandboxAnswer;
  readonly word: string;
  readonly token?: string;
  readonly fault?: FcmFault;
}

const projectId = 'qalgate-sandbox';
const clientEmail = `push@${projectId}.iam.gserviceaccount.com`;
const tokenPath = '/token';
const maxBodyBytes = 65_536;
const bodyMs = 10_000;
/** As much as FCM keeps for a device. */
const maxShown = 100;

/** Rejects when it cannot listen there. */
export async function openFcmSandbox(options: FcmSandboxOptions): Promise<FcmSandbox> {
  const { tls, host = '127.0.0.1', port = 0, protocols = ['h2', 'http/1.1'] } = options;
  const { clock = Date.now, tokenLifeSec = 3_599, latencyMs = 0, maxArrivals = 1_000, maxDevices = 10_000 } = options;
  const { perMin = Number.POSITIVE_INFINITY, perDeviceMin = Number.POSITIVE_INFINITY } = options;
  const { fault: faultOf, tokenFault, onArrival } = options;
  const keyPem = options.privateKey ?? makePrivateKey();
  let url = '';
  const oauth = createFcmOauth({
    clientEmail,
    privateKey: keyPem,
    tokenUri: () => url + tokenPath,
    clock,
    lifeSec: tokenLifeSec,
  });
  const record = createRecord<FcmArrival, FcmShown>({ maxArrivals, maxDevices, maxShown, onArrival });
  const quota = createMinuteQuota(perMin, perDeviceMin, maxDevices);
  const counts = { taken: 0, grants: 0 };
  /** Sessions that want no more requests. */
  const leaving = new WeakSet<Http2Session>();

  function take(message: FcmMessage, isDryRun: boolean): SandboxAnswer {
    const id = `0:${Math.floor(clock() * 1_000)}%${randomBytes(8).toString('hex')}`;
    if (!isDryRun) {
      counts.taken += 1;
      show(message, id);
    }
    const name = `projects/${projectId}/messages/${id}`;
    return {
      status: 200,
      headers: { 'content-type': 'application/json; charset=UTF-8' },
      body: JSON.stringify({ name }),
    };
  }

  function show({ token, notification, android }: FcmMessage, id: string): void {
    const ours = android?.notification;
    if (notification === undefined && ours === undefined) return;
    record.show(token, {
      key: ours?.tag ?? android?.collapse_key ?? id,
      title: ours?.title ?? notification?.title,
      body: ours?.body ?? notification?.body,
      count: ours?.notification_count,
    });
  }

  function judge(path: string, authorization: string, body: string): Judged {
    const refuse = (word: Parameters<typeof fcmRefusal>[0], retryAfterSec?: number) => ({
      answer: fcmRefusal(word, projectId, retryAfterSec),
      word,
    });
    const [, project] = /^\/v1\/projects\/([^/]+)\/messages:send$/.exec(path) ?? [];
    if (project === undefined) return refuse('NOT_FOUND');
    if (!oauth.isValid(authorization)) return refuse('UNAUTHENTICATED');
    if (project !== projectId) return refuse('PERMISSION_DENIED');
    const read = readFcmRequest(body);
    const token = read.ok ? read.message.token : read.token;
    const at = token === undefined ? {} : { token };
    const over = quota.count(token, clock());
    if (over !== undefined) return { ...refuse(over, 60), ...at };
    const fault = token === undefined ? undefined : faultOf?.(token);
    const asked = refusalOf(fault);
    if (asked !== undefined) return { ...refuse(asked.word, asked.retryAfterSec), ...at };
    if (fault?.word === 'reset' || fault?.word === 'refused' || fault?.word === 'silent') {
      return { answer: { status: 0, headers: {}, body: '' }, word: fault.word, ...at, fault };
    }
    if (!read.ok) return { answer: read.answer, word: 'INVALID_ARGUMENT', ...at };
    const answer = take(read.message, read.isDryRun);
    return { answer, word: fault?.word ?? 'ok', ...at, ...(fault === undefined ? {} : { fault }) };
  }

  async function receive(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
    const session = request.stream?.session;
    // What comes after its farewell is not looked at, though it has been read.
    if (session !== undefined && leaving.has(session)) return;
    const body = await readBody(request);
    if (body === undefined || (session !== undefined && leaving.has(session))) return;
    if (request.method !== 'POST') return write(response, fcmRefusal('NOT_FOUND', projectId));
    if (request.url === tokenPath) {
      counts.grants += 1;
      const fault = tokenFault?.();
      if (fault !== 'silent') write(response, oauth.answer(body, fault));
      return;
    }
    const { answer, word, token, fault } = judge(request.url, String(request.headers.authorization ?? ''), body);
    if (fault?.word === 'goaway' && session !== undefined) leaving.add(session);
    const isAnswered = answer.status !== 0 && fault?.word !== 'lost';
    const protocol = request.stream === undefined ? 'http/1.1' : 'h2';
    const status = !isAnswered ? 0 : fault?.word === 'garbage' || fault?.word === 'endless' ? 200 : answer.status;
    record.keep({ atMs: clock(), protocol, token, body, status, answered: word });
    const waitMs = fault?.word === 'slow' ? (fault.amount ?? 0) : latencyMs;
    if (waitMs > 0) await new Promise((resolve) => void setTimeout(resolve, waitMs).unref());
    if (fault === undefined || fault.word === 'slow') write(response, answer);
    else breakOff(fault.word as FcmBreak, request, response, answer);
  }

  const secure = { key: tls.key, cert: tls.cert, minVersion: 'TLSv1.2' } as const;
  // Of HTTP/1.1 alone: a server of both always prefers HTTP/2.
  const server = protocols.includes('h2')
    ? createSecureServer({
        ...secure,
        allowHTTP1: protocols.includes('http/1.1'),
        settings: { maxConcurrentStreams: 100 },
      })
    : createServer(secure);
  server.on('request', (request: Http2ServerRequest, response: Http2ServerResponse) => {
    request.on('error', () => {});
    response.on('error', () => {});
    // A client that went away: there is nobody to answer.
    receive(request, response).catch(() => response.destroy());
  });
  const listener = await listen(server, { host, port });
  url = urlOf(host, listener.address.port);
  return {
    url,
    port: listener.address.port,
    serviceAccount: JSON.stringify(
      {
        type: 'service_account',
        project_id: projectId,
        private_key_id: randomBytes(20).toString('hex'),
        private_key: keyPem,
        client_email: clientEmail,
        client_id: '100000000000000000000',
        token_uri: url + tokenPath,
      },
      undefined,
      2,
    ),
    arrivals: record.arrivals,
    get received() {
      return record.received;
    },
    get taken() {
      return counts.taken;
    },
    get grants() {
      return counts.grants;
    },
    get connections() {
      return listener.connections;
    },
    shown: record.shown,
    revokeTokens: () => oauth.revoke(),
    close: listener.close,
  };
}

function makePrivateKey(): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** Undefined: it is too long, or did not come in time. */
async function readBody(request: Http2ServerRequest): Promise<string | undefined> {
  const timer = setTimeout(() => request.destroy(), bodyMs);
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of request) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes > maxBodyBytes) return undefined;
    }
    return Buffer.concat(chunks).toString();
  } finally {
    clearTimeout(timer);
  }
}
