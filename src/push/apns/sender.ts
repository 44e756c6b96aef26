import type { Logger, Metrics } from '../../observe/index.ts';
import type { ApnsSettings } from '../../store/index.ts';
import type { Outcome, Sendable, Sender } from '../provider.ts';
import { ApnsEndpoint } from './endpoint.ts';
import { apnsMetrics } from './metrics.ts';
import type { ProviderTokens } from './provider-tokens.ts';
import { type ApnsTiming, defaultTiming } from './timing.ts';

export type { ApnsTiming } from './timing.ts';

export interface ApnsSenderDeps {
  readonly tokens: ProviderTokens;
  /** Unix milliseconds. */
  readonly clock: () => number;
  /** 0 … 1. */
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface ApnsSenderOptions {
  readonly timing?: Partial<ApnsTiming>;
  /** Pushes that may wait for room on a connection; more are refused. */
  readonly maxWaiting?: number;
  /** Requests over one connection at most. */
  readonly maxRequests?: number;
}

const defaultMaxWaiting = 10_000;
const defaultMaxRequests = 2 ** 29;

/**
 * The client of one app's APNs (PUSH §1). The credentials are those of its creation: for others make another one, and close this.
 * What APNs has certainly not looked at (above a GOAWAY's last id, a refused stream, an expired provider token) is sent again at once,
 * inside of the one attempt; all else is the queue's.
 * @throws Error when the key is none that signs provider tokens
 */
export function createApnsSender(
  deps: ApnsSenderDeps,
  settings: ApnsSettings,
  options: ApnsSenderOptions = {},
): Sender {
  const { clock, random, logger } = deps;
  const { key, keyId, teamId, certificate, certificateKey, caFile, connections } = settings;
  const { maxWaiting = defaultMaxWaiting, maxRequests = defaultMaxRequests } = options;
  const timing = { ...defaultTiming, ...options.timing };
  const metrics = apnsMetrics(deps.metrics);
  const tokens =
    key === undefined || keyId === undefined || teamId === undefined
      ? undefined
      : deps.tokens.of({ key, keyId, teamId });
  const endpointOf = (environment: Sendable['environment'], url: string): ApnsEndpoint =>
    new ApnsEndpoint(
      { tokens, clock, random, logger, metrics },
      {
        environment,
        url,
        caFile,
        certificate: tokens === undefined ? certificate : undefined,
        certificateKey: tokens === undefined ? certificateKey : undefined,
        connections,
        timing,
        maxWaiting,
        maxRequests,
      },
    );
  const endpoints = {
    production: endpointOf('production', settings.endpoint),
    sandbox: endpointOf('sandbox', settings.sandboxEndpoint),
  };
  const all = Object.values(endpoints);
  const sum = (figure: (endpoint: ApnsEndpoint) => number): number => all.reduce((most, one) => most + figure(one), 0);
  let closing: Promise<void> | undefined;

  return {
    room() {
      if (closing !== undefined) return 0;
      // As many again as there are streams may wait for one, so that none is ever idle. Without a connection one push gets it made.
      const most = Math.max(1, 2 * sum(({ limit }) => limit));
      return Math.max(most - sum(({ inFlight }) => inFlight), 0);
    },

    send: (push) =>
      new Promise<Outcome>((resolve) => {
        const startedMs = performance.now();
        const deadlineMs = startedMs + timing.requestMs;
        endpoints[push.environment].add({ push, startedMs, deadlineMs, resent: 0, token: undefined, resolve });
      }),

    figures: () => ({
      connections: sum((endpoint) => endpoint.connections),
      inFlight: sum(({ inFlight }) => inFlight),
      trouble: endpoints.production.trouble ?? endpoints.sandbox.trouble,
    }),

    close() {
      closing ??= Promise.all(all.map((endpoint) => endpoint.close())).then(() => {});
      return closing;
    },
  };
}
