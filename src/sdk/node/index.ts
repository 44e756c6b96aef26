/** The SDK for Node: all of `qalgate/sdk`, a cache on disk, and a client that follows redirects. */
export * from '../index.ts';
export { type DirectoryStorageOptions, directoryStorage } from './directory-storage.ts';
export { createQalClient } from './node-client.ts';
