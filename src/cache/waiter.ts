import type { DecisionRule, Forwarded } from './core/index.ts';
import type { CacheClient, CacheRequest, Waiting } from './ports.ts';
import type { Place } from './store.ts';
import type { StoredResponse } from './stored-response.ts';

/** A stored response and where it is. */
export interface Placed {
  readonly place: Place;
  readonly response: StoredResponse;
}

/** What a request found when it was decided to ask the origin. */
export interface Plan {
  /** What key and Vary select. */
  readonly selected: Placed | undefined;
  /** Other responses of the same URL, which may turn out to suit. */
  readonly others: readonly Placed[];
  readonly forwarded: Forwarded;
  readonly rule: DecisionRule;
}

/** Somebody who waits for the answer to a request; what he waits for may change. */
export class Waiter implements Waiting {
  readonly client: CacheClient;
  readonly request: CacheRequest;
  plan: Plan;
  /** Heads that he waited for together with others. */
  waits = 0;
  fetch: { leave(waiter: Waiter): void } | undefined;

  constructor(client: CacheClient, request: CacheRequest, plan: Plan) {
    this.client = client;
    this.request = request;
    this.plan = plan;
  }

  leave(): void {
    this.fetch?.leave(this);
    this.fetch = undefined;
  }
}
