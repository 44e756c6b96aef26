import { monitorEventLoopDelay } from 'node:perf_hooks';
import { collectDefaultMetrics, Gauge } from 'prom-client';
import type { Metrics } from './metrics.ts';

/** How late timers came, in seconds. */
export interface EventLoopDelay {
  p50: number;
  p99: number;
  max: number;
}

export interface ProcessMetrics {
  /** The worse of the last whole window and the running one. */
  eventLoopDelay(): EventLoopDelay;
  close(): Promise<void>;
}

export interface ProcessMetricsOptions {
  /** Length of a window; default 60,000. Longer than the pause between two scrapes, so that each stall is seen by one. */
  windowMs?: number;
}

const resolutionMs = 20;

/**
 * Registers what is to know of the process itself: the delay of its event loop, and prom-client's default metrics under
 * their standard names (CPU, memory, handles, garbage collection). Once a registry.
 *
 * The standard `nodejs_eventloop_lag_*` start afresh at every scrape, so two scrapers take each other's peaks away;
 * ours is kept by windows and reads the same for everyone.
 */
export function createProcessMetrics(
  { metrics }: { metrics: Metrics },
  { windowMs = 60_000 }: ProcessMetricsOptions = {},
): ProcessMetrics {
  collectDefaultMetrics({ register: metrics.registry, eventLoopMonitoringPrecision: resolutionMs });
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  let lastWindow: EventLoopDelay = { p50: 0, p99: 0, max: 0 };
  const timer = setInterval(() => {
    lastWindow = read(histogram);
    histogram.reset();
  }, windowMs);
  timer.unref();

  const eventLoopDelay = (): EventLoopDelay => {
    const running = read(histogram);
    return {
      p50: Math.max(running.p50, lastWindow.p50),
      p99: Math.max(running.p99, lastWindow.p99),
      max: Math.max(running.max, lastWindow.max),
    };
  };
  new Gauge({
    name: 'qalgate_observe_event_loop_delay_seconds',
    help: 'How late timers came within the last window: quantile 0.5, 0.99 and 1 (the longest)',
    labelNames: ['quantile'],
    registers: [metrics.registry],
    // At each scrape.
    collect() {
      const { p50, p99, max } = eventLoopDelay();
      this.set({ quantile: '0.5' }, p50);
      this.set({ quantile: '0.99' }, p99);
      this.set({ quantile: '1' }, max);
    },
  });

  return {
    eventLoopDelay,
    async close() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}

/** The histogram counts the timer's own period in (nanoseconds); what is beyond it is delay. Empty: none. */
function read(histogram: ReturnType<typeof monitorEventLoopDelay>): EventLoopDelay {
  if (histogram.count === 0) return { p50: 0, p99: 0, max: 0 };
  const seconds = (nanos: number) => Math.max(0, nanos / 1e9 - resolutionMs / 1e3);
  return {
    p50: seconds(histogram.percentile(50)),
    p99: seconds(histogram.percentile(99)),
    max: seconds(histogram.max),
  };
}
