import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Metrics } from '../observe/index.ts';
import type { ControlBus, Database } from '../store/index.ts';
import type { Purge } from './url-key.ts';

export interface PublishedPurge {
  /** Its number: purges of all processes are counted. */
  generation: number;
  /** Stored answers that it ended in this process; undefined: this process has no cache. */
  ended: number | undefined;
}

/** Purges over every process that shares the database (C14; DESIGN §5). */
export interface Purges {
  /**
   * Announces a purge. When it resolves, the purge is committed and told to every process, which applies it within a second;
   * this one has applied it. Rejects when the database does not answer: whether it was announced is then not known.
   */
  publish(purge: Purge): Promise<PublishedPurge>;
  /**
   * From now on applies what any process announces, in order; once. `apply` gives back how many stored answers it ended,
   * `distrust` is called when a purge may have been missed. Resolves when this process knows where it stands; call it
   * before anything is stored. Rejects when the database does not answer.
   */
  listen(apply: (purge: Purge) => number, distrust: () => void): Promise<void>;
  close(): Promise<void>;
}

export interface PurgesOptions {
  /** Pause between two looks at the stored generation, the safety net under the bus. */
  rereadMs?: number;
  /** The same after one that failed. */
  retryMs?: number;
  /** How long messages may take that were sent before the stored generation was read. */
  graceMs?: number;
}

/** Why everything stored is asked about first. */
type DistrustReason = 'gap' | 'missed' | 'rewound' | 'unreadable' | 'failed';

/** Results of own purges that came over the bus before their commit was known, at most; without one it is applied twice. */
const maxEarly = 1_000;

/**
 * A purge raises the generation in the database and is told on the control bus in the same transaction. The row's lock
 * orders commits as it orders generations, and PostgreSQL delivers notifications in the order of commits: so a message
 * that is not the next one, or a stored generation that is ahead, proves that something was missed; a bus that broke and came
 * back without either proves that nothing was. While the database is away nobody can purge, and serving goes on.
 */
export function createPurges(
  deps: { db: Pick<Database, 'kysely'>; bus: ControlBus; logger: Logger; metrics: Metrics },
  options: PurgesOptions = {},
): Purges {
  const { db, bus, logger, metrics } = deps;
  const messages = metrics.counter(
    'qalgate_cache_purges_total',
    'Purges over all processes: published here, applied here',
    ['direction'],
  );
  const distrusts = metrics.counter(
    'qalgate_cache_distrusts_total',
    'Times that everything stored had to be asked about, as a purge may have been missed',
    ['reason'],
  );
  const readFailures = metrics.counter(
    'qalgate_cache_generation_reads_failed_total',
    'Times that the generation of purges could not be read',
  );
  let receiver: Receiver | undefined;

  /** Committed when it resolves. A transaction that is rolled back leaves no gap. */
  function announce(purge: Purge): Promise<number> {
    return db.kysely.transaction().execute(async (trx) => {
      const { generation } = await trx
        .updateTable('cache_generation')
        .set((eb) => ({ generation: eb('generation', '+', 1) }))
        .returning('generation')
        .executeTakeFirstOrThrow();
      await bus.publish('cache', { generation, purge }, trx);
      return generation;
    });
  }

  return {
    async publish(purge) {
      const announced =
        receiver === undefined
          ? { generation: await announce(purge), ended: undefined }
          : await receiver.publish(purge, announce);
      messages.inc({ direction: 'published' });
      return announced;
    },
    async listen(apply, distrust) {
      if (receiver !== undefined) throw new Error('somebody listens already');
      const made = new Receiver({
        apply(purge, generation) {
          const ended = apply(purge);
          messages.inc({ direction: 'applied' });
          // Without the URL, whose query may hold secrets.
          logger.debug({ sdkAppId: purge.sdkAppId, by: purge.by, generation, ended }, 'cache.purged');
          return ended;
        },
        distrust(reason, facts) {
          distrusts.inc({ reason });
          logger.warn({ reason, ...facts }, 'cache.distrusted');
          distrust();
        },
        read: async () =>
          (await db.kysely.selectFrom('cache_generation').select('generation').executeTakeFirstOrThrow()).generation,
        readFailed(error) {
          readFailures.inc();
          logger.error({ err: error }, 'cache.generation.read.failed');
        },
        applyFailed: (error, { sdkAppId, by }) => logger.error({ err: error, sdkAppId, by }, 'cache.purge.failed'),
        options,
      });
      receiver = made;
      metrics.gaugeOf('qalgate_cache_generation', 'Number of the last purge that holds here', () => made.generation);
      await made.start(bus);
    },
    async close() {
      await receiver?.close();
    },
  };
}

interface ReceiverDeps {
  apply(purge: Purge, generation: number): number;
  distrust(reason: DistrustReason, facts: { known: number | undefined; generation?: number }): void;
  /** The stored generation. */
  read(): Promise<number>;
  readFailed(error: unknown): void;
  applyFailed(error: unknown, purge: Purge): void;
  options: PurgesOptions;
}

/** What one process knows of the purges of all. */
class Receiver {
  #deps: ReceiverDeps;
  /** Everything up to here has been applied, or made up for by distrust. */
  #known: number | undefined;
  /** Own ones that were applied at their commit, before their message. */
  #own = new Set<number>();
  /** Own ones, perhaps, whose message came before their commit was known; and what they ended. */
  #early = new Map<number, number>();
  #publishing = 0;
  #reading: Promise<void> | undefined;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #stops: (() => void)[] = [];
  #closing = new AbortController();

