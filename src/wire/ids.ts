import { fitsUtf8 } from './utf8.ts';

/** Branded ids: a string that a parser has accepted as what its type says. */
type Brand<T, B extends string> = T & { readonly __brand: B };

/** The number of an app, 1 … 4294967295. */
export type SdkAppId = number;
/** An account's identifier: 1 … 32 bytes of UTF-8, NFC, no control characters, case-sensitive (API reference §1.5). */
export type AccountId = Brand<string, 'AccountId'>;
/** A terminal's id: 12 letters a–z, the part of QAL-Identifier after `@v_tls#` (A3). */
export type TerminalId = Brand<string, 'TerminalId'>;

/** The id of a group as requests name it (API reference §4.2). */
export const groupIdForm = {
  pattern: /^[\x20-\x7e]{1,48}$/,
  allowed: '1 … 48 characters of printable ASCII (0x20 … 0x7e)',
} as const;

/** Reads an account identifier, or says why it is none. */
export function parseAccountId(value: unknown): { ok: true; value: AccountId } | { ok: false; reason: string } {
  if (typeof value !== 'string') return { ok: false, reason: 'must be a string' };
  if (value.length === 0) return { ok: false, reason: 'must not be empty' };
  if (!value.isWellFormed()) return { ok: false, reason: 'must be well-formed Unicode' };
  if (!fitsUtf8(value, 32)) return { ok: false, reason: 'must be at most 32 bytes of UTF-8' };
  if (/[\u0000-\u001f\u007f-\u009f]/u.test(value)) return { ok: false, reason: 'must hold no control characters' };
  if (value.normalize('NFC') !== value) return { ok: false, reason: 'must be in Unicode normal form C' };
  return { ok: true, value: value as AccountId };
}
