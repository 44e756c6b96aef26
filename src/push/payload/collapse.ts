import { createHash } from 'node:crypto';

/**
 * The name by which a push replaces itself: APNs takes 64 bytes in a header field, so a longer one, or one with anything but printable
 * ASCII, goes by its hash.
 */
export function collapseIdOf(name: string): string {
  return /^[\x21-\x7e]{1,64}$/.test(name) ? name : createHash('sha256').update(name).digest('base64url');
}
