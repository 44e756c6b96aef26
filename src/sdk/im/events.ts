import type { ImError } from './error.ts';

/** What happens inside of the client, for logs; no message body and no UserSig is in it. */
export type ImEvent =
  /** The storage failed. From now on everything is kept in memory alone. */
  | { readonly type: 'storage-failed'; readonly operation: 'get' | 'set' | 'delete' | 'keys'; readonly error: unknown }
  /** The service's store was restored or made anew: what was stored here is void, and was dropped. */
  | { readonly type: 'store-changed' }
  /** The peer's account was deleted, and is there again: another conversation, of which nothing is stored here. */
  | { readonly type: 'conversation-restarted'; readonly conversation: string }
  /** The service asked to look for what was missed, or more came than could be handled. */
  | { readonly type: 'resync' }
  /** Something that the client asked for by itself was refused. */
  | { readonly type: 'request-failed'; readonly request: string; readonly error: ImError }
  /** The service sent something that is no frame. */
  | { readonly type: 'bad-frame' }
  /** A function of the application threw. */
  | { readonly type: 'listener-failed'; readonly listener: string; readonly error: unknown };

export type Emit = (event: ImEvent) => void;
