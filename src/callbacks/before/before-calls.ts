import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { AppSettings } from '../../store/index.ts';
import {
  type BeforeCommand,
  type BeforeOutcome,
  beforeCommands,
  type CallbackOrigin,
  type SdkAppId,
} from '../../wire/index.ts';
import { type Breaker, type BreakerState, createBreaker } from '../breaker.ts';
import { type Endpoint, endpointOf, urlHash } from '../endpoint/endpoint.ts';
import type { Poster, PostResult } from '../endpoint/poster.ts';
import type { Pauses } from '../pauses.ts';
import type { Traces } from '../traces.ts';
import { orUndefinedAt, sleepUntil } from './deadline.ts';
import { type Decision, type Reading, readDecision, refusalOfSilence } from './decision.ts';

export type { Decision } from './decision.ts';

/** A question to the app's backend before an action (K1). */
export interface Question {
  readonly sdkAppId: SdkAppId;
  readonly command: BeforeCommand;
  /** Fields of the body besides CallbackCommand, by the vendor's names (API reference §10.2). */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly origin: CallbackOrigin;
  /** Who and what it is about, for look-ups. */
  readonly about: {
    readonly from?: string;
    readonly to?: string;
    readonly groupId?: string;
    readonly messageKey?: string;
  };
}

export interface BeforeCalls {
  /** Whether the app wants that command; what it costs to know is a look into memory. */
  wants(sdkAppId: SdkAppId, command: BeforeCommand): boolean;
  /** Asks, once. Decides at 2,000 ms at the latest, however the backend behaves; never rejects. */
  ask(question: Question): Promise<Decision>;
  /** The endpoints that were asked lately, and whether they are; at most 1,000. */
  circuits(): Circuit[];
}

export interface Circuit {
  readonly endpointId: string;
  readonly sdkAppId: SdkAppId;
  readonly state: BreakerState;
  /** Until one is asked again for a try; absent: all are. */
  readonly nextProbeInMs?: number;
}

export interface BeforeCallsOptions {
  /** From the question to the decision, where the backend is silent (K2). */
  deadlineMs?: number;
  /** Silent calls in a row that open an endpoint's circuit. */
  failures?: number;
  /** Pause between two tries of an endpoint whose circuit is open. */
  probeEveryMs?: number;
}

/** What is known of a command of an app until its settings change. */
interface Plan {
  readonly endpoint: Endpoint;
  readonly urlHash: string;
  readonly messageBytes: number;
  readonly maxInFlight: number;
  readonly refusesOnSilence: boolean;
}

/** What came of asking, or why nobody was asked. */
interface Finding {
  readonly decision: Decision;
  readonly detail?: string | undefined;
  readonly webhookId?: string;
}

const maxEndpoints = 1_000;
/** How long after the deadline the poster may still say in what it was stuck, before we decide without. */
const graceMs = 10;
const buckets = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.9, 2, 2.005, 2.025, 2.1, 2.5];
const stateNumbers: Record<BreakerState, number> = { closed: 0, 'half-open': 1, open: 2 };

/**
 * Asks app backends before an action. What one costs is bounded, whatever the backend does: one attempt, one deadline over all of it,
 * so many at once for an app, and after some silent calls in a row to an endpoint none but a try a second (K7).
 *
 * Silence (no answer in time, no usable one, too many at once, an open circuit) means what the app has configured: the action goes on,
 * or is refused (K2). While callbacks are paused nobody is asked; the action goes on if an operator paused them, and is as after
 * silence if the endpoint was given up, because it said 410: an app that wants to be asked never said that it may be passed over then.
 */
