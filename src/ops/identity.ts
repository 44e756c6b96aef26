import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';
import { type Caller, networkOf } from '../auth/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import type { FailureLimit } from './failure-limit.ts';

/** A bearer token as configured. */
export interface OpsToken {
  /** Whose it is; named in the audit log. */
  name: string;
  role: 'viewer' | 'operator';
  token: string;
}

/** Who sent a request, and what to tell it if that is not enough. */
export interface Identity {
  caller: Caller;
  /** Name of the token; `local` or `anonymous` without one. */
  actor: string;
  /** Peer address: IPv4 also where it came mapped into IPv6. */
  address: string;
  refusal: { code: ErrorCode; reason?: string; headers?: Record<string, string> };
}

const anonymous = { caller: 'guest', actor: 'anonymous' } as const;
const challenge = 'Bearer realm="qalgate ops"';

/**
 * Tells who sent a request by its `Authorization: Bearer` field, never by cookie or URL; without the field, a peer on this
 * machine is `local`. Each call with a wrong token counts as a failure of its address: call it once a request.
 */
export function createIdentify(
  { failures }: { failures: FailureLimit },
  { tokens }: { tokens: readonly OpsToken[] },
): (request: IncomingMessage) => Identity {
  const known = tokens.map(({ name, role, token }) => ({ name, role, hash: sha256(token) }));
  const unauthorized = (reason: string, error = ''): Identity['refusal'] => ({
    code: 'UNAUTHORIZED',
    reason: known.length === 0 ? 'no token is configured: set ops.tokens in the configuration' : reason,
    headers: { 'WWW-Authenticate': `${challenge}${error}` },
  });

  return (request) => {
    const address = ipaddr.process(request.socket.remoteAddress ?? '0.0.0.0');
    const from = address.toString();
    const { authorization } = request.headers;
    if (authorization === undefined) {
      const caller = isLocal(address, request) ? ({ caller: 'local', actor: 'local' } as const) : anonymous;
      return { ...caller, address: from, refusal: unauthorized('send Authorization: Bearer <token>') };
    }

    const counted = networkOf(address.toString());
    const waitSec = failures.waitSec(counted);
    if (waitSec > 0) {
      const headers = { 'Retry-After': String(waitSec) };
      const reason = 'too many wrong tokens came from this address';
      return { ...anonymous, address: from, refusal: { code: 'RATE_LIMITED', reason, headers } };
    }
    const token = matching(authorization);
    if (token !== undefined) {
      const reason = `the token has the role ${token.role}`;
      return { caller: token.role, actor: token.name, address: from, refusal: { code: 'FORBIDDEN', reason } };
    }
    failures.fail(counted);
    return { ...anonymous, address: from, refusal: unauthorized('the token is not known', ', error="invalid_token"') };
  };

  function matching(authorization: string) {
    const presented = sha256(/^Bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1] ?? '');
    // Hashes have one length, and all are compared: the time tells nothing of any token.
    let match: (typeof known)[number] | undefined;
    for (const one of known) if (timingSafeEqual(one.hash, presented)) match = one;
    return match;
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** On this machine, and not through a proxy on this machine: what stands behind that may be anywhere. */
function isLocal(address: ipaddr.IPv4 | ipaddr.IPv6, { headers }: IncomingMessage): boolean {
  const proxied = ['x-forwarded-for', 'forwarded', 'x-real-ip', 'via'].some((name) => headers[name] !== undefined);
  return address.range() === 'loopback' && !proxied;
}
