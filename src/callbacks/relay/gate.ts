import type { Metrics } from '../../observe/index.ts';
import { type Breaker, type BreakerState, createBreaker } from '../breaker.ts';
import type { Endpoint } from '../endpoint/endpoint.ts';
import { type Lane, laneId } from './lane.ts';

/** A place at an endpoint for one POST; given back with what came of it. */
export interface Slot {
  /** `alive`: the endpoint answered, whatever it said; `unused`: it was not asked. */
  release(outcome: Outcome): void;
}

type Outcome = 'delivered' | 'alive' | 'dead' | 'unused';

/** What is known of an endpoint on this process. */
export interface Circuit {
  readonly endpointId: string;
  readonly url: string;
  readonly state: BreakerState;
  readonly inFlight: number;
  readonly parkedLanes: number;
  /** By `clock`. */
  readonly lastSuccessMs: number | undefined;
}

/**
 * Keeps endpoints from costing one another anything (K7): so many POSTs at once to each, none but a probe to one that is dead, and no
 * worker waits long for one that is slow. A lane that has to stay away is remembered, and woken when there is room again.
 */
export interface Gate {
  /** How long the lane should stay away, in milliseconds, because a POST would not be let through now; undefined: it may try. */
  away(endpoint: Endpoint, lane: Lane): number | undefined;
  /** Waits for a place, briefly; undefined: there is none, and `away` says for how long. */
  enter(endpoint: Endpoint): Promise<Slot | undefined>;
  /** Whether the lane was sent away and is remembered, to be woken when there is room. */
  isParked(lane: Lane): boolean;
  /** Whether it gets probes only, so that there is no use in waking its lanes. */
  isDead(endpointId: string): boolean;
  /** Somebody says that the endpoint answers again: if it counts as dead, it gets a probe now, and others soon. */
  probe(endpointId: string): void;
  /** Since when, by `clock`, the endpoint is known to answer again after it was dead; 0: it was not. */
  recoveredMs(endpointId: string): number;
  /** When, by `clock`, anything was delivered to it. */
  lastSuccessMs(endpointId: string): number;
  circuits(): Circuit[];
  /** Forgets endpoints that are none any more. */
  keep(endpointIds: ReadonlySet<string>): void;
  close(): void;
}

export interface GateOptions {
  /** Runs at once on this process: endpoints in trouble may take half of them together. */
  readonly concurrency: number;
  /** Failed POSTs in a row after which an endpoint counts as dead; default 5. */
  readonly failures?: number;
  /** First pause between two probes of a dead endpoint; it doubles up to `maxProbeMs`. Default 1 s, 30 s. */
  readonly probeMs?: number;
  readonly maxProbeMs?: number;
}

/** How long a run waits for a place where the endpoint is quick. */
const patienceMs = 250;
/** A place that comes within this time may be waited for by any number: to come back later would cost more. */
const briefMs = 100;
/** POSTs over which their time is averaged, roughly. */
const meanOf = 8;
/** A POST that is under way for so long makes its endpoint a slow one. */
const slowMs = 500;
/** Lanes that are remembered to be woken, of each endpoint; others come back by themselves. */
const maxParked = 20_000;
/** How long lanes of a dead endpoint, or one without room, stay away unless they are woken. */
const deadAwayMs = 30_000;
const fullAwayMs = 15_000;
const maxVainPerSec = 50;
const callEveryMs = 1_000;

interface State {
  endpoint: Endpoint;
  readonly breaker: Breaker;
  readonly startsMs: Set<number>;
  readonly waiters: Waiter[];
  /** By lane id. */
  readonly parked: Map<string, Lane>;
  /** How long a POST takes of late. */
  meanMs: number;
  failuresInRow: number;
  /** The pause before the next probe, and when it is over. */
  probeMs: number;
  probeAtMs: number;
  probe: NodeJS.Timeout | undefined;
  lastSuccessMs: number;
  recoveredMs: number;
}

interface Waiter {
  /** 1 of those that may wait long; 0: its place was to come quickly. */
  readonly share: 0 | 1;
  readonly resolve: (slot: Slot | undefined) => void;
  readonly timer: NodeJS.Timeout;
}

