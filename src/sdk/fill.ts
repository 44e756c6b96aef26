import {
  type CacheStatus,
  fieldsToStore,
  firstOf,
  isOutage,
  mayServeOnError,
  parseResponse,
  type RawFields,
  type RequestFacts,
  type ResponseTimes,
  selectFor304,
  storable,
  updatedFields,
  validatorsFor,
} from '../cache/core/index.ts';
import { type CaptureBudget, captureBody } from './capture.ts';
import type { Flight } from './flight.ts';
import type { QalLimits } from './limits.ts';
import type { Partition } from './partition.ts';
import { type ClientRequest, rawFields } from './request.ts';
import { type Exchange, noBody } from './transport.ts';
import { judge, type PrivateRules, type Variant, type VariantParts, variantId } from './variant.ts';

/** Who asks, and by which way. */
export interface CacheContext {
  readonly partition: Partition;
  /** Fires when whoever asks is somebody else by now: what is under way for the next one is none of his. */
  readonly ended: AbortSignal;
  /** Sends a request over the network, these fields besides its own, as far as there is something in them. */
  send(request: ClientRequest, fields: Record<string, string | undefined>): Promise<Exchange>;
  /** What stands for a `qal-*` field that the access service will add to the request. */
  injected(name: string): string;
}

/** A request, and what is stored for its URL. */
export interface Question {
  readonly request: ClientRequest;
  readonly facts: RequestFacts;
  readonly selected: Variant | undefined;
  /** All that are stored, the selected one among them. Empty where the store is not to be asked. */
  readonly variants: readonly Variant[];
  readonly context: CacheContext;
}

/** The answer to the one who asked. */
export interface Filled {
  /** From the network; or a stored response that a 304 confirmed, or that stands in for an error. */
  readonly source: NetworkAnswer | Variant;
  readonly counter: 'misses' | 'revalidated' | 'errorHits';
  /** What it has to say of itself (C13). */
  readonly shown: CacheStatus;
}

export interface NetworkAnswer {
  readonly exchange: Exchange;
  /** The body, where it is being stored. */
  readonly captured?: ReadableStream<Uint8Array> | undefined;
}

export interface FillDeps {
  readonly rules: PrivateRules;
  readonly limits: QalLimits;
  readonly budget: CaptureBudget;
  readonly clock: () => number;
  /** A response was stored, or, for a rule, not. */
  onEnd(url: string, rule?: string): void;
}

/** Asks the network, and stores what it answers. Settles the flight in any case. */
export type Fill = (flight: Flight, question: Question) => Promise<Filled>;

/** Answers that say nothing of whether what is stored still holds. */
const passing = (status: number): boolean => status === 401 || status === 403 || status === 429 || status >= 500;

