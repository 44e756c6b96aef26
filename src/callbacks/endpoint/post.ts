import type { CallbackCommand, CallbackOrigin } from '../../wire/index.ts';
import type { Endpoint } from './endpoint.ts';

/** One POST to an app's backend. */
export interface Post {
  readonly endpoint: Endpoint;
  readonly command: CallbackCommand;
  /** The same for each repeat of an event. */
  readonly webhookId: string;
  readonly origin: CallbackOrigin;
  /** JSON text, sent as it stands. */
  readonly body: string;
  /** Further fields, lower case. */
  readonly fields?: Readonly<Record<string, string>>;
}

/** Why there was no answer. */
export type PostFailure =
  /** Nothing, or not all, by the deadline. */
  | 'timeout'
  /** Nobody listens there, there is no way to it, or too many wait for a connection to it already. */
  | 'refused'
  /** The connection ended before the answer did. */
  | 'reset'
  | 'dns'
  /** Certificate, host name, handshake. */
  | 'tls'
  /** The address is none that callbacks may reach (K8). */
  | 'blocked-address'
  /** Head or body over the bound. */
  | 'answer-too-large'
  /** Not HTTP; or what we wanted to send was not. */
  | 'malformed'
  /** The files of the client certificate, or of the authorities, cannot be read or used. */
  | 'client-certificate';

export type PostResult =
  | {
      readonly kind: 'answer';
      readonly status: number;
      /** Text of the body: all of it, or of `status` what came with the head, up to 2 KB. '' where it is encoded. */
      readonly body: string;
      /** Whether the body came encoded, or where all of it counts in another encoding than UTF-8: then `body` is not what it means. */
      readonly isEncoded: boolean;
      /** Of `Retry-After`, seconds or a date. */
      readonly retryAfterMs?: number;
      readonly tookMs: number;
    }
  | { readonly kind: 'failed'; readonly failure: PostFailure; readonly detail: string; readonly tookMs: number };

export interface PostOptions {
  /** When it has to be over, by `performance.now()`: look-up, connection, TLS, request and answer. */
  readonly deadline: number;
  /**
   * `whole`: the answer is its status and whole body. `status`: the status alone decides; the body is read in the background up to
   * the bound, so that the connection can be used again, and shown as far as it came with the head.
   */
  readonly answer: 'whole' | 'status';
  /** Sends exactly that, as {@link Poster.prepare} gave it for the same post; by default it is prepared now. */
  readonly prepared?: PreparedPost;
}

/** Sends callbacks: signs, guards the address, keeps connections, never retries, never follows. Never rejects. */
export interface Poster {
  post(post: Post, options: PostOptions): Promise<PostResult>;
  /** What would be sent, byte for byte; for "send a test event". */
  prepare(post: Post): PreparedPost;
  close(): Promise<void>;
}

export interface PreparedPost {
  readonly url: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: string;
  /** What the signature is of: `id.timestamp.body`. */
  readonly signedText: string;
}
