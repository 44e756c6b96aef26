import type { IncomingMessage } from 'node:http';
import type { BlockList } from 'node:net';
import { clientAddress, networkOf } from '../auth/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import type { Admissions, Admitted } from './admission.ts';
import type { ClientConnection } from './client-connection.ts';
import type { FieldClasses } from './header-fields.ts';
import type { Limits, RateLimiter } from './limits.ts';
import { parseRequestHead, type RequestHead } from './request-head.ts';

/** What becomes of a request, before a byte of it goes anywhere. */
export type Entry =
  | { kind: 'refused'; code: ErrorCode; reason?: string; address: string; head?: RequestHead }
  /** Below `/.qal/`: answered here. */
  | { kind: 'own'; address: string; head: RequestHead }
  | { kind: 'admitted'; address: string; head: RequestHead; admission: Admitted };

/** What the way in looks at. */
export type EnteringRequest = Pick<
  IncomingMessage,
  'method' | 'url' | 'httpVersionMajor' | 'httpVersionMinor' | 'rawHeaders'
>;

export interface Entrance {
  enter(client: ClientConnection, req: EnteringRequest): Entry;
}

/**
 * The way in for requests and upgrades alike: the head is taken apart, the user's address found, the rate held against
 * it, route and session admitted, the announced length checked. A refusal without a head means that the head itself
 * could not be believed: nothing behind it on its connection counts as a request.
 */
export function createEntrance(deps: {
  classes: FieldClasses;
  admissions: Admissions;
  limits: Limits;
  requestRate: RateLimiter;
  trusted: BlockList;
}): Entrance {
  const { classes, admissions, limits, requestRate, trusted } = deps;
  return {
    enter(client, req) {
      const parsed = parseRequestHead(
        {
          method: req.method ?? '',
          url: req.url ?? '',
          httpVersionMajor: req.httpVersionMajor,
          httpVersionMinor: req.httpVersionMinor,
          rawHeaders: req.rawHeaders,
          peerTrusted: client.peerTrusted,
          maxHeaders: limits.headerCount,
          maxUrlBytes: limits.urlBytes,
        },
        classes,
      );
      if (!parsed.ok) return { kind: 'refused', code: parsed.code, reason: parsed.reason, address: client.peer };
      const { head } = parsed;
      const address = client.peerTrusted ? clientAddress(client.peer, head.forwardedFor, trusted) : client.peer;
      if (!requestRate.take(networkOf(address))) return { kind: 'refused', code: 'RATE_LIMITED', address, head };
      if (head.target.startsWith('/.qal/')) return { kind: 'own', address, head };
      const admission = admissions.admit(head);
      if (!admission.ok) return { kind: 'refused', code: admission.code, address, head };
      if (limits.bodyBytes > 0 && head.contentLength > limits.bodyBytes) {
        return { kind: 'refused', code: 'BODY_TOO_LARGE', reason: `over ${limits.bodyBytes} bytes`, address, head };
      }
      return { kind: 'admitted', address, head, admission };
    },
  };
}
