/**
 * The client SDK, for browsers and Node: HTTP through the access service, with sessions and a private cache.
 * Guide: docs/guide/sdk.md. For a cache on disk in Node: `qalgate/sdk/node`.
 */
export type { DeviceReport, ErrorCode, NetworkReport, OperatingSystem, Rat } from '../wire/index.ts';
export { createQalClient, type QalClient, type QalClientOptions, type SessionInfo } from './client.ts';
export { QalError, type QalErrorCode, type QalErrorDetail } from './error.ts';
export type { CacheStats, QalEvent } from './events.ts';
export type { GetUserSig, UserSigContext } from './identity.ts';
export { type IndexedDbStorageOptions, indexedDbStorage } from './indexed-db-storage.ts';
export { defaultLimits, type QalLimits } from './limits.ts';
export { memoryStorage } from './memory-storage.ts';
export { keepPrefix, type QalStorage } from './storage.ts';
export type { Fetch } from './transport.ts';
