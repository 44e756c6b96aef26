import type { Logger } from '../observe/index.ts';
import type { ErrorCode } from '../wire/index.ts';

/** What the access log says of one exchange. Fields that are undefined are left out. */
export interface AccessFacts {
  /** The value of QAL-Req-Seq-No. */
  requestId: string;
  sdkAppId?: number | undefined;
  /** The part of QAL-Identifier that names it. */
  terminal?: string | undefined;
  account?: string | undefined;
  address: string;
  method?: string | undefined;
  host?: string | undefined;
  /** Request target as received. */
  target?: string | undefined;
  /** Of an ordinary request; 499 where its client left before an answer. */
  status?: number;
  /** Did the client get the whole answer? */
  complete?: boolean;
  /** Of a request to upgrade: did it come to that? */
  upgrade?: boolean;
  /** Of the bodies that were handed on. */
  bytesIn?: number;
  bytesOut?: number;
  /** Of `performance.now()`. */
  startedMs: number;
  /** Origin that served it. */
  upstream?: string | undefined;
  /** What the cache did: the member that the answer's Cache-Status has. */
  cache?: string | undefined;
  error?: ErrorCode | undefined;
  /** Why, for the operator; may name internal addresses. */
  reason?: string | undefined;
}

/** One line a request. The query is left out: it may carry secrets. */
export function logAccess(logger: Logger, { target, startedMs, ...facts }: AccessFacts): void {
  const query = target?.indexOf('?') ?? -1;
  const path = query < 0 ? target : target?.slice(0, query);
  logger.info({ ...facts, path, durationMs: Math.round((performance.now() - startedMs) * 10) / 10 }, 'access');
}
