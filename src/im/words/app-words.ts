import type { Logger, Metrics } from '../../observe/index.ts';
import type { ControlBus, Database } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import type { Matcher } from './matcher.ts';
import { buildGently } from './word-lists.ts';

/** The apps' own words, in memory of this process. */
export interface AppWords {
  get(sdkAppId: SdkAppId): Matcher | undefined;
  all(): Iterable<Matcher>;
  /** Resolves when this process has what the database had when it was called, or could not read it. */
  refresh(sdkAppId: SdkAppId): Promise<void>;
  close(): Promise<void>;
}

/** What the words of an app in the database look like, without reading them: the order plays no part. */
const digest = `count(*)::text || ' ' || sum(hashtextextended(word, 0))::text`;
/** Apps whose words are read in one query. */
const appsARead = 100;

/**
 * Reads the words of all apps, then again what has changed: when the control bus says so, when it may have missed something,
 * and every `rereadMs` besides. What changed is told by a digest, so that a look costs the database a scan and this process nothing.
 * While the database is away the words stay as they were. Rejects when the first reading fails.
 */
export async function openAppWords(
  deps: { db: Database; bus: ControlBus; logger: Logger; metrics: Metrics },
  { rereadMs, retryMs }: { rereadMs: number; retryMs: number },
): Promise<AppWords> {
  const { db, bus, logger, metrics } = deps;
  const failures = metrics.counter(
    'qalgate_im_word_reads_failed_total',
    'Times that the dirty words of apps could not be read from the database',
  );
  const held = new Map<SdkAppId, { digest: string; matcher: Matcher }>();

  /** Takes over what has changed; of these apps, or of all. */
  async function read(apps: readonly SdkAppId[] | 'all'): Promise<void> {
    const { rows } = await db.pool.query<{ app: SdkAppId; digest: string }>(
      `select sdk_app_id as app, ${digest} as digest from dirty_word
       ${apps === 'all' ? '' : 'where sdk_app_id = any ($1)'} group by sdk_app_id`,
      apps === 'all' ? [] : [apps],
    );
    const found = new Set(rows.map(({ app }) => app));
    for (const app of apps === 'all' ? [...held.keys()] : apps) if (!found.has(app)) held.delete(app);
    const changed = rows.filter((row) => held.get(row.app)?.digest !== row.digest).map(({ app }) => app);
    for (let i = 0; i < changed.length; i += appsARead) await load(changed.slice(i, i + appsARead));
  }

  async function load(apps: readonly SdkAppId[]): Promise<void> {
    const { rows } = await db.pool.query<{ app: SdkAppId; digest: string; words: string[] }>(
      `select sdk_app_id as app, ${digest} as digest, array_agg(word order by added_ms, word) as words from dirty_word
       where sdk_app_id = any ($1) group by sdk_app_id`,
      [apps],
    );
    for (const { app, digest, words } of rows) held.set(app, { digest, matcher: await buildGently(words) });
  }

  let wanted: Set<SdkAppId> | 'all' = new Set();
  let running: Promise<void> | undefined;
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  async function run(): Promise<void> {
    while (wanted === 'all' || wanted.size > 0) {
      const now = wanted;
      wanted = new Set();
      try {
        await read(now === 'all' ? 'all' : [...now]);
      } catch (error) {
        if (isClosed) break;
        failures.inc();
        logger.error({ err: error }, 'im.words.read.failed');
        // All, as what was asked for meanwhile may fail, too.
        clearTimeout(retry);
        retry = setTimeout(() => void request('all'), retryMs);
        retry.unref();
      }
    }
    // Here, at the last look at what is wanted: whoever asks from now on starts another run.
    running = undefined;
  }

  /** One reading at a time; what is asked for during one is read by the next. */
  function request(what: SdkAppId | 'all'): Promise<void> {
    if (isClosed) return Promise.resolve();
    if (what === 'all') wanted = 'all';
    else if (wanted !== 'all') wanted.add(what);
    running ??= run();
    return running;
  }

  await read('all');
  const stops = [
    bus.subscribe('words', (payload) => {
      const { sdkAppId } = payload as { sdkAppId?: unknown };
      void request(Number.isSafeInteger(sdkAppId) ? (sdkAppId as SdkAppId) : 'all');
    }),
    bus.onReconnect(() => void request('all')),
  ];
  const timer = setInterval(() => void request('all'), rereadMs);
  timer.unref();

  return {
    get: (sdkAppId) => held.get(sdkAppId)?.matcher,
    *all() {
      for (const { matcher } of held.values()) yield matcher;
    },
    refresh: request,
    async close() {
      isClosed = true;
      wanted = new Set();
      clearInterval(timer);
      clearTimeout(retry);
      for (const stop of stops) stop();
      await running;
    },
  };
}
