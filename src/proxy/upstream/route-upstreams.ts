import { readFileSync } from 'node:fs';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Route, Timeouts } from '../../store/index.ts';
import { type OriginCounters, type OriginOptions, OriginPool } from './origin-pool.ts';
import { createReadBuffers } from './read-buffers.ts';

/** The origins of one route. */
export interface RouteUpstreams {
  readonly timeouts: Timeouts;
  /**
   * The origin for the next attempt: not yet tried for this request, available, with the fewest exchanges under way.
   * Where none is available one is tried all the same: to leave all alone would help nobody, and a few requests that
   * an app cannot answer must not keep everybody else's from it.
   */
  pick(tried: ReadonlySet<OriginPool>): OriginPool | undefined;
  /** Records a failure of the origin; logs when that ejects it. */
  recordFailure(pool: OriginPool, reason: string): void;
}

export interface Upstreams {
  /** Makes (or finds, when nothing changed) the origins of a route. */
  forRoute(route: Route): RouteUpstreams;
  /** Call when all routes of a new table were made: lets go of origins that no route names any more. */
  retireUnused(): void;
  close(): void;
}

const sweepMs = 1_000;

function isBetter(one: OriginPool, other: OriginPool): boolean {
  return one.unavailable === other.unavailable ? one.outstanding < other.outstanding : other.unavailable;
}

/** Keeps the connections to all upstreams of the process, by origin and settings. */
export function createUpstreams(
  deps: { logger: Logger; metrics: Metrics; now: () => number },
  defaults: Timeouts,
): Upstreams {
  const { logger, metrics, now } = deps;
  const counters: OriginCounters = { connectionsOpened: 0, connectionsUnasked: 0, ejections: 0 };
  const readBuffers = createReadBuffers();
  let pools = new Map<string, OriginPool>();
  let wanted = new Map<string, OriginPool>();

  metrics.counterOf(
    'qalgate_proxy_upstream_connections_opened_total',
    'Connections opened to upstreams',
    () => counters.connectionsOpened,
  );
  metrics.counterOf(
    'qalgate_proxy_upstream_unasked_total',
    'Upstream connections dropped for bytes that answered nothing',
    () => counters.connectionsUnasked,
  );
  metrics.counterOf(
    'qalgate_proxy_upstream_ejections_total',
    'Upstreams left alone after failures in a row',
    () => counters.ejections,
  );
  for (const state of ['idle', 'busy', 'connecting'] as const) {
    metrics.gaugeOf(`qalgate_proxy_upstream_connections_${state}`, `Connections to upstreams that are ${state}`, () =>
      sum(state),
    );
  }
  metrics.gaugeOf('qalgate_proxy_upstream_waiting', 'Requests that wait for a connection', () => sum('waiting'));
  const sum = (state: keyof OriginPool['connections']): number => {
    let total = 0;
    for (const pool of pools.values()) total += pool.connections[state];
    return total;
  };

  const sweeper = setInterval(() => {
    for (const pool of pools.values()) pool.sweep();
  }, sweepMs);
  sweeper.unref();

  const poolOf = (options: OriginOptions): OriginPool => {
    const key = JSON.stringify(options);
    const pool = wanted.get(key) ?? pools.get(key) ?? new OriginPool(options, { now, counters, readBuffers });
    wanted.set(key, pool);
    return pool;
  };

  return {
    forRoute(route) {
      const timeouts: Timeouts = { ...defaults, ...route.timeouts };
      const ca = route.upstreamCaFile === undefined ? undefined : readFileSync(route.upstreamCaFile, 'utf8');
      const list = [...new Set(route.upstream)].map((origin) =>
        poolOf({
          origin,
          maxConnections: route.maxConnections,
          maxQueued: route.maxQueued,
          connectMs: timeouts.connectMs,
          ...(ca === undefined ? {} : { ca }),
        }),
      );
      let turn = 0;
      return {
        timeouts,
        pick(tried) {
          let best: OriginPool | undefined;
          turn = (turn + 1) % list.length;
          for (let i = 0; i < list.length; i += 1) {
            const pool = list[(turn + i) % list.length] as OriginPool;
            if (!tried.has(pool) && (best === undefined || isBetter(pool, best))) best = pool;
          }
          return best;
        },
        recordFailure(pool, reason) {
          if (pool.recordFailure() && list.length > 1) {
            logger.warn({ origin: pool.options.origin, reason }, 'proxy.upstream.ejected');
          }
        },
      };
    },
    retireUnused() {
      for (const [key, pool] of pools) if (!wanted.has(key)) pool.retire();
      pools = wanted;
      wanted = new Map();
    },
    close() {
      clearInterval(sweeper);
      for (const pool of pools.values()) pool.destroy();
    },
  };
}
