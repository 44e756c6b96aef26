import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { ControlBus, Database } from '../../store/index.ts';
import type { ImResult, MessageElement, SdkAppId } from '../../wire/index.ts';
import type { Clock } from '../model.ts';
import type { Words } from '../services.ts';
import { openAppWords } from './app-words.ts';
import { checkedTexts } from './checked-texts.ts';
import type { Matcher } from './matcher.ts';
import { normalise } from './normalise.ts';
import { parseWords } from './word-input.ts';
import { openWordLists, type WordList } from './word-lists.ts';

export interface WordsDeps {
  db: Database;
  bus: ControlBus;
  apps: Pick<AppLookup, 'get'>;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

export interface WordsOptions {
  wordLists: readonly WordList[];
  /** Pause between two looks whether a list's file has changed; default 5 s. */
  pollMs?: number;
  /** Pause between two looks whether the database's words have; the safety net under the bus; default 60 s. */
  rereadMs?: number;
  /** The same after one that failed; default 1 s. */
  retryMs?: number;
}

/** UTF-8 of an app's words together, at most: bounds the memory that they take, some 40 times as much at worst. */
const maxAppBytes = 4_194_304;
/** Space of our advisory locks: apps whose words are being added to. */
const lockSpace = 0x776f7264;
/** How long `add` and `remove` wait until this process itself obeys; the others are told by then. */
const ownRefreshMs = 1_000;
const maxUnknownLists = 1_000;

/**
 * Dirty words (D1–D4). All words are in memory before this resolves, so a message is never let through because they were
 * not read yet. Rejects when the database or a list's file cannot be read.
 */
export async function createWords(deps: WordsDeps, options: WordsOptions): Promise<Words> {
  const { db, bus, apps, clock, logger, metrics } = deps;
  const { wordLists, pollMs = 5_000, rereadMs = 60_000, retryMs = 1_000 } = options;
  const lists = await openWordLists(deps, { lists: wordLists, pollMs });
  const own = await openAppWords(deps, { rereadMs, retryMs }).catch(async (error: unknown) => {
    await lists.close();
    throw error;
  });
  let hits = 0;
  const total = (of: (matcher: Matcher) => number) =>
    [...own.all(), ...lists.all()].reduce((sum, one) => sum + of(one), 0);
  metrics.counterOf('qalgate_im_dirty_word_hits_total', 'Texts in which a dirty word was found', () => hits);
  metrics.gaugeOf('qalgate_im_dirty_words', 'Dirty words in memory, of apps and lists', () =>
    total(({ words }) => words),
  );
  metrics.gaugeOf('qalgate_im_dirty_words_bytes', 'Memory of their matchers', () => total(({ bytes }) => bytes));

  const unknownLists = new Set<string>();
  function tellUnknown(sdkAppId: SdkAppId, category: string): void {
    const key = `${sdkAppId} ${category}`;
    if (unknownLists.has(key) || unknownLists.size >= maxUnknownLists) return;
    unknownLists.add(key);
    logger.warn({ sdkAppId, category }, 'im.words.list.unknown');
  }

  /** The app's own words, then those of its lists: each reads the text once more. */
  function matchersOf(sdkAppId: SdkAppId): Matcher[] {
    const matchers: Matcher[] = [];
    const first = own.get(sdkAppId);
    if (first !== undefined) matchers.push(first);
    for (const category of apps.get(sdkAppId)?.im.wordLists ?? []) {
      const list = lists.get(category);
      if (list === undefined) tellUnknown(sdkAppId, category);
      else if (list.words > 0) matchers.push(list);
    }
    return matchers;
  }

  function findIn(matchers: readonly Matcher[], text: string): string | undefined {
    const normalised = normalise(text);
    for (const matcher of matchers) {
      const found = matcher.find(normalised);
      if (found === undefined) continue;
      hits += 1;
      return found;
    }
    return undefined;
  }

  /** Resolves when this process obeys what was committed; a slow reading is not waited for, as the commit stands. */
  async function obey(sdkAppId: SdkAppId): Promise<void> {
    const late = new AbortController();
    await Promise.race([
      own.refresh(sdkAppId),
      delay(ownRefreshMs, undefined, { signal: late.signal }).catch(() => {}),
    ]);
    late.abort();
  }

  return {
    async list(sdkAppId) {
      const { rows } = await db.pool.query<{ word: string }>(
        'select word from dirty_word where sdk_app_id = $1 order by added_ms, word',
        [sdkAppId],
      );
      return rows.map(({ word }) => word);
    },
    async add(sdkAppId, input) {
      const app = apps.get(sdkAppId);
      if (app === undefined) return { ok: false, error: 'APP_UNKNOWN' };
      const parsed = parseWords(input);
      if (!parsed.ok) return parsed;
      const words = parsed.value;
      const result = await db.kysely.transaction().execute(async (transaction): Promise<ImResult> => {
        // One at a time an app, or two together could pass the limit that each alone keeps.
        await sql`select pg_advisory_xact_lock((${lockSpace}::bigint << 32) | ${sdkAppId}::bigint)`.execute(
          transaction,
        );
        const { rows } = await sql<{ count: number; bytes: number; fresh: number }>`
          select count(*) as count, coalesce(sum(octet_length(word)), 0)::bigint as bytes,
            ${words.length}::bigint - count(*) filter (where word = any (${words})) as fresh
          from dirty_word where sdk_app_id = ${sdkAppId}`.execute(transaction);
        const [{ count, bytes, fresh } = { count: 0, bytes: 0, fresh: 0 }] = rows;
        const field = 'DirtyWordsList';
        if (fresh > 0 && count + fresh > app.im.dirtyWords) {
          const reason = `the app has ${count} words already, and ${fresh} of these are new`;
          return { ok: false, error: 'WORDS_INVALID', field, reason, allowed: `${app.im.dirtyWords} in all` };
        }
        if (fresh > 0 && bytes + Buffer.byteLength(words.join('')) > maxAppBytes) {
          const reason = `the words of the app have ${bytes} bytes already`;
          return { ok: false, error: 'WORDS_INVALID', field, reason, allowed: `${maxAppBytes} bytes in all` };
        }
        await sql`
          insert into dirty_word (sdk_app_id, word, added_ms)
          select ${sdkAppId}, word, ${clock()} from unnest(${words}::text[]) as word
          on conflict do nothing`.execute(transaction);
        await bus.publish('words', { sdkAppId }, transaction);
        return { ok: true, value: undefined };
      });
      if (result.ok) await obey(sdkAppId);
      return result;
    },
    async remove(sdkAppId, input) {
      const parsed = parseWords(input);
      if (!parsed.ok) return parsed;
      await db.kysely.transaction().execute(async (transaction) => {
        await sql`
          delete from dirty_word where sdk_app_id = ${sdkAppId} and word = any (${parsed.value})`.execute(transaction);
        await bus.publish('words', { sdkAppId }, transaction);
      });
      await obey(sdkAppId);
      return { ok: true, value: undefined };
    },
    find(sdkAppId, text) {
      const matchers = matchersOf(sdkAppId);
      return matchers.length === 0 ? undefined : findIn(matchers, text);
    },
    findInBody(sdkAppId, body) {
      const matchers = matchersOf(sdkAppId);
      if (matchers.length === 0) return undefined;
      const customFields = apps.get(sdkAppId)?.im.checkedCustomFields ?? [];
      for (const element of body as readonly MessageElement[]) {
        // Each text for itself: a word is never found across two of them.
        for (const text of checkedTexts(element, customFields)) {
          const found = findIn(matchers, text);
          if (found !== undefined) return found;
        }
      }
      return undefined;
    },
    async close() {
      await own.close();
      await lists.close();
    },
  };
}
