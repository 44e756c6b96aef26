import { answerFromArriving, type CachedAnswer } from './answers.ts';
import type { NotStored } from './cache-metrics.ts';
import {
  type CacheStatus,
  type Decision,
  decide,
  fieldsToStore,
  type RawFields,
  type RequestFacts,
  type ResponseFacts,
  type Storable,
} from './core/index.ts';
import type { FetchContext } from './fetch-context.ts';
import { FillingBody, firstCapacity } from './filling-body.ts';
import type { CacheRequest, OriginHead } from './ports.ts';
import { sharing } from './sharing.ts';
import { createStoredResponse, type StoredResponse } from './stored-response.ts';

type Kept = Exclude<Storable, { store: 'no' }>;

/** More than a reader may lag behind a body that is too large to be stored. */
const windowBytes = 1_048_576;

/** A response that is stored while it arrives, and read by those whom it suits. */
export class ArrivingResponse {
  readonly facts: ResponseFacts;
  readonly body: FillingBody;
  readonly #verdict: Kept;
  readonly #request: CacheRequest;
  readonly #context: FetchContext;
  readonly #reason: string;
  readonly #lengthBytes: number | undefined;
  /** As it came, and as others get it. */
  readonly #raw: RawFields;
  readonly #fields: RawFields;
  #reserved: number;

  private constructor(
    context: FetchContext,
    request: CacheRequest,
    head: OriginHead,
    judged: { facts: ResponseFacts; verdict: Kept },
    reserved: number,
  ) {
    this.#context = context;
    this.#request = request;
    this.facts = judged.facts;
    this.#verdict = judged.verdict;
    this.#reason = head.reason;
    this.#lengthBytes = head.lengthBytes;
    this.#raw = head.raw;
    this.#fields = fieldsToStore(head.raw, judged.facts.directives, request.rules.kind);
    this.#reserved = reserved;
    this.body = new FillingBody(head.lengthBytes);
  }

  /** Undefined: there is no memory for it. */
  static begin(
    context: FetchContext,
    request: CacheRequest,
    head: OriginHead,
    judged: { facts: ResponseFacts; verdict: Kept },
  ): ArrivingResponse | undefined {
    const bytes = head.lengthBytes ?? firstCapacity;
    return context.reserve(bytes) ? new ArrivingResponse(context, request, head, judged, bytes) : undefined;
  }

  get store(): Kept['store'] {
    return this.#verdict.store;
  }

  /** Whether the response is another request's, too. */
  sharing(other: CacheRequest): 'yes' | 'vary' | 'no' {
    return sharing({ ...this.#verdict, facts: this.facts }, this.#request, other);
  }

  /** Can somebody who comes now read along? A body can take longer to arrive than it is fresh. */
  mayBeReadBy(other: CacheRequest): boolean {
    return (
      !this.body.windowed &&
      other.facts.range === undefined &&
      isUsable(decide(other.facts, this.#verdict.policy, this.#context.now())) &&
      this.sharing(other) === 'yes'
    );
  }

  /** @param asked this client's request brought it: it gets the response as it came. `judged`: see answers.ts */
  answerFor(
    request: RequestFacts,
    status: CacheStatus,
    { asked, judged, onMore }: { asked: boolean; judged: boolean; onMore: () => void },
  ): CachedAnswer {
    const { facts, body } = this;
    const { policy } = this.#verdict;
    const raw = asked ? asCame(this.#raw) : this.#fields;
    const nowMs = this.#context.now();
    return answerFromArriving({ facts, policy, reason: this.#reason, raw, body }, request, status, {
      nowMs,
      lengthBytes: this.#lengthBytes,
      asked,
      judged,
      onMore,
    });
  }

  /** Takes a piece. Gives back why the response cannot be stored any more, once. */
  push(piece: Buffer): NotStored | undefined {
    const { body } = this;
    body.push(piece);
    if (body.windowed) return undefined;
    if (body.bytes > this.#context.entryBytes) return 'too-large';
    const more = body.capacity - this.#reserved;
    if (more <= 0) return undefined;
    if (!this.#context.reserve(more)) return 'no-room';
    this.#reserved += more;
    return undefined;
  }

  /** It is not stored any more: only what readers need is kept. */
  giveUp(source: { pause(): void; resume(): void }): void {
    this.body.limitTo(windowBytes, source);
  }

  /** It is all there: the response as it is stored. Undefined: it is too large. */
  complete(trailers: readonly string[]): StoredResponse | undefined {
    this.body.trailers = trailers;
    const body = this.body.complete();
    if (body === undefined) return undefined;
    const { facts } = this;
    const { policy } = this.#verdict;
    const request = this.#request;
    const reason = this.#reason;
    return createStoredResponse({ facts, policy, reason, raw: this.#raw, body, request }, request.rules.kind);
  }

  /** Gives back the memory that was reserved. */
  release(): void {
    this.#context.reserve(-this.#reserved);
    this.#reserved = 0;
  }
}

function isUsable({ kind }: Decision): boolean {
  return kind === 'fresh' || kind === 'stale-while-revalidate';
}

/** As it came, but for what is made anew for each answer. */
function asCame(raw: RawFields): string[] {
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase();
    if (name !== 'age' && name !== 'content-length') kept.push(raw[i] as string, raw[i + 1] as string);
  }
  return kept;
}
