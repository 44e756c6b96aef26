import { createHash, type KeyObject, verify } from 'node:crypto';
import { type ApnsReason, apnsReasons } from '../apns/reasons.ts';

/** What APNs checks of a request before it takes it (PUSH §1.1–1.3, §1.5). Pure, but for what a verified token costs. */

export interface ApnsRequest {
  /** Counts from 1, of this sandbox. */
  readonly connection: number;
  /** Of HTTP/2. */
  readonly stream: number;
  readonly method: string;
  readonly path: string;
  /** From the path; `''`: none. */
  readonly token: string;
  /** By lower-case name; one that came several times has its values joined. */
  readonly headers: Readonly<Record<string, string>>;
  /** Names that came more than once. */
  readonly repeated: readonly string[];
  readonly body: string;
  /** By the sandbox's clock. */
  readonly atMs: number;
}

/** What APNs answers: 200, or a status with its reason. */
export interface ApnsVerdict {
  readonly status: number;
  readonly reason?: string;
}

/** A key by which provider tokens are signed. */
export interface TokenIssuer {
  readonly keyId: string;
  readonly teamId: string;
  readonly publicKey: KeyObject;
}

export interface TokenClaims {
  readonly issuer: TokenIssuer;
  readonly issuedMs: number;
}

const pushTypes = [
  'alert',
  'background',
  'voip',
  'location',
  'complication',
  'fileprovider',
  'mdm',
  'liveactivity',
  'pushtotalk',
  'widgets',
  'controls',
];
const maxPayloadBytes = 4_096;
const maxVoipBytes = 5_120;
const maxCollapseBytes = 64;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const path = /^\/3\/device\/([^/]*)$/;

export function tokenOfPath(text: string): string {
  try {
    return decodeURIComponent(path.exec(text)?.[1] ?? '');
  } catch {
    return '';
  }
}

/** Whose token it is, if it was signed as it should be; else why not. Its age is not looked at. */
export function readProviderToken(
  authorization: string | undefined,
  issuers: readonly TokenIssuer[],
): TokenClaims | string {
  if (authorization === undefined) return 'MissingProviderToken';
  const [, head = '', claims = '', signature = ''] = /^bearer ([\w-]+)\.([\w-]+)\.([\w-]+)$/i.exec(authorization) ?? [];
  const { alg, kid } = readPart(head);
  const { iss, iat } = readPart(claims);
  const issuer = issuers.find(({ keyId, teamId }) => keyId === kid && teamId === iss);
  if (alg !== 'ES256' || issuer === undefined || !Number.isInteger(iat)) return 'InvalidProviderToken';
  const isSigned = verify(
    'sha256',
    Buffer.from(`${head}.${claims}`),
    { key: issuer.publicKey, dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  return isSigned ? { issuer, issuedMs: Number(iat) * 1_000 } : 'InvalidProviderToken';
}

function readPart(part: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** All but who sends it. `topics` undefined: any. */
export function checkRequest(request: ApnsRequest, topics: readonly string[] | undefined): ApnsVerdict {
  const { method, headers, repeated, body, token } = request;
  const bad = (reason: ApnsReason): ApnsVerdict => ({ status: apnsReasons[reason], reason });
  if (method !== 'POST') return bad('MethodNotAllowed');
  if (!path.test(request.path)) return bad('BadPath');
  if (token === '') return bad('MissingDeviceToken');
  if (repeated.length > 0) return bad('DuplicateHeaders');
  const topic = headers['apns-topic'];
  if (topic === undefined) return bad('MissingTopic');
  if (!/^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(topic)) return bad('BadTopic');
  if (topics !== undefined && !topics.includes(topic)) return bad('TopicDisallowed');
  const type = headers['apns-push-type'];
  if (type !== undefined && !pushTypes.includes(type)) return bad('InvalidPushType');
  const priority = headers['apns-priority'] ?? '10';
  if (!['1', '5', '10'].includes(priority) || (type === 'background' && priority !== '5')) return bad('BadPriority');
  if (!/^[0-9]{1,15}$/.test(headers['apns-expiration'] ?? '0')) return bad('BadExpirationDate');
  const collapseBytes = Buffer.byteLength(headers['apns-collapse-id'] ?? 'x');
  if (collapseBytes === 0 || collapseBytes > maxCollapseBytes) return bad('BadCollapseId');
  if (!uuid.test(headers['apns-id'] ?? '00000000-0000-0000-0000-000000000000')) return bad('BadMessageId');
  if (Buffer.byteLength(body) > (type === 'voip' ? maxVoipBytes : maxPayloadBytes)) return bad('PayloadTooLarge');
  if (!hasAps(body)) return bad('PayloadEmpty');
  if (!/^(?:[0-9a-f]{2})+$/i.test(token)) return bad('BadDeviceToken');
  return { status: 200 };
}

function hasAps(body: string): boolean {
  try {
    const { aps } = JSON.parse(body) as { aps?: unknown };
    return typeof aps === 'object' && aps !== null;
  } catch {
    return false;
  }
}

const hourMs = 3_600_000;
const betweenUpdatesMs = 1_200_000;
/** How far ahead a sender's clock may be. */
const aheadMs = 300_000;
const maxKnownTokens = 1_000;

/** The memory that APNs has of provider tokens: each key's may change every 20 minutes, and lives an hour. */
export class ProviderTokenWatch {
  #issuers: readonly TokenIssuer[];
  /** Of each token that was taken: its claims, by its hash. Bounded: the oldest goes. */
  #taken = new Map<string, TokenClaims>();
  /** When each key's newest token was first seen. */
  #changedMs = new Map<string, number>();

  constructor(issuers: readonly TokenIssuer[]) {
    this.#issuers = issuers;
  }

  /** Undefined: it is good. */
  check(authorization: string | undefined, nowMs: number): ApnsVerdict | undefined {
    const hash = createHash('sha256')
      .update(authorization ?? '')
      .digest('base64');
    const known = this.#taken.get(hash);
    const claims = known ?? readProviderToken(authorization, this.#issuers);
    if (typeof claims === 'string') return { status: 403, reason: claims };
    const { issuer, issuedMs } = claims;
    if (issuedMs > nowMs + aheadMs) return { status: 403, reason: 'InvalidProviderToken' };
    if (nowMs - issuedMs >= hourMs) return { status: 403, reason: 'ExpiredProviderToken' };
    if (known !== undefined) return undefined;
    const key = `${issuer.teamId} ${issuer.keyId}`;
    if (nowMs - (this.#changedMs.get(key) ?? Number.NEGATIVE_INFINITY) < betweenUpdatesMs) {
      return { status: 429, reason: 'TooManyProviderTokenUpdates' };
    }
    this.#changedMs.set(key, nowMs);
    this.#taken.set(hash, claims);
    if (this.#taken.size > maxKnownTokens) this.#taken.delete(this.#taken.keys().next().value ?? '');
    return undefined;
  }
}
