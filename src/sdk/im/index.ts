/**
 * Messaging for clients, in browsers and in Node: `ImClient`, over the link of the im listener. Guide: docs/guide/im-client.md.
 * For a directory as storage in Node: `qalgate/sdk/im/node`.
 */
export { type IndexedDbStorageOptions, indexedDbStorage, memoryStorage, type QalStorage } from '../index.ts';
export {
  createImClient,
  type ImClient,
  type ImClientOptions,
  type ImPlatform,
  imPlatforms,
  type LoginInfo,
} from './client.ts';
export type { ConnectionReason, ConnectionState } from './connection.ts';
export type { ImConversation, PageOptions } from './conversation.ts';
export { ImError, type ImErrorCode, type ImErrorDetail } from './error.ts';
export type { ImEvent } from './events.ts';
export type { MessagePage } from './history.ts';
export type { SendOptions } from './letter.ts';
export { defaultImLimits, type ImLimits } from './limits.ts';
export type { LinkSocket, LinkSocketConstructor } from './link.ts';
export { type ImElement, type ImMessage, type ImMessageStatus, type ImOutgoing, textOf } from './message.ts';
export type { ForcedOffline, ProfileNotice, ReadNotice, RecalledNotice } from './signals.ts';