export function createBeforeCalls(
  deps: {
    apps: AppLookup;
    poster: Pick<Poster, 'post'>;
    pauses: Pick<Pauses, 'find'>;
    traces: Pick<Traces, 'write'>;
    clock: () => number;
    logger: Logger;
    metrics: Metrics;
  },
  { deadlineMs = 2_000, failures = 5, probeEveryMs = 1_000 }: BeforeCallsOptions = {},
): BeforeCalls {
  const { apps, poster, pauses, traces, clock, logger, metrics } = deps;
  const total = metrics.counter('qalgate_callbacks_before_total', 'Questions before an action, by what came of them', [
    'command',
    'outcome',
  ]);
  const errors = metrics.counter(
    'qalgate_callbacks_before_errors_total',
    'Questions before an action that got no usable answer, time-outs and open circuits aside, by reason',
    ['reason'],
  );
  const seconds = metrics.histogram(
    'qalgate_callbacks_before_seconds',
    'From the question before an action to the decision, where the backend was asked',
    buckets,
    ['command'],
  );
  let inFlight = 0;
  metrics.gaugeOf('qalgate_callbacks_before_in_flight', 'Questions before an action under way', () => inFlight);
  metrics.gaugesOf(
    'qalgate_callbacks_before_circuit_state',
    'Whether an endpoint is asked before an action: 0 it is, 2 it is not, 1 it is being tried',
    'endpoint',
    () => circuits().map(({ endpointId, state }) => [endpointId, stateNumbers[state]]),
  );

  const plans = new WeakMap<AppSettings, Map<BeforeCommand, Plan>>();
  /** Of apps that have some. */
  const inFlightOf = new Map<SdkAppId, number>();
  /** By id of the endpoint. Of too many the one that was not asked for longest goes: its circuit is closed when it is asked again. */
  const breakers = new LRUCache<string, { sdkAppId: SdkAppId; breaker: Breaker }>({ max: maxEndpoints });

  function planOf(sdkAppId: SdkAppId, command: BeforeCommand): Plan | undefined {
    const app = apps.get(sdkAppId);
    if (app === undefined) return undefined;
    let known = plans.get(app);
    if (known === undefined) {
      known = plansOf(app);
      plans.set(app, known);
    }
    return known.get(command);
  }

  function breakerOf({ id, sdkAppId }: Endpoint): Breaker {
    const known = breakers.get(id);
    if (known !== undefined) return known.breaker;
    const breaker = createBreaker({ failures, probeEveryMs });
    breakers.set(id, { sdkAppId, breaker });
    return breaker;
  }

  function circuits(): Circuit[] {
    const nowMs = performance.now();
    const found: Circuit[] = [];
    for (const [endpointId, { sdkAppId, breaker }] of breakers.entries()) {
      // Its app is gone, or asks elsewhere now.
      if (!beforeCommands.some((command) => planOf(sdkAppId, command)?.endpoint.id === endpointId)) {
        breakers.delete(endpointId);
        continue;
      }
      const { state, nextProbeMs } = breaker;
      const wait = nextProbeMs === undefined ? {} : { nextProbeInMs: Math.max(0, nextProbeMs - nowMs) };
      found.push({ endpointId, sdkAppId, state, ...wait });
    }
    return found;
  }

  /** Takes one of the app's places; undefined: none is free. */
  function takePlace(sdkAppId: SdkAppId, most: number): (() => void) | undefined {
    const held = inFlightOf.get(sdkAppId) ?? 0;
    if (held >= most) return undefined;
    inFlightOf.set(sdkAppId, held + 1);
    inFlight += 1;
    return () => {
      inFlight -= 1;
      const left = (inFlightOf.get(sdkAppId) ?? 1) - 1;
      if (left === 0) inFlightOf.delete(sdkAppId);
      else inFlightOf.set(sdkAppId, left);
    };
  }

  function onSilence(
    { command }: Question,
    plan: Plan,
    outcome: BeforeOutcome,
    more: Omit<Finding, 'decision'>,
  ): Finding {
    const decision = plan.refusesOnSilence ? refusalOfSilence(command, outcome) : ({ kind: 'allow', outcome } as const);
    return { decision, ...more };
  }

  async function find(question: Question, plan: Plan, startedMs: number): Promise<Finding> {
    const { sdkAppId, command } = question;
    const pause = pauses.find(sdkAppId, command, plan.urlHash);
    if (pause !== undefined) {
      const outcome = 'unasked-paused';
      if (pause.reason === 'gone')
        return onSilence(question, plan, outcome, { detail: 'paused: the backend said 410' });
      return { decision: { kind: 'allow', outcome }, detail: 'paused by an operator' };
    }
    const givePlace = takePlace(sdkAppId, plan.maxInFlight);
    if (givePlace === undefined) {
      errors.inc({ reason: 'overloaded' });
      return onSilence(question, plan, 'error', { detail: `not asked: ${plan.maxInFlight} questions are under way` });
    }
    try {
      const breaker = breakerOf(plan.endpoint);
      const admission = breaker.admit(startedMs);
      if (admission === 'no') {
        return onSilence(question, plan, 'circuit-open', { detail: 'not asked: the circuit of the endpoint is open' });
      }
      const webhookId = `cb_${randomUUID()}`;
      const reading = await call(question, plan, webhookId, startedMs);
      seconds.observe({ command }, (performance.now() - startedMs) / 1_000);
      tell(breaker, plan.endpoint, reading, startedMs);
      if (reading.reason !== undefined && reading.reason !== 'timeout') errors.inc({ reason: reading.reason });
      const { detail } = reading;
      if (reading.kind === 'decided') return { decision: reading.decision, detail, webhookId };
      return onSilence(question, plan, reading.outcome, { detail, webhookId });
    } finally {
      givePlace();
    }
  }

  async function call(
    { command, fields, origin }: Question,
    { endpoint, messageBytes }: Plan,
    webhookId: string,
    startedMs: number,
  ): Promise<Reading> {
    const deadline = startedMs + deadlineMs;
    const body = JSON.stringify({ CallbackCommand: command, ...fields });
    const posted = poster.post({ endpoint, command, webhookId, origin, body }, { deadline, answer: 'whole' });
    const result = (await orUndefinedAt(posted, deadline + graceMs)) ?? timeout;
    // A timer of the poster's may have fired early, and the sender is promised that the backend had its time (K2).
    if (result.kind === 'failed' && result.failure === 'timeout') await sleepUntil(deadline);
    return readDecision({ command, fields, messageBytes }, result);
  }

  function tell(breaker: Breaker, endpoint: Endpoint, reading: Reading, sentMs: number): void {
    const wasClosed = breaker.state === 'closed';
    if (reading.kind === 'decided' || reading.isReadable) breaker.succeeded();
    else breaker.failed(performance.now(), sentMs);
    const isClosed = breaker.state === 'closed';
    if (wasClosed === isClosed) return;
    const ids = { sdkAppId: endpoint.sdkAppId, endpoint: endpoint.id };
    if (isClosed) logger.info(ids, 'callbacks.before.circuit.closed');
    else logger.warn({ ...ids, failures, detail: reading.detail }, 'callbacks.before.circuit.opened');
  }

  /** Counts, logs and writes down what was decided. */
  function settle(
    question: Question,
    plan: Plan,
    startedMs: number,
    { decision, detail, webhookId }: Finding,
  ): Decision {
    const { sdkAppId, command, about } = question;
    const { outcome } = decision;
    total.inc({ command, outcome });
    if (outcome === 'allowed') return decision;
    const tookMs = Math.round(performance.now() - startedMs);
    const { endpoint } = plan;
    logger.debug(
      { sdkAppId, command, endpoint: endpoint.id, outcome, detail, tookMs, webhookId },
      'callbacks.before.decided',
    );
    traces.write({
      sdkAppId,
      atMs: clock(),
      command,
      outcome,
      ...(detail !== undefined && { detail }),
      tookMs,
      // What stands behind it may be a key of the app.
      url: endpoint.url.replace(/\?.*$/s, ''),
      ...about,
      ...(webhookId !== undefined && { webhookId }),
    });
    return decision;
  }

  return {
    wants: (sdkAppId, command) => planOf(sdkAppId, command) !== undefined,
    async ask(question) {
      const { sdkAppId, command } = question;
      const startedMs = performance.now();
      const plan = planOf(sdkAppId, command);
      if (plan === undefined) {
        total.inc({ command, outcome: 'unasked-off' });
        return { kind: 'allow', outcome: 'unasked-off' };
      }
      let finding: Finding;
      try {
        finding = await find(question, plan, startedMs);
      } catch (error) {
        // Ours, not the backend's: its circuit hears nothing of it.
        errors.inc({ reason: 'internal' });
        logger.error({ err: error, sdkAppId, command }, 'callbacks.before.failed');
        finding = onSilence(question, plan, 'error', { detail: 'not asked: an error of the service' });
      }
      return settle(question, plan, startedMs, finding);
    },
    circuits,
  };
}

const timeout: PostResult = { kind: 'failed', failure: 'timeout', detail: '', tookMs: 0 };

function plansOf(app: AppSettings): Map<BeforeCommand, Plan> {
  const { callbacks, im } = app;
  const made = new Map<BeforeCommand, Plan>();
  for (const command of beforeCommands) {
    const endpoint = endpointOf(app, command);
    if (endpoint === undefined) continue;
    const own = callbacks.commands.find((one) => one.command === command);
    made.set(command, {
      endpoint,
      urlHash: urlHash(endpoint.url),
      messageBytes: im.messageBytes,
      maxInFlight: callbacks.beforeConcurrency,
      refusesOnSilence: (own?.onSilence ?? callbacks.onSilence) === 'refuse',
    });
  }
  return made;
}
