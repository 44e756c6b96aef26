import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

export type CheckState = 'starting' | 'ok' | 'failing' | 'stopping';

/** One named part of the process, as it stands now. */
export interface HealthCheck {
  name: string;
  state: CheckState;
  /** When it came into this state. */
  since: Date;
  /** Why it is not ok; for people. */
  reason?: string;
}

/** By which a part reports on itself. Reports after `stop` or `remove` change nothing. */
export interface HealthReporter {
  ok(): void;
  /** The reason must hold no secret: it is shown at `/readyz`. Cut after 200 characters. */
  failing(reason: string): void;
  remove(): void;
}

/**
 * Liveness and readiness are different questions. Live: should this process be left running? It is, as long as it can
 * answer at all; no part's trouble makes a restart useful. Ready: should it get traffic? Only while every part is ok.
 */
export interface Health {
  /**
   * Enters a part, in state `starting`.
   * @throws Error when the name is taken or 64 parts are entered: names are fixed in the program, never from input.
   */
  check(name: string): HealthReporter;
  liveness(): { status: 'ok'; since: Date };
  /** Not ready either while no part is entered. Checks in the order in which they were entered. */
  readiness(): { ready: boolean; checks: HealthCheck[] };
  /** From now on not ready: every part is `stopping`. */
  stop(): void;
}

export interface HealthDeps {
  logger: Logger;
  metrics: Metrics;
  now?: () => Date;
}

const maxChecks = 64;
const maxReasonChars = 200;

export function createHealth({ logger, metrics, now = () => new Date() }: HealthDeps): Health {
  const since = now();
  const checks = new Map<string, HealthCheck>();
  let stopping = false;
  const readyGauge = metrics.gauge('qalgate_observe_ready', '1 while the process is ready for traffic, else 0');
  const checkGauge = metrics.gauge('qalgate_observe_check_ok', '1 while the part is ok, else 0', ['check']);

  const isReady = () => checks.size > 0 && [...checks.values()].every(({ state }) => state === 'ok');

  const enter = (name: string, state: CheckState, reason?: string) => {
    const before = checks.get(name);
    const entered = before?.state === state ? before.since : now();
    checks.set(name, { name, state, since: entered, ...(reason === undefined ? {} : { reason }) });
    checkGauge.set({ check: name }, state === 'ok' ? 1 : 0);
    readyGauge.set(isReady() ? 1 : 0);
    if (before === undefined || before.state === state) return;
    const level = state === 'failing' ? 'warn' : 'info';
    logger[level]({ check: name, state, before: before.state, reason }, 'health.check.changed');
  };

  readyGauge.set(0);
  return {
    check(name) {
      if (checks.has(name)) throw new Error(`health check ${name} is entered twice`);
      if (checks.size >= maxChecks) throw new Error(`health check ${name} is one more than ${maxChecks}`);
      enter(name, stopping ? 'stopping' : 'starting');
      let removed = false;
      const report = (state: 'ok' | 'failing', reason?: string) => {
        if (!stopping && !removed) enter(name, state, reason);
      };
      return {
        ok: () => report('ok'),
        failing: (reason) => report('failing', reason.slice(0, maxReasonChars)),
        remove() {
          if (removed) return;
          removed = true;
          checks.delete(name);
          checkGauge.remove({ check: name });
          readyGauge.set(isReady() ? 1 : 0);
        },
      };
    },
    liveness: () => ({ status: 'ok', since }),
    readiness: () => ({ ready: isReady(), checks: [...checks.values()] }),
    stop() {
      stopping = true;
      for (const name of checks.keys()) enter(name, 'stopping');
    },
  };
}