  constructor(deps: ReceiverDeps) {
    this.#deps = deps;
  }

  get generation(): number {
    return this.#known ?? 0;
  }

  async start(bus: ControlBus): Promise<void> {
    // Listening before reading: nothing falls between the two.
    this.#stops.push(bus.subscribe('cache', (payload) => this.#receive(payload)));
    await this.#compare();
    // The first time included: until the bus listens, nothing is told to us.
    this.#stops.push(bus.onReconnect(() => this.#reread()));
    this.#reread();
  }

  async publish(purge: Purge, announce: (purge: Purge) => Promise<number>): Promise<PublishedPurge> {
    this.#publishing += 1;
    try {
      const generation = await announce(purge);
      let ended = this.#early.get(generation);
      this.#early.delete(generation);
      if (ended === undefined) {
        // Not waiting for the message, which a broken bus does not bring.
        this.#own.add(generation);
        ended = this.#apply(purge, generation);
      }
      return { generation, ended };
    } finally {
      this.#publishing -= 1;
      if (this.#publishing === 0) this.#early.clear();
    }
  }

  #receive(payload: unknown): void {
    const { generation, purge } = parseMessage(payload);
    if (generation === undefined) {
      this.#reread();
      return;
    }
    const known = this.#known;
    if (known !== undefined && generation > known + 1 && this.#lacks(known, generation - 1)) {
      this.#deps.distrust('gap', { known, generation });
    }
    // One that is older than what was read is applied all the same: it costs nothing.
    this.#known = Math.max(known ?? 0, generation);
    if (this.#own.delete(generation)) return;
    if (purge === undefined) {
      // A newer release may purge in ways that this one does not know.
      this.#deps.distrust('unreadable', { known, generation });
      return;
    }
    const ended = this.#apply(purge, generation);
    if (this.#publishing > 0 && this.#early.size < maxEarly) this.#early.set(generation, ended);
  }

  #apply(purge: Purge, generation: number): number {
    try {
      return this.#deps.apply(purge, generation);
    } catch (error) {
      this.#deps.applyFailed(error, purge);
      this.#deps.distrust('failed', { known: this.#known, generation });
      return 0;
    }
  }

  /** Is there one after `known`, up to `last`, that was not applied here? */
  #lacks(known: number, last: number): boolean {
    if (last - known > this.#own.size) return true;
    for (let each = known + 1; each <= last; each += 1) if (!this.#own.has(each)) return true;
    return false;
  }

  async #compare(): Promise<void> {
    const before = this.#known;
    const stored = await this.#deps.read();
    if (this.#known === undefined) {
      this.#known = stored;
      return;
    }
    if (before !== undefined && stored < before) {
      // Another database stands behind the name, or one that was set back: its numbers say nothing of what is stored.
      this.#deps.distrust('rewound', { known: before, generation: stored });
      this.#known = stored;
      this.#own.clear();
      return;
    }
    // What was sent before the reading may still be on its way to us.
    if (this.#lacks(this.#known, stored)) await this.#pause(this.#deps.options.graceMs ?? 250);
    if (this.#closing.signal.aborted) return;
    const known = this.#known;
    if (this.#lacks(known, stored)) this.#deps.distrust('missed', { known, generation: stored });
    this.#known = Math.max(known, stored);
    for (const each of this.#own) if (each <= stored) this.#own.delete(each);
  }

  /** One look at a time; a call during one is followed by another, as that one may have been too early. */
  #reread(): void {
    if (this.#closing.signal.aborted) return;
    if (this.#reading !== undefined) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    const { rereadMs = 30_000, retryMs = 1_000 } = this.#deps.options;
    let nextMs = rereadMs;
    this.#reading = this.#compare()
      .catch((error: unknown) => {
        nextMs = retryMs;
        this.#deps.readFailed(error);
      })
      .finally(() => {
        this.#reading = undefined;
        if (this.#closing.signal.aborted) return;
        this.#timer = setTimeout(() => this.#reread(), nextMs);
        this.#timer.unref();
        if (!this.#again) return;
        this.#again = false;
        this.#reread();
      });
  }

  #pause(ms: number): Promise<void> {
    return delay(ms, undefined, { signal: this.#closing.signal }).catch(() => {});
  }

  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    for (const stop of this.#stops) stop();
    await this.#reading;
  }
}

/** Reads a message of the bus; what is not there, or not in a form that we know, is undefined. Pure. */
function parseMessage(payload: unknown): { generation: number | undefined; purge: Purge | undefined } {
  const { generation, purge } = fieldsOf(payload);
  return { generation: isCount(generation) ? generation : undefined, purge: parseAnnounced(purge) };
}

function parseAnnounced(value: unknown): Purge | undefined {
  const { sdkAppId, by, url, tag } = fieldsOf(value);
  if (!isCount(sdkAppId)) return undefined;
  if (by === 'app') return { sdkAppId, by };
  if ((by === 'url' || by === 'prefix') && typeof url === 'string') return { sdkAppId, by, url };
  return by === 'tag' && typeof tag === 'string' ? { sdkAppId, by, tag } : undefined;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
