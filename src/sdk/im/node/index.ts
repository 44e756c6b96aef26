/** `qalgate/sdk/im` for Node, with a directory as storage. */

export { type DirectoryStorageOptions, directoryStorage } from '../../node/index.ts';
export * from '../index.ts';
