import type { Logger, Metrics } from '../../observe/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { createAddressGuard, type ListenAddress } from './address-guard.ts';
import { type CallbackTarget, callbackPath, parseCallbackUrl } from './callback-url.ts';
import { type ClientTls, createClientTls } from './client-tls.ts';
import type { Endpoint } from './endpoint.ts';
import { EndpointPool, type LineCounters } from './endpoint-pool.ts';
import { Exchange, type ExchangeLimits } from './exchange.ts';
import { createLookups, type Lookup } from './lookups.ts';
import type { Post, Poster, PostFailure, PostResult } from './post.ts';
import { createPosterMetrics } from './poster-metrics.ts';
import { createSigner, vendorSign } from './signing.ts';

export type { Post, Poster, PostFailure, PostOptions, PostResult, PreparedPost } from './post.ts';

export interface PosterDeps {
  /** Unix milliseconds; dates signatures. */
  readonly clock: () => number;
  /** Where this process listens; callbacks never go there (K8). */
  readonly ownAddresses: () => readonly ListenAddress[];
  /** Each key of each signature; on the hot path. */
  readonly onKeyUsed?: (sdkAppId: SdkAppId, fingerprint: string) => void;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** All addresses of a name; by default as the system resolves it. */
  readonly lookup?: Lookup;
}

export interface PosterOptions {
  /** Endpoints whose connections are kept; beyond that those that were not used for longest lose theirs. */
  readonly maxEndpoints?: number;
  /** Connections to one endpoint besides those for its after-callbacks at once. */
  readonly maxConnections?: number;
  /** Posts to one endpoint that may wait for a connection; more are refused. */
  readonly maxWaiting?: number;
  /** How long a connection is used, so that changed addresses of a name are noticed; default five minutes. */
  readonly maxConnectionAgeMs?: number;
  /** Pause between two looks at the files of certificates. */
  readonly tlsLookIntervalMs?: number;
  /** How long posts that are under way may go on when the poster is closed. */
  readonly closeGraceMs?: number;
}

const maxHeadBytes = 16_384;
const limits: ExchangeLimits = {
  wholeBytes: 131_072,
  connectMs: 5_000,
  restBytes: 65_536,
  restMs: 2_000,
  shownBytes: 2_048,
  reasonMs: 20,
};
/** Backends close idle connections after five seconds and more; we let go before the usual shortest. */
const idleMs = 4_000;
const now = (): number => performance.now();

/** What belongs to an endpoint as it is set now. */
interface Known {
  readonly endpoint: Endpoint;
  readonly target: CallbackTarget;
  readonly pool: EndpointPool;
}

