import { hkdfSync } from 'node:crypto';

/** Every secret of this deployment, derived from its master keys: so no key table and no key distribution. */
export interface KeyRing {
  /**
   * 32-byte keys for one purpose, one for each master key, newest master first: make with the first, accept any.
   * Purposes that rotate by themselves also name a generation.
   */
  derive(purpose: string, generation?: number): Buffer[];
}

/**
 * Makes a key ring from one master key, or several (newest first) while the master key rotates.
 * HKDF-SHA256 (RFC 5869) with purpose and generation as `info`. Throws RangeError if a key is not 32 bytes.
 */
export function createKeyRing(masterKeys: readonly Buffer[]): KeyRing {
  if (masterKeys.length === 0) throw new RangeError('there must be a master key');
  for (const key of masterKeys) if (key.length !== 32) throw new RangeError('a master key must be 32 bytes');
  return {
    derive(purpose, generation) {
      const info = `qalgate\0${purpose}\0${generation ?? ''}`;
      return masterKeys.map((key) => Buffer.from(hkdfSync('sha256', key, '', info, 32)));
    },
  };
}
