import { createPublicKey, type KeyObject, randomBytes, verify } from 'node:crypto';
import type { SandboxAnswer } from './fcm-answers.ts';

/** What the token endpoint can be told to do instead: an OAuth error by its word, a page, a token that nobody takes, or no token at all. */
export type TokenFault = 'invalid_grant' | 'unauthorized_client' | '503' | 'dead-token' | 'no-token';

/** Google's OAuth for one service account: access tokens for signed grants (RFC 7523). */
export interface FcmOauth {
  /** Answers a POST of the token endpoint; `fault`: does that instead. */
  answer(body: string, fault?: TokenFault): SandboxAnswer;
  /** Whether the field `Authorization` holds a token that is valid now. */
  isValid(authorization: string): boolean;
  /** All that were given out end. */
  revoke(): void;
}

export interface FcmOauthOptions {
  readonly clientEmail: string;
  readonly privateKey: string;
  readonly tokenUri: () => string;
  readonly clock: () => number;
  readonly lifeSec: number;
}

const grantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const scope = 'https://www.googleapis.com/auth/firebase.messaging';
const maxTokens = 1_000;
/** How far a grant's times may lie off. */
const leewaySec = 300;

export function createFcmOauth({ clientEmail, privateKey, tokenUri, clock, lifeSec }: FcmOauthOptions): FcmOauth {
  const key = createPublicKey(privateKey);
  /** Until when each is valid, by its text; the oldest first. */
  const tokens = new Map<string, number>();

  function issue(isDead: boolean): SandboxAnswer {
    const token = `ya29.${randomBytes(48).toString('base64url')}`;
    if (!isDead) tokens.set(token, clock() + lifeSec * 1_000);
    if (tokens.size > maxTokens) tokens.delete(tokens.keys().next().value as string);
    return json(200, { access_token: token, expires_in: lifeSec, token_type: 'Bearer' });
  }

  return {
    answer(body, fault) {
      const form = new URLSearchParams(body);
      if (fault === 'invalid_grant') return refused('invalid_grant', 'Invalid grant: account not found');
      if (fault === 'unauthorized_client') {
        return json(401, { error: fault, error_description: 'Client is unauthorized to retrieve access tokens.' });
      }
      if (fault === '503') {
        return { status: 503, headers: { 'content-type': 'text/html' }, body: '<html><title>Error 503</title></html>' };
      }
      if (fault === 'no-token') return json(200, { id_token: 'a.b.c' });
      if (form.get('grant_type') !== grantType) {
        return refused('unsupported_grant_type', `Invalid grant_type: ${form.get('grant_type')}`);
      }
      const problem = findFault(form.get('assertion') ?? '', key, {
        clientEmail,
        tokenUri: tokenUri(),
        nowMs: clock(),
      });
      return problem === undefined ? issue(fault === 'dead-token') : refused(problem.error, problem.description);
    },
    isValid(authorization) {
      const [, token = ''] = /^Bearer (.+)$/.exec(authorization) ?? [];
      const untilMs = tokens.get(token);
      return untilMs !== undefined && untilMs > clock();
    },
    revoke: () => tokens.clear(),
  };
}

/** What is wrong with a grant. */
function findFault(
  assertion: string,
  key: KeyObject,
  { clientEmail, tokenUri, nowMs }: { clientEmail: string; tokenUri: string; nowMs: number },
): { error: string; description: string } | undefined {
  const [head = '', claims = '', signature = ''] = assertion.split('.');
  const wrong = (description: string) => ({ error: 'invalid_grant', description });
  const { alg, typ } = decode(head);
  if (alg !== 'RS256' || typ !== 'JWT') return wrong('Invalid JWT: header must say RS256 and JWT.');
  if (!verify('sha256', Buffer.from(`${head}.${claims}`), key, Buffer.from(signature, 'base64url'))) {
    return wrong('Invalid JWT Signature.');
  }
  const { iss, aud, iat, exp, scope: asked } = decode(claims);
  if (iss !== clientEmail) return wrong('Invalid grant: account not found');
  if (aud !== tokenUri) return wrong('Invalid JWT: Failed audience check.');
  const nowSec = nowMs / 1_000;
  const isTimely =
    typeof iat === 'number' &&
    typeof exp === 'number' &&
    exp > iat &&
    exp - iat <= 3_600 &&
    iat <= nowSec + leewaySec &&
    exp >= nowSec - leewaySec;
  if (!isTimely) {
    return wrong(
      'Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.',
    );
  }
  const scopes = String(asked).split(' ');
  if (!scopes.includes(scope)) {
    return { error: 'invalid_scope', description: 'Invalid OAuth scope or ID token audience provided.' };
  }
  return undefined;
}

function decode(part: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(Buffer.from(part, 'base64url').toString()));
  } catch {
    return {};
  }
}

const refused = (error: string, description: string): SandboxAnswer =>
  json(400, { error, error_description: description });

function json(status: number, value: object): SandboxAnswer {
  return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body: JSON.stringify(value) };
}
