import { readFile, stat } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Logger, Metrics } from '../../observe/index.ts';
import { building, type Matcher } from './matcher.ts';
import { wordFault } from './word-input.ts';

/** A category list of dirty words that the operator mounts (D4). */
export interface WordList {
  category: string;
  /** UTF-8, a word a line; empty lines and lines that begin with `#` do not count. */
  wordsFile: string;
}

export interface WordLists {
  /** The words of a category; undefined: there is no such list. */
  get(category: string): Matcher | undefined;
  all(): Iterable<Matcher>;
  close(): Promise<void>;
}

const maxFileBytes = 4_194_304;

interface Held {
  readonly list: WordList;
  matcher: Matcher;
  /** What the file looked like when it was read last, in vain or not. */
  seen: string;
}

/**
 * Reads the lists, and each again when its file has changed; looked for every `pollMs`. A file that cannot be read or is not
 * right any more changes nothing: its words stay as they were, and the log says so once. Rejects when one cannot be read at first.
 */
export async function openWordLists(
  { logger, metrics }: { logger: Logger; metrics: Metrics },
  { lists, pollMs }: { lists: readonly WordList[]; pollMs: number },
): Promise<WordLists> {
  const failures = metrics.counter(
    'qalgate_im_word_list_reads_failed_total',
    'Times that a changed list of dirty words could not be read; the words before it stay',
  );
  const held = new Map<string, Held>();
  for (const list of lists) {
    const seen = await look(list.wordsFile);
    held.set(list.category, { list, matcher: await read(list), seen });
  }

  async function refresh(one: Held): Promise<void> {
    const { category, wordsFile } = one.list;
    // A file that is away looks like nothing; when it comes back it has changed.
    const seen = await look(wordsFile).catch(() => 'away');
    if (seen === one.seen) return;
    // Before it is read: what is written meanwhile changes the look once more.
    one.seen = seen;
    try {
      one.matcher = await read(one.list);
      logger.info({ category, words: one.matcher.words }, 'im.words.list.read');
    } catch (error) {
      failures.inc();
      logger.error({ category, reason: reasonOf(error) }, 'im.words.list.failed');
    }
  }

  let running: Promise<void> | undefined;
  async function refreshAll(): Promise<void> {
    for (const one of held.values()) await refresh(one);
  }
  const timer = setInterval(() => {
    running ??= refreshAll().finally(() => {
      running = undefined;
    });
  }, pollMs);
  timer.unref();

  return {
    get: (category) => held.get(category)?.matcher,
    *all() {
      for (const { matcher } of held.values()) yield matcher;
    },
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}

async function look(file: string): Promise<string> {
  const { mtimeMs, size, ino } = await stat(file);
  return `${mtimeMs} ${size} ${ino}`;
}

async function read({ category, wordsFile }: WordList): Promise<Matcher> {
  const { size } = await stat(wordsFile);
  if (size > maxFileBytes) throw new Error(`${wordsFile} has ${size} bytes; allowed: ${maxFileBytes}`);
  const parsed = parseWordList(await readFile(wordsFile));
  if (!parsed.ok) throw new Error(`the word list ${category}: ${wordsFile}:${parsed.line}: ${parsed.reason}`);
  return await buildGently(parsed.words);
}

/** The words of a file, or the first line that is not right and why. Pure. */
export function parseWordList(
  content: Uint8Array,
): { ok: true; words: string[] } | { ok: false; line: number; reason: string } {
  const words = new Set<string>();
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    return { ok: false, line: 1, reason: 'the file is not UTF-8' };
  }
  for (const [index, line] of text.split(/\r\n|\r|\n/).entries()) {
    const word = line.trim();
    if (word === '' || word.startsWith('#')) continue;
    const fault = wordFault(word);
    if (fault !== undefined) {
      const { reason, allowed } = fault;
      const line = index + 1;
      return { ok: false, line, reason: allowed === undefined ? reason : `${reason}; allowed: ${allowed}` };
    }
    words.add(word);
  }
  return { ok: true, words: [...words] };
}

/** Builds a matcher in turns, so that whoever waits for this process does not wait for all of it. */
export async function buildGently(words: readonly string[]): Promise<Matcher> {
  const steps = building(words);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await nextTurn();
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
