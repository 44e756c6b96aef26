import type { ErrorCode } from '../wire/index.ts';
import type { CachedAnswer } from './answers.ts';
import type { CacheRules, RawFields, RequestFacts, Validators } from './core/index.ts';

/** How a route is cached; one object for all its requests. */
export interface RouteRules extends CacheRules {
  /** It serves the same to everybody (`cacheScope: shared`). */
  readonly routeShared: boolean;
  /** Of its connections, how many may go on for the store alone. */
  readonly maxOrphans: number;
}

/** A request as the cache sees it. */
export interface CacheRequest {
  /** App, scheme, host, path and query, as {@link urlKey} writes them. */
  readonly url: string;
  /** What names the route; a URL that moves to another route starts anew. */
  readonly route: string;
  /** Terminal and account of its session; undefined: it has none (C12). */
  readonly owner: string | undefined;
  readonly facts: RequestFacts;
  /** It may mean another method or another URL than it says: it is not for the cache. */
  readonly overrides: boolean;
  readonly rules: RouteRules;
  /** The {@link url} of another target of the same host. */
  urlOf(target: string): string;
  /** A field as the backend sees it, injected ones included; its lines joined. @param name in lower case */
  fieldOf(name: string): string | undefined;
  /** Asks the origin on behalf of this request. */
  readonly upstream: Upstream;
}

/** How the cache asks an origin. */
export interface Upstream {
  /**
   * Sends the request without its body.
   * @param validators what stands in its conditions instead of the client's own; undefined: the client's own stay
   * @param whole its range is left out, as the whole is wanted
   */
  fetch(asked: { validators: Validators | undefined; whole: boolean }, events: FetchEvents): FetchHandle;
}

/** What happens to a request that the cache made. Exactly one of onEnd and onFailure comes, last. */
export interface FetchEvents {
  onInformation(status: number, reason: string, raw: RawFields): void;
  onHead(head: OriginHead): void;
  /** A piece of the body; valid during the call. */
  onBody(piece: Buffer): void;
  /** What had come is handed on; more may take a while. */
  onReadDone(): void;
  onEnd(trailers: readonly string[]): void;
  onFailure(code: ErrorCode, reason: string): void;
}

/** The head of an origin's answer. */
export interface OriginHead {
  readonly status: number;
  readonly reason: string;
  /** End-to-end fields and framing fields, as they came. */
  readonly raw: RawFields;
  /** Of the body; undefined: not known before its end. */
  readonly lengthBytes: number | undefined;
  /** Its end is marked by a length or by chunks: it cannot be cut off unnoticed. */
  readonly endMarked: boolean;
}

export interface FetchHandle {
  /** Some of it may have reached an origin. */
  readonly sent: boolean;
  pause(): void;
  resume(): void;
  /** Fails it when it is not over by then; undefined: what was said of that before does not hold any more. */
  limit(ms: number | undefined): void;
  /** Ends it; no event follows. */
  destroy(): void;
}

/** Who waits for an answer. One of the first three calls comes, once, unless it leaves. */
export interface CacheClient {
  onAnswer(answer: CachedAnswer): void;
  /**
   * The answer to its own request is for it alone, and is not stored: it goes on from here without the cache, the head
   * first. `status` is the member of Cache-Status to add; `why` says more, for people.
   */
  onTakeOver(head: OriginHead, status: string, why: string): void;
  onFailure(code: ErrorCode, reason: string): void;
  /** An answer whose body is still arriving: there may be more, or the end. */
  onMore(): void;
  /** An interim answer to its own request. */
  onInformation(status: number, reason: string, raw: RawFields): void;
}

/** What becomes of a request. */
export type Outcome =
  | { readonly kind: 'answer'; readonly answer: CachedAnswer }
  /** Not for the cache: forward it as it is. `status` is the member of Cache-Status to add to the answer. */
  | { readonly kind: 'forward'; readonly status: string }
  | { readonly kind: 'refused'; readonly code: ErrorCode }
  /** The client's calls follow, unless it calls `leave`. */
  | { readonly kind: 'wait'; readonly waiting: Waiting };

export interface Waiting {
  /** The client has gone, or needs nothing any more. */
  leave(): void;
}
