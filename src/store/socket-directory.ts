import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { StoreError } from './store-error.ts';

/**
 * Names unix sockets in a directory of any depth. The kernel takes at most 107 bytes as a socket's path (macOS 103);
 * a longer one is named through an open handle of its directory, `/proc/self/fd/<n>/<name>`, which is as good.
 */
export interface SocketDirectory {
  /** The directory in a form short enough for the sockets in it. */
  readonly shortPath: string;
  close(): Promise<void>;
}

/** Room that a socket's name needs behind its directory, slash included. */
const nameBytes = 40;
const pathBytes = process.platform === 'linux' ? 107 : 103;

export async function openSocketDirectory(directory: string): Promise<SocketDirectory> {
  if (Buffer.byteLength(directory) + nameBytes <= pathBytes) return { shortPath: directory, close: async () => {} };
  if (process.platform !== 'linux') {
    throw new StoreError(
      'DATA_DIR_UNUSABLE',
      `the path ${directory} is too long for a unix socket: choose a data directory with at most ${pathBytes - nameBytes} bytes`,
    );
  }
  const handle: FileHandle = await open(directory, 'r');
  return { shortPath: path.join('/proc/self/fd', String(handle.fd)), close: () => handle.close() };
}
