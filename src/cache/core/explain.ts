import { type Decision, type DecisionRule, decide, mayServeOnError } from './decide.ts';
import { ageOf, type CacheRules, type Policy, type ResponseTimes } from './policy.ts';
import type { RawFields } from './raw-fields.ts';
import type { RequestFacts } from './request-facts.ts';
import { parseResponse } from './response-facts.ts';
import { type Audience, type RefusalRule, storable } from './storable.ts';

/** A stretch of ages in which the same thing happens. */
export interface ExplainedStep {
  /** Age in milliseconds from which it holds. */
  readonly fromMs: number;
  /** Age at which it ends; Infinity: never. */
  readonly toMs: number;
  readonly kind: Decision['kind'];
  readonly rule: DecisionRule;
  /** Would the stored answer stand in for an error of the origin? */
  readonly onError: boolean;
}

export interface Explanation {
  readonly store: Audience | 'no';
  /** Why it is not stored. */
  readonly refused: RefusalRule | undefined;
  readonly policy: Policy | undefined;
  /** From the age at which the response arrived on; empty when it is not stored. */
  readonly steps: readonly ExplainedStep[];
  /** Request fields besides the URL that select among stored responses. */
  readonly vary: readonly string[];
  /** Validators that revalidation can use. */
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
  /** Fields of the response that say nothing, for they are malformed. */
  readonly malformed: readonly string[];
}

/**
 * What a cache would do with a response at every age: found by asking {@link storable} and {@link decide} themselves, so
 * that it cannot differ from what they do. Pure.
 */
export function explain(
  request: RequestFacts,
  response: { readonly status: number; readonly raw: RawFields },
  rules: CacheRules & { readonly routeShared: boolean },
  times: ResponseTimes,
): Explanation {
  const facts = parseResponse(response.status, response.raw, times.receivedMs);
  const verdict = storable(request, facts, rules, times);
  const common = {
    vary: facts.vary === '*' ? ['*'] : facts.vary,
    etag: facts.etag,
    lastModified: facts.lastModified,
    malformed: malformedFields(facts),
  };
  if (verdict.store === 'no') {
    return { ...common, store: 'no', refused: verdict.rule, policy: undefined, steps: [] };
  }
  const { policy } = verdict;
  return { ...common, store: verdict.store, refused: undefined, policy, steps: stepsOf(request, policy) };
}

/** Names of the caching fields whose value says nothing. */
export function malformedFields({ directives, qal, expires }: ReturnType<typeof parseResponse>): string[] {
  const { maxAge, sMaxage, staleWhileRevalidate, staleIfError } = directives;
  const control = [maxAge, sMaxage, staleWhileRevalidate, staleIfError].includes('malformed');
  return [...(control ? ['Cache-Control'] : []), ...(expires === 'invalid' ? ['Expires'] : []), ...qal.malformed];
}

function stepsOf(request: RequestFacts, policy: Policy): ExplainedStep[] {
  const { maxAge, minFresh = 0, maxStale = 0, staleIfError = 0 } = request.directives;
  const { freshMs, staleMs, staleIfErrorMs, initialAgeMs } = policy;
  // Where decisions change; beside each its next millisecond, as some bounds belong to what lies below them.
  const bounds = [
    freshMs,
    freshMs - minFresh * 1_000,
    freshMs + maxStale * 1_000,
    staleMs,
    staleIfErrorMs,
    freshMs + staleIfError * 1_000,
    ...(maxAge === undefined ? [] : [maxAge * 1_000]),
  ].flatMap((ms) => [ms, ms + 1]);
  const startMs = ageOf(policy, policy.receivedMs);
  const ages = [...new Set([startMs, ...bounds.filter((ms) => ms > startMs && Number.isFinite(ms))])].sort(
    (a, b) => a - b,
  );
  const steps: ExplainedStep[] = [];
  for (const [i, fromMs] of ages.entries()) {
    const nowMs = policy.receivedMs + (fromMs - initialAgeMs);
    const { kind, rule } = decide(request, policy, nowMs);
    const onError = mayServeOnError(request, policy, nowMs);
    const toMs = ages[i + 1] ?? Number.POSITIVE_INFINITY;
    const before = steps.at(-1);
    if (before !== undefined && before.kind === kind && before.rule === rule && before.onError === onError) {
      steps[steps.length - 1] = { ...before, toMs };
    } else steps.push({ fromMs, toMs, kind, rule, onError });
  }
  return steps;
}