export function createGate(
  deps: {
    /** Has lanes run at once. */
    wake(lanes: readonly Lane[]): void;
    /** More lanes stayed away than are remembered: the others are to be looked for. */
    lookForAll(): void;
    clock: () => number;
    /** 0 … 1. */
    random: () => number;
    metrics: Metrics;
  },
  options: GateOptions,
): Gate {
  const { wake, lookForAll, clock, random, metrics } = deps;
  const { concurrency, failures = 5, probeMs = 1_000, maxProbeMs = 30_000 } = options;
  const states = new Map<string, State>();
  /** Runs that wait for a place that may take its time, whichever, and how many may: they are runs that others do not have. */
  let waiting = 0;
  const maxWaiting = Math.max(1, Math.floor(concurrency / 4));
  metrics.gaugeOf(
    'qalgate_callbacks_parked_lanes',
    'Lanes that stay away from their endpoint until there is room',
    () => sumOf((state) => state.parked.size),
  );
  metrics.gaugeOf('qalgate_callbacks_in_flight', 'After-callbacks under way', () =>
    sumOf((state) => state.startsMs.size),
  );
  metrics.gaugeOf(
    'qalgate_callbacks_dead_endpoints',
    'Endpoints of after-callbacks that get probes only',
    () => [...states.values()].filter(({ breaker }) => breaker.state !== 'closed').length,
  );

  const sumOf = (read: (state: State) => number) => [...states.values()].reduce((sum, state) => sum + read(state), 0);

  function stateOf(endpoint: Endpoint): State {
    let state = states.get(endpoint.id);
    if (state === undefined) {
      state = {
        endpoint,
        breaker: createBreaker({ failures, probeEveryMs: probeMs, probeForMs: endpoint.timeoutMs }),
        startsMs: new Set(),
        waiters: [],
        parked: new Map(),
        // Not known to be quick.
        meanMs: patienceMs,
        failuresInRow: 0,
        probeMs,
        probeAtMs: 0,
        probe: undefined,
        lastSuccessMs: 0,
        recoveredMs: 0,
      };
      states.set(endpoint.id, state);
    }
    state.endpoint = endpoint;
    return state;
  }

  const isSlow = ({ startsMs }: State): boolean => {
    const [oldest] = startsMs;
    return oldest !== undefined && performance.now() - oldest > slowMs;
  };

  const isFull = (state: State): boolean => state.startsMs.size >= state.endpoint.concurrency;

  /** Whether one more who waits has his place so soon that he holds up nobody. */
  const isBrief = ({ startsMs, waiters, meanMs, endpoint }: State): boolean => {
    const [oldest = 0] = startsMs;
    const postMs = Math.max(meanMs, performance.now() - oldest);
    return (postMs * (waiters.length + 1)) / endpoint.concurrency <= briefMs;
  };

  /** No use in waiting for a place there. */
  const isCrowded = (state: State): boolean =>
    isFull(state) && (isSlow(state) || (waiting >= maxWaiting && !isBrief(state)));

  const isDead = ({ breaker, probeAtMs }: State): boolean => {
    const { nextProbeMs } = breaker;
    return nextProbeMs !== undefined && performance.now() < Math.max(nextProbeMs, probeAtMs);
  };

  /** Endpoints in trouble leave half of the runs to the others, however many they are. */
  function isOverBudget(state: State): boolean {
    if (state.failuresInRow === 0 && !isSlow(state)) return false;
    let taken = 0;
    for (const other of states.values()) {
      if (other.failuresInRow > 0 || isSlow(other)) taken += other.startsMs.size;
    }
    return taken >= Math.max(1, concurrency / 2);
  }

  function take(state: State): Slot {
    let startMs = performance.now();
    // A set holds a moment once.
    while (state.startsMs.has(startMs)) startMs += 0.000_1;
    state.startsMs.add(startMs);
    let isReleased = false;
    return {
      release(outcome) {
        if (isReleased) return;
        isReleased = true;
        state.startsMs.delete(startMs);
        state.meanMs += (performance.now() - startMs - state.meanMs) / meanOf;
        settle(state, outcome, startMs);
        admitNext(state);
      },
    };
  }

  function settle(state: State, outcome: Outcome, startMs: number): void {
    const { breaker } = state;
    if (outcome === 'unused') return;
    if (outcome === 'dead') {
      state.failuresInRow += 1;
      const before = breaker.state;
      breaker.failed(performance.now(), startMs);
      // What was sent before it opened, or before its probe, says nothing new.
      if (breaker.state !== 'open' || before === 'open') return;
      if (before === 'half-open') state.probeMs = Math.min(state.probeMs * 2, maxProbeMs);
      scheduleProbe(state);
      return;
    }
    state.failuresInRow = 0;
    if (outcome === 'delivered') state.lastSuccessMs = clock();
    const wasOpen = breaker.state !== 'closed';
    breaker.succeeded();
    if (!wasOpen) return;
    state.recoveredMs = clock();
    state.probeMs = probeMs;
    clearTimeout(state.probe);
    const lanes = [...state.parked.values()];
    state.parked.clear();
    if (lanes.length >= maxParked) lookForAll();
    wake(lanes);
  }

  /** After a pause one of the lanes that stay away tries again; whichever comes then, if there is none. */
  function scheduleProbe(state: State): void {
    const pauseMs = Math.ceil(state.probeMs * (0.9 + random() / 5));
    state.probeAtMs = performance.now() + pauseMs;
    const callOne = (): void => {
      const lane = unpark(state);
      if (lane !== undefined) wake([lane]);
      // And another one, if that one never comes: its wake may be lost.
      state.probe = setTimeout(callOne, pauseMs);
      state.probe.unref();
    };
    clearTimeout(state.probe);
    // A timer may come a millisecond early.
    state.probe = setTimeout(callOne, pauseMs + 1);
    state.probe.unref();
  }

  /** The lane that came last is the probe: more likely than those before it, it is one that has never failed. */
  function unpark(state: State): Lane | undefined {
    const id = [...state.parked.keys()].at(-1);
    if (id === undefined) return undefined;
    const lane = state.parked.get(id);
    state.parked.delete(id);
    return lane;
  }

  function admitNext(state: State): void {
    while (!isFull(state)) {
      const waiter = state.waiters.shift();
      if (waiter === undefined) break;
      waiting -= waiter.share;
      clearTimeout(waiter.timer);
      waiter.resolve(admit(state));
    }
    callBack(state);
  }

  /** Lanes that stay away are woken where there is room. */
  function callBack(state: State): void {
    if (isCrowded(state) || state.breaker.state !== 'closed') return;
    // As many as there is room for; when all places are taken, one more that waits.
    const room = Math.max(1, state.endpoint.concurrency - state.startsMs.size);
    const next: Lane[] = [];
    for (const [id, lane] of state.parked) {
      if (next.length === room) break;
      state.parked.delete(id);
      next.push(lane);
    }
    if (next.length > 0) wake(next);
  }

  function admit(state: State): Slot | undefined {
    return isDead(state) || state.breaker.admit(performance.now()) === 'no' ? undefined : take(state);
  }

  // Each lane that has had its place calls the next one; where such a wake is lost, nobody else would.
  const calling = setInterval(() => {
    for (const state of states.values()) callBack(state);
  }, callEveryMs);
  calling.unref();

  return {
    away(endpoint, lane) {
      const state = stateOf(endpoint);
      const isDeadNow = isDead(state);
      if (!isDeadNow && !isCrowded(state) && !isOverBudget(state)) return undefined;
      if (state.parked.size < maxParked) {
        const id = laneId(lane);
        state.parked.delete(id);
        state.parked.set(id, lane);
      }
      // However many they are, their coming back in vain costs so many runs a second at most.
      const leastMs = Math.max(isDeadNow ? deadAwayMs : fullAwayMs, (state.parked.size / maxVainPerSec) * 1_000);
      return leastMs * (1 + random());
    },

    async enter(endpoint) {
      const state = stateOf(endpoint);
      if (isOverBudget(state)) return undefined;
      if (!isFull(state)) return admit(state);
      if (isCrowded(state)) return undefined;
      return await new Promise((resolve) => {
        const waiter: Waiter = {
          share: isBrief(state) ? 0 : 1,
          resolve,
          timer: setTimeout(() => {
            state.waiters.splice(state.waiters.indexOf(waiter), 1);
            waiting -= waiter.share;
            resolve(undefined);
          }, patienceMs),
        };
        state.waiters.push(waiter);
        waiting += waiter.share;
      });
    },

    isParked: (lane) => states.get(lane.endpointId)?.parked.has(laneId(lane)) === true,
    isDead: (endpointId) => (states.get(endpointId)?.breaker.state ?? 'closed') !== 'closed',

    probe(endpointId) {
      const state = states.get(endpointId);
      if (state === undefined || state.breaker.state === 'closed') return;
      // One that is out may have been sent before the endpoint was mended: the next one is to follow soon.
      state.probeMs = probeMs;
      scheduleProbe(state);
      state.probeAtMs = 0;
    },

    recoveredMs: (endpointId) => states.get(endpointId)?.recoveredMs ?? 0,
    lastSuccessMs: (endpointId) => states.get(endpointId)?.lastSuccessMs ?? 0,

    circuits: () =>
      [...states.values()].map(({ endpoint, breaker, startsMs, parked, lastSuccessMs }) => ({
        endpointId: endpoint.id,
        url: endpoint.url,
        state: breaker.state,
        inFlight: startsMs.size,
        parkedLanes: parked.size,
        lastSuccessMs: lastSuccessMs === 0 ? undefined : lastSuccessMs,
      })),

    keep(endpointIds) {
      for (const [id, state] of states) {
        if (endpointIds.has(id) || state.startsMs.size > 0) continue;
        clearTimeout(state.probe);
        states.delete(id);
      }
    },

    close() {
      clearInterval(calling);
      for (const state of states.values()) {
        clearTimeout(state.probe);
        for (const { timer, resolve, share } of state.waiters.splice(0)) {
          waiting -= share;
          clearTimeout(timer);
          resolve(undefined);
        }
      }
    },
  };
}