export function createFill({ rules, limits, budget, clock, onEnd }: FillDeps): Fill {
  /** Stores a response, unless something newer is there. @returns whether it did */
  async function store(flight: Flight, { partition }: CacheContext, variant: Variant): Promise<boolean> {
    let done = false;
    await partition.update(flight.url, (variants) => {
      const isOld = variants.some(
        ({ id, times }) => id === variant.id && times.requestedMs > variant.times.requestedMs,
      );
      if (flight.isDoomed || isOld) return variants;
      done = true;
      return [variant, ...variants.filter(({ id }) => id !== variant.id)];
    });
    onEnd(flight.url, done ? undefined : 'superseded');
    return done;
  }

  async function forget(flight: Flight, { partition }: CacheContext, { id }: Variant): Promise<void> {
    if (flight.isDoomed) return;
    await partition.update(flight.url, (variants) => variants.filter((other) => other.id !== id));
  }

  /** C3, C4: the stored response with what a 304 says. */
  async function refresh(
    flight: Flight,
    { request, context }: Question,
    found: Variant,
    raw304: RawFields,
    times: ResponseTimes,
  ): Promise<Filled> {
    const raw = updatedFields(found.raw, raw304);
    const { vary } = parseResponse(found.status, raw, times.receivedMs);
    const id = variantId(vary, request.raw, context.injected);
    const { variant, refused } = judge({ ...found, id, raw, age: firstOf(raw304, 'age') ?? '0', times }, rules);
    let stored = false;
    if (refused === undefined) stored = await store(flight, context, variant);
    else {
      onEnd(flight.url, refused);
      await forget(flight, context, found);
    }
    flight.settle(stored ? { variant, unchanged: true } : {});
    return { source: variant, counter: 'revalidated', shown: { forwardedStatus: 304, stored } };
  }

  /** Why a response that the core would store is not stored all the same. */
  function refusal(flight: Flight, { response }: Exchange, vary: readonly string[] | '*', expectedBytes: number) {
    if (flight.isDoomed) return 'superseded';
    // What stands under its URL would be another's.
    if (response.redirected) return 'redirected';
    // The browser sends cookies without showing them: who asks cannot be told.
    if (vary === '*' || vary.includes('cookie')) return 'vary';
    return expectedBytes > limits.entryBytes ? 'too-large' : undefined;
  }

  function capture(
    flight: Flight,
    { request, context }: Question,
    exchange: Exchange,
    expectedBytes: number,
    parts: Omit<VariantParts, 'body'>,
  ): ReadableStream<Uint8Array> {
    // Without a body it is an empty one.
    return captureBody(exchange.body ?? noBody(), {
      maxBytes: limits.entryBytes,
      expectedBytes,
      budget,
      async onEnd(whole, why, error) {
        if (whole !== undefined) {
          const { variant } = judge({ ...parts, body: whole }, rules);
          const stored = await store(flight, context, variant);
          return flight.settle(stored ? { variant } : {});
        }
        onEnd(flight.url, why ?? 'cut-off');
        const abandoned = why === 'cancelled' || request.signal?.aborted === true;
        flight.settle(abandoned ? { abandoned } : { failed: error !== undefined, error });
      },
    });
  }

  async function fill(flight: Flight, question: Question): Promise<Filled> {
    const { request, facts, selected, variants, context } = question;
    const others = variants.filter((variant) => variant !== selected);
    const candidates = request.method !== 'GET' ? [] : selected === undefined ? others : [selected, ...others];
    const stale = selected !== undefined && mayServeOnError(facts, selected.policy, clock()) ? selected : undefined;
    const standIn = (source: Variant, forwardedStatus?: number): Filled => ({
      source,
      counter: 'errorHits',
      shown: { forwardedStatus, detail: 'stale-if-error' },
    });
    const requestedMs = clock();
    let exchange: Exchange;
    try {
      const known = candidates.map((variant) => variant.facts);
      const { etags, lastModified } = validatorsFor(selected?.facts, known, facts);
      const fields = { 'If-None-Match': etags.join(', '), 'If-Modified-Since': lastModified };
      exchange = await context.send(request, fields);
    } catch (error) {
      const abandoned = request.signal?.aborted === true;
      flight.settle(abandoned ? { abandoned } : { failed: true, error });
      if (abandoned || stale === undefined) throw error;
      return standIn(stale);
    }
    const receivedMs = clock();
    const { status, statusText, headers } = exchange.response;
    const raw = rawFields(headers);
    const response = parseResponse(status, raw, receivedMs);
    const times = { requestedMs, receivedMs };
    if (status === 304 && candidates.length > 0) {
      const found = selectFor304(response, candidates);
      if (found !== undefined) return refresh(flight, question, found, raw, times);
      // It speaks of something that we do not have: asked again without condition.
      exchange.abort();
      return fill(flight, { ...question, selected: undefined, variants: [] });
    }
    if (isOutage(status)) {
      flight.settle({ failed: true });
      if (stale !== undefined) {
        exchange.abort();
        return standIn(stale, status);
      }
    }

    const verdict = storable(facts, response, { ...rules, routeShared: false }, times);
    // What is encoded on the way is longer here: NaN, nothing is expected.
    const length = firstOf(raw, 'content-encoding') === undefined ? firstOf(raw, 'content-length') : undefined;
    const expectedBytes = Number(length ?? Number.NaN);
    const rule = verdict.store === 'no' ? verdict.rule : refusal(flight, exchange, response.vary, expectedBytes);
    if (rule !== undefined) {
      onEnd(flight.url, rule);
      flight.settle({});
      // What the server answers now ends what it answered before.
      if (selected !== undefined && request.method === 'GET' && !passing(status))
        await forget(flight, context, selected);
      return { source: { exchange }, counter: 'misses', shown: { detail: rule } };
    }
    const parts = {
      id: variantId(response.vary, request.raw, context.injected),
      status,
      statusText,
      raw: fieldsToStore(raw, response.directives, 'private'),
      age: firstOf(raw, 'age') ?? '0',
      times,
    };
    const captured = capture(flight, question, exchange, expectedBytes, parts);
    return { source: { exchange, captured }, counter: 'misses', shown: { stored: true } };
  }

  return fill;
}
