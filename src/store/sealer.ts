import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { StoreError } from './store-error.ts';

/** Encrypts small secrets for the database, so that a copy of the tables gives nothing away. */
export interface Sealer {
  /** Encrypts under the newest master key. `context` says what the secret is of; it must be the same at `open`. */
  seal(plain: string, context: string): string;
  /**
   * Decrypts what any of the master keys sealed. Throws a StoreError MASTER_KEY when none of them did, or when the text
   * was changed or moved here from another context.
   */
  open(sealed: string, context: string): string;
  /** Whether `sealed` is under the newest master key; if not, it has to be sealed anew before the old one may go. */
  isNewest(sealed: string): boolean;
}

interface Key {
  /** 8 hex digits that name the key in what it sealed; they come from the derived key and tell nothing about it. */
  id: string;
  bytes: Buffer;
}

const cipher = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;
const format = /^v1\.([0-9a-f]{8})\.([A-Za-z0-9_-]+)$/;

/**
 * AES-256-GCM under a key derived from each master key by HKDF-SHA256. Sealed text: `v1.<key id>.<base64url of nonce,
 * ciphertext, tag>`. Nonces are random: good for 2^32 seals a key.
 */
export function createSealer(masterKeys: readonly Buffer[]): Sealer {
  const keys = masterKeys.map(deriveKey);
  const [newest] = keys;
  if (newest === undefined) throw new RangeError('a sealer needs at least one master key');
  return {
    seal(plain, context) {
      const nonce = randomBytes(nonceBytes);
      const encrypt = createCipheriv(cipher, newest.bytes, nonce, { authTagLength: tagBytes });
      encrypt.setAAD(Buffer.from(context));
      const sealed = Buffer.concat([nonce, encrypt.update(plain, 'utf8'), encrypt.final(), encrypt.getAuthTag()]);
      return `v1.${newest.id}.${sealed.toString('base64url')}`;
    },
    open(sealed, context) {
      const [, id, text] = format.exec(sealed) ?? [];
      if (id === undefined || text === undefined) throw cannotOpen(context, 'it is not in a known format');
      const key = keys.find((candidate) => candidate.id === id);
      if (key === undefined) {
        const known = keys.map((candidate) => candidate.id).join(', ');
        throw cannotOpen(
          context,
          `it was encrypted under master key ${id}, and the keys given are ${known}: ` +
            'give the master key back that it was made with (data/master.key, masterKey or masterKeyFile; two while rotating)',
        );
      }
      const bytes = Buffer.from(text, 'base64url');
      try {
        const decrypt = createDecipheriv(cipher, key.bytes, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes });
        decrypt.setAAD(Buffer.from(context));
        decrypt.setAuthTag(bytes.subarray(-tagBytes));
        const plain = decrypt.update(bytes.subarray(nonceBytes, -tagBytes));
        return Buffer.concat([plain, decrypt.final()]).toString('utf8');
      } catch (error) {
        throw cannotOpen(context, 'it was changed, or belongs to something else', error);
      }
    },
    isNewest: (sealed) => format.exec(sealed)?.[1] === newest.id,
  };
}

function deriveKey(masterKey: Buffer): Key {
  const bytes = Buffer.from(hkdfSync('sha256', masterKey, '', 'qalgate store sealer v1', 32));
  const id = createHash('sha256').update('qalgate key id').update(bytes).digest('hex').slice(0, 8);
  return { id, bytes };
}

function cannotOpen(context: string, reason: string, cause?: unknown): StoreError {
  return new StoreError('MASTER_KEY', `the stored secret of ${context} cannot be opened: ${reason}`, { cause });
}
