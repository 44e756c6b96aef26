import { fitsUtf8, type ImResult } from '../../wire/index.ts';
import { normalise } from './normalise.ts';

/** Words of one request, and bytes of one word (API reference §7.1). */
const maxWords = 50;
const maxWordBytes = 200;

/** What is wrong with a word as the operator or an app wrote it; undefined: nothing. Pure. */
export function wordFault(word: string): { reason: string; allowed?: string } | undefined {
  const allowed = `1 … ${maxWordBytes} bytes of UTF-8`;
  if (!word.isWellFormed()) return { reason: 'must be well-formed Unicode' };
  if (word.includes('\0')) return { reason: 'must not hold U+0000' };
  if (word === '') return { reason: 'must not be empty', allowed };
  if (!fitsUtf8(word, maxWordBytes)) return { reason: 'is too long', allowed };
  const normalised = normalise(word).trim();
  if (normalised === '') return { reason: 'holds nothing that can be looked for' };
  if (!fitsUtf8(normalised, maxWordBytes)) {
    return { reason: 'is too long once width and case are taken away', allowed };
  }
  return undefined;
}

/** Reads the words of a request: each trimmed, the same one once. Pure. */
export function parseWords(words: readonly unknown[], field = 'DirtyWordsList'): ImResult<string[]> {
  const refuse = (at: string, reason: string, allowed?: string): ImResult<string[]> => ({
    ok: false,
    error: 'WORDS_INVALID',
    field: at,
    reason,
    ...(allowed === undefined ? {} : { allowed }),
  });
  if (words.length === 0 || words.length > maxWords) {
    return refuse(field, `has ${words.length} words`, `1 … ${maxWords} in a request`);
  }
  const parsed = new Set<string>();
  for (const [index, word] of words.entries()) {
    const at = `${field}[${index}]`;
    if (typeof word !== 'string') return refuse(at, 'must be a string');
    const trimmed = word.trim();
    const fault = wordFault(trimmed);
    if (fault !== undefined) return refuse(at, fault.reason, fault.allowed);
    parsed.add(trimmed);
  }
  return { ok: true, value: [...parsed] };
}