export function createPoster(deps: PosterDeps, options: PosterOptions = {}): Poster {
  const { clock, onKeyUsed, logger } = deps;
  const { maxEndpoints = 1_000, maxConnections = 1_000, maxWaiting = 10_000 } = options;
  const { maxConnectionAgeMs = 300_000, tlsLookIntervalMs = 5_000, closeGraceMs = 2_000 } = options;
  const signer = createSigner();
  const lookup = createLookups({ now, ...(deps.lookup === undefined ? undefined : { lookup: deps.lookup }) });
  const counters: LineCounters = { opened: 0, lines: 0, waiting: 0 };
  const metrics = createPosterMetrics(deps.metrics, counters);
  /** The least recently used first. */
  const known = new Map<string, Known>();
  /** No longer known, not yet over. */
  const retired = new Set<EndpointPool>();
  const plainTls = makeTls(undefined);
  let underWay = 0;
  let closing: Promise<void> | undefined;
  let onQuiet: (() => void) | undefined;

  function makeTls(endpoint: Endpoint | undefined): ClientTls {
    return createClientTls(
      { caFile: endpoint?.caFile, clientCertFile: endpoint?.clientCertFile, clientKeyFile: endpoint?.clientKeyFile },
      {
        lookIntervalMs: endpoint === undefined ? Number.POSITIVE_INFINITY : tlsLookIntervalMs,
        now,
        onBad: (reason) => logger.warn({ endpoint: endpoint?.id, reason }, 'callbacks.certificate.unusable'),
      },
    );
  }

  const retire = (pool: EndpointPool): void => {
    pool.retire();
    for (const old of retired) if (old.isUnused) retired.delete(old);
    if (!pool.isUnused) retired.add(pool);
  };

  const makeKnown = (endpoint: Endpoint): Known => {
    const target = parseCallbackUrl(endpoint.url);
    const { caFile, clientCertFile } = endpoint;
    const tls = caFile === undefined && clientCertFile === undefined ? plainTls : makeTls(endpoint);
    const guard = createAddressGuard(deps, endpoint.allowPrivateNetwork);
    const pool = new EndpointPool(
      { guard, lookup, tls },
      {
        target,
        maxLines: endpoint.concurrency + maxConnections,
        maxWaiting,
        maxHeadBytes,
        idleMs,
        maxAgeMs: maxConnectionAgeMs,
      },
      counters,
    );
    return { endpoint, target, pool };
  };

  const knownOf = (endpoint: Endpoint): Known => {
    const { id } = endpoint;
    let one = known.get(id);
    if (one !== undefined && !isSameWay(one.endpoint, endpoint)) {
      retire(one.pool);
      one = undefined;
    }
    one ??= makeKnown(endpoint);
    // Goes to the end: the least recently used stands first.
    known.delete(id);
    known.set(id, one);
    if (known.size > maxEndpoints) {
      const [[oldestId, oldest] = []] = known;
      if (oldestId !== undefined && oldest !== undefined) {
        known.delete(oldestId);
        retire(oldest.pool);
      }
    }
    return one;
  };

  const prepare = (post: Post, target: CallbackTarget, body: string | Buffer) => {
    const { endpoint, command, origin, webhookId } = post;
    const nowSec = Math.floor(clock() / 1_000);
    const sign =
      endpoint.signToken === undefined
        ? undefined
        : { sign: { sign: vendorSign(endpoint.signToken, nowSec), requestTimeSec: nowSec } };
    const path = callbackPath(target, { sdkAppId: endpoint.sdkAppId, command, origin, ...sign });
    const signature = signer.sign(endpoint.secrets, webhookId, nowSec, body);
    const fields: Record<string, string> = { ...baseFields, ...signature, ...post.fields };
    return { path, fields, nowSec };
  };

  return {
    post(post, { deadline, answer, prepared }) {
      const startedAt = performance.now();
      const { endpoint } = post;
      return new Promise<PostResult>((resolve) => {
        const tell = (result: PostResult): void => {
          underWay -= 1;
          if (underWay === 0) onQuiet?.();
          metrics.result(result);
          resolve(result);
        };
        underWay += 1;
        if (closing !== undefined) return tell(notSent('refused', 'closing', startedAt));
        try {
          const { target, pool } = knownOf(endpoint);
          const body = Buffer.from(prepared?.body ?? post.body);
          const { path, fields } =
            prepared === undefined
              ? prepare(post, target, body)
              : { path: prepared.url.slice(target.origin.length), fields: prepared.fields };
          if (onKeyUsed !== undefined) {
            for (const secret of endpoint.secrets) onKeyUsed(endpoint.sdkAppId, signer.fingerprintOf(secret));
          }
          if (target.isSecure) pool.tls.refresh();
          new Exchange(
            pool,
            { path, fields: fieldList(fields), body },
            { deadline, answer },
            limits,
            clock,
            tell,
          ).start();
        } catch (error) {
          tell(notSent('malformed', error instanceof Error ? error.name : 'error', startedAt));
        }
      });
    },

    prepare(post) {
      const target = parseCallbackUrl(post.endpoint.url);
      const { path, fields, nowSec } = prepare(post, target, post.body);
      const { body, webhookId } = post;
      return { url: target.origin + path, fields, body, signedText: `${webhookId}.${nowSec}.${body}` };
    },

    close() {
      closing ??= end();
      return closing;
    },
  };

  /** Waits for what is under way, then ends it. */
  async function end(): Promise<void> {
    for (const { pool } of known.values()) pool.retire();
    if (underWay > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, closeGraceMs);
        onQuiet = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    for (const pool of [...retired, ...[...known.values()].map((one) => one.pool)]) pool.destroy();
    known.clear();
    retired.clear();
  }
}

const baseFields = { 'content-type': 'application/json', 'user-agent': 'qalgate' };

function fieldList(fields: Readonly<Record<string, string>>): string[] {
  const list: string[] = [];
  for (const name in fields) list.push(name, fields[name] as string);
  return list;
}

function notSent(failure: PostFailure, detail: string, startedAt: number): PostResult {
  return { kind: 'failed', failure, detail, tookMs: performance.now() - startedAt };
}

/** Whether connections of one are fit for the other. */
function isSameWay(a: Endpoint, b: Endpoint): boolean {
  if (a === b) return true;
  return (
    a.url === b.url &&
    a.concurrency === b.concurrency &&
    a.caFile === b.caFile &&
    a.clientCertFile === b.clientCertFile &&
    a.clientKeyFile === b.clientKeyFile &&
    isSamePolicy(a.allowPrivateNetwork, b.allowPrivateNetwork)
  );
}

function isSamePolicy(a: Endpoint['allowPrivateNetwork'], b: Endpoint['allowPrivateNetwork']): boolean {
  if (a === b) return true;
  if (typeof a === 'boolean' || typeof b === 'boolean') return false;
  return a.length === b.length && a.every((entry, i) => entry === b[i]);
}
