import { createHash } from 'node:crypto';

/**
 * One value in a file: a mark with the version of the format, the length of the key in 4 bytes (big-endian), the key, the
 * first 16 bytes of SHA-256 over key and value, the value.
 */
const mark = Buffer.from('QALSDK1\n');
const sumBytes = 16;
const keyAt = mark.byteLength + 4;
/** Longer keys could not be found by `keys`. */
const maxKeyBytes = 16_384;

/** So much of a file has its key in it. */
export const headBytes = keyAt + maxKeyBytes;

/** Undefined: the key is too long. */
export function encodeFile(key: string, value: Uint8Array): Buffer | undefined {
  const name = Buffer.from(key);
  if (name.byteLength > maxKeyBytes) return undefined;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.byteLength);
  return Buffer.concat([mark, length, name, sumOf(name, value), value]);
}

/** The value; undefined: the file is not what was written for this key by this version. */
export function decodeFile(content: Buffer, key: string): Uint8Array | undefined {
  if (keyOfHead(content) !== key) return undefined;
  const name = Buffer.from(key);
  const sumAt = keyAt + name.byteLength;
  const value = content.subarray(sumAt + sumBytes);
  return sumOf(name, value).equals(content.subarray(sumAt, sumAt + sumBytes)) ? value : undefined;
}

/** @param head the first {@link headBytes} of a file, or all of it */
export function keyOfHead(head: Buffer): string | undefined {
  if (head.byteLength < keyAt || !head.subarray(0, mark.byteLength).equals(mark)) return undefined;
  const length = head.readUInt32BE(mark.byteLength);
  if (length > maxKeyBytes || head.byteLength < keyAt + length) return undefined;
  return head.subarray(keyAt, keyAt + length).toString();
}

function sumOf(key: Buffer, value: Uint8Array): Buffer {
  return createHash('sha256').update(key).update(value).digest().subarray(0, sumBytes);
}
