/** What the queue and the services' clients say to one another. */

/** One push, ready for its service. */
export interface Sendable {
  readonly token: string;
  /** Of APNs: which of its two sides knows the token. */
  readonly environment: 'production' | 'sandbox';
  /** Of APNs: the request's headers besides path and authorization, by lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON text of the request's body; of FCM with the token in it. */
  readonly body: string;
}

/**
 * What one attempt came to. `reason` is a service's own word (`Unregistered`, `UNAVAILABLE`), or one of ours in lower case (`timeout`,
 * `connect`, `goaway`); `status` the HTTP status, where there was one.
 *
 * - `ok`: the service took it; `id` is its name for it.
 * - `gone`: the token is dead, unless it was set anew after `sinceMs`. `isSure` false: a wrong environment or topic of ours would look
 *   the same, so nobody deletes many of them.
 * - `bad`: will never be taken as it is: our fault, or the settings'.
 * - `retry`: not before `afterMs`, for this push alone, for its `device`, or for the whole `channel`. `isSure`: it was not processed;
 *   else it may have been, and shows twice but for its collapse id (PUSH §1.6).
 * - `halt`: nothing of the app goes through this channel until somebody has mended what `reason` says.
 */
export type Outcome =
  | { readonly kind: 'ok'; readonly id: string | undefined; readonly status: number }
  | {
      readonly kind: 'gone';
      readonly reason: string;
      readonly status: number;
      readonly sinceMs: number | undefined;
      readonly isSure: boolean;
    }
  | { readonly kind: 'bad'; readonly reason: string; readonly status: number | undefined }
  | {
      readonly kind: 'retry';
      readonly reason: string;
      readonly status: number | undefined;
      readonly afterMs: number;
      /** Instead of it, where the attempt before came to the same reason. */
      readonly againMs?: number;
      readonly scope: 'push' | 'device' | 'channel';
      readonly isSure: boolean;
    }
  | { readonly kind: 'halt'; readonly reason: string; readonly status: number | undefined };

/** The client of one app's service. It makes one attempt a push; all else is the queue's. */
export interface Sender {
  /** How many more it takes at once at the moment; the queue never has more under way. */
  room(): number;
  /** Never rejects, and always ends: within its own deadline (10 s by default). */
  send(push: Sendable): Promise<Outcome>;
  figures(): SenderFigures;
  /** What is under way ends first, within a second or two. Never rejects. */
  close(): Promise<void>;
}

/** For operators. */
export interface SenderFigures {
  readonly connections: number;
  readonly inFlight: number;
  /** Undefined: nothing ails it. */
  readonly trouble: string | undefined;
}
