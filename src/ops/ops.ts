import { randomUUID } from 'node:crypto';
import type { RequestListener } from 'node:http';
import type { Queue } from 'bullmq';
import { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { type Command, requireCommand } from '../auth/index.ts';
import type { Health, Logger, Metrics } from '../observe/index.ts';
import type { PushAdmin } from '../push/index.ts';
import { type ErrorCode, type ErrorDetail, errorBody, errorCatalogue } from '../wire/index.ts';
import type { Answer, Handle } from './answer.ts';
import { type AppCommandDeps, createAppCommands, withoutQueries } from './app-commands.ts';
import { hasField, targetOf } from './audit.ts';
import { type CacheCommandDeps, createCacheCommands } from './cache-commands.ts';
import { type CallbackCheckCommandDeps, createCallbackCheckCommands } from './callback-check-commands.ts';
import { type CallbackCommandDeps, createCallbackCommands } from './callback-commands.ts';
import { type CampaignCommandDeps, createCampaignCommands } from './campaign-commands.ts';
import { createAsking } from './database-away.ts';
import { createFailureLimit } from './failure-limit.ts';
import { createGroupCommands, type GroupDrops } from './group-commands.ts';
import { createIdentify, type Identity, type OpsToken } from './identity.ts';
import { createPushCommands } from './push-commands.ts';
import { createQueueCommands, queuesPath } from './queue-commands.ts';

export interface OpsDeps
  extends Omit<AppCommandDeps & CacheCommandDeps, 'asking'>,
    Partial<
      Pick<CallbackCheckCommandDeps, 'callbackChecks'> &
        Pick<CallbackCommandDeps, 'callbackAdmin'> &
        Pick<CampaignCommandDeps, 'campaignAdmin'>
    > {
  logger: Logger;
  metrics: Metrics;
  health: Health;
  /** The configuration in effect with its secrets redacted. */
  effectiveConfig(): object;
  /** Absent: this process has no groups. */
  groupDrops?: GroupDrops;
  pushAdmin?: PushAdmin;
  /** Raw queues to look into. */
  queues?: readonly Queue[];
  /** Milliseconds since the epoch. */
  now?: () => number;
}

export interface OpsOptions {
  /** Without any, only health and metrics can be read, and only from this machine. */
  tokens: readonly OpsToken[];
  /** Wrong tokens that an address may send within a minute; default 10. */
  maxFailuresPerMinute?: number;
  /** Longest time from the head of a request to its answer; default 10,000. */
  requestTimeoutMs?: number;
}

export interface Ops {
  /** For the ops listener. */
  handler: RequestListener;
  close(): Promise<void>;
}

const bodyLimitBytes = 65_536;
const maxAddresses = 10_000;

const securityHeaders = {
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

/**
 * The ops listener: health, metrics and the ops API (docs/reference/ops-api.md).
 * Every route stands under a command of the permission table (I5); every change and every refusal but 429 leaves one line
 * `ops.audit` in the log, a change before its answer is sent.
 */
export async function createOps(deps: OpsDeps, options: OpsOptions): Promise<Ops> {
  const { logger, metrics, health, now = Date.now } = deps;
  const actions = metrics.counter('qalgate_ops_actions_total', 'Changes and refusals, by outcome: ok or error code', [
    'command',
    'outcome',
  ]);
  const failing = metrics.gauge('qalgate_ops_failing_addresses', 'Addresses remembered for their wrong tokens');
  const failures = createFailureLimit(
    { now },
    { maxFailures: options.maxFailuresPerMinute ?? 10, windowMs: 60_000, maxAddresses },
  );
  const identify = createIdentify({ failures }, options);
  const identities = new WeakMap<FastifyRequest, Identity>();
  const asking = createAsking(deps);
  const apps = createAppCommands({ ...deps, asking });
  const cache = createCacheCommands({ ...deps, asking });
  const { callbackChecks } = deps;
  const checks =
    callbackChecks === undefined ? undefined : createCallbackCheckCommands({ ...deps, callbackChecks, asking });
  const { callbackAdmin } = deps;
  const callbacks =
    callbackAdmin === undefined ? undefined : createCallbackCommands({ ...deps, callbackAdmin, asking, now: Date.now });

  const { campaignAdmin } = deps;
  const campaigns =
    campaignAdmin === undefined ? undefined : createCampaignCommands({ ...deps, campaignAdmin, asking });

  const { groupDrops } = deps;
  const groups = groupDrops === undefined ? undefined : createGroupCommands({ ...deps, groupDrops, asking });

  const { pushAdmin } = deps;
  const pushes = pushAdmin === undefined ? undefined : createPushCommands({ ...deps, pushAdmin, asking });

  const queues = deps.queues === undefined ? undefined : createQueueCommands({ queues: deps.queues });

  /** Once a request: a wrong token counts each time that it is looked at. */
  function identityOf(request: FastifyRequest): Identity {
    const identity = identities.get(request) ?? identify(request.raw);
    identities.set(request, identity);
    failing.set(failures.size);
    return identity;
  }

  function audit(request: FastifyRequest, outcome: ErrorCode | 'ok') {
    const { actor, caller: role, address } = identityOf(request);
    const command = request.routeOptions.config.command ?? 'none';
    actions.inc({ command, outcome });
    // The wrong tokens that led to it have their lines; one for each knock at the closed door would fill the log.
    if (outcome === 'RATE_LIMITED') return;
    logger.info(
      { actor, role, command, target: targetOf(request), outcome, address, requestId: request.id },
      'ops.audit',
    );
  }

  function sendError(request: FastifyRequest, reply: FastifyReply, code: ErrorCode, detail: ErrorDetail = {}) {
    return reply.code(errorCatalogue[code].status).send(errorBody(code, { ...detail, requestId: request.id }));
  }

  function logFailure(request: FastifyRequest, error: unknown) {
    const { command } = request.routeOptions.config;
    logger.error({ err: error, command, requestId: request.id }, 'ops.request.failed');
  }

  function handling(handle: Handle, changes: boolean) {
    return async (request: FastifyRequest, reply: FastifyReply) => {
      const { 'if-match': ifMatch } = request.headers;
      let result: Awaited<ReturnType<Handle>>;
      try {
        const { actor, caller: role } = identityOf(request);
        const params = request.params as Record<string, string | undefined>;
        const { query, body } = request;
        result = await handle({ sdkAppId: paramOf(request), params, query, body, ifMatch, actor, role });
      } catch (error) {
        logFailure(request, error);
        result = { ok: false, code: 'INTERNAL', reason: 'the log has more under the request id' };
      }
      // Also when the time-out has answered already: the audit tells what was done.
      if (changes) audit(request, result.ok ? 'ok' : result.code);
      if (reply.sent) return reply;
      if (result.ok) return sendAnswer(reply, result.value);
      const { ok: _, code, ...detail } = result;
      return sendError(request, reply, code, detail);
    };
  }

  const readHealth: Handle = async () => {
    const { status, since } = health.liveness();
    return { ok: true, value: { status: 200, body: { status, since } } };
  };
  const readReadiness: Handle = async () => {
    const { ready, checks } = health.readiness();
    const status = ready ? 200 : 503;
    return { ok: true, value: { status, body: { status: ready ? 'ready' : 'not ready', checks } } };
  };
  const readMetrics: Handle = async () => {
    const body = await metrics.registry.metrics();
    return { ok: true, value: { status: 200, headers: { 'Content-Type': metrics.registry.contentType }, body } };
  };
  const readConfig: Handle = async ({ role }) => {
    const config = deps.effectiveConfig();
    return { ok: true, value: { status: 200, body: role === 'operator' ? config : forViewers(config) } };
  };

  const app = '/ops/v1/apps/:sdkAppId';
  const routes: { method: 'GET' | 'POST' | 'PUT' | 'DELETE'; url: string; command: Command; handle: Handle }[] = [
    { method: 'GET', url: '/healthz', command: 'ops.health.read', handle: readHealth },
    { method: 'GET', url: '/readyz', command: 'ops.health.read', handle: readReadiness },
    { method: 'GET', url: '/metrics', command: 'ops.metrics.read', handle: readMetrics },
    { method: 'GET', url: '/ops/v1/config', command: 'ops.config.read', handle: readConfig },
    { method: 'GET', url: '/ops/v1/apps', command: 'ops.app.list', handle: apps.list },
    { method: 'POST', url: '/ops/v1/apps', command: 'ops.app.create', handle: apps.create },
    { method: 'GET', url: app, command: 'ops.app.read', handle: apps.read },
    { method: 'PUT', url: app, command: 'ops.app.update', handle: apps.replace },
    { method: 'DELETE', url: app, command: 'ops.app.delete', handle: apps.remove },
    { method: 'POST', url: `${app}/kick`, command: 'ops.session.kick', handle: apps.kick },
    { method: 'GET', url: '/ops/v1/cache', command: 'ops.cache.read', handle: cache.read },
    { method: 'POST', url: `${app}/cache/purge`, command: 'ops.cache.purge', handle: cache.purge },
  ];
  if (checks !== undefined) {
    routes.push(
      { method: 'POST', url: `${app}/callbacks/verify`, command: 'ops.callback.verify', handle: checks.verify },
      { method: 'POST', url: `${app}/callbacks/test`, command: 'ops.callback.test', handle: checks.test },
    );
  }

  if (callbacks !== undefined) {
    const url = `${app}/callbacks`;
    const [read, write] = ['ops.callback.read', 'ops.callback.write'] as const;
    routes.push(
      { method: 'GET', url, command: read, handle: callbacks.summary },
      { method: 'GET', url: `${url}/explain`, command: read, handle: callbacks.explain },
      { method: 'GET', url: `${url}/events`, command: read, handle: callbacks.events },
      { method: 'GET', url: `${url}/events/:id`, command: read, handle: callbacks.event },
      { method: 'GET', url: `${url}/dead-letters`, command: read, handle: callbacks.deadLetters },
      { method: 'GET', url: `${url}/dead-letters/:id`, command: read, handle: callbacks.deadLetter },
      { method: 'GET', url: `${url}/replays`, command: read, handle: callbacks.replays },
      { method: 'POST', url: `${url}/replays`, command: write, handle: callbacks.replay },
      { method: 'POST', url: `${url}/replays/:id/cancel`, command: write, handle: callbacks.cancel },
      { method: 'POST', url: `${url}/drop`, command: write, handle: callbacks.drop },
      { method: 'POST', url: `${url}/retry`, command: write, handle: callbacks.retry },
      { method: 'POST', url: `${url}/pause`, command: write, handle: callbacks.pause },
      { method: 'POST', url: `${url}/resume`, command: write, handle: callbacks.resume },
    );
  }

  if (campaigns !== undefined) {
    const url = `${app}/campaigns`;
    const [read, write] = ['ops.campaign.read', 'ops.campaign.write'] as const;
    routes.push(
      { method: 'GET', url, command: read, handle: campaigns.list },
      { method: 'GET', url: `${url}/:id`, command: read, handle: campaigns.read },
      { method: 'POST', url: `${url}/dry-run`, command: read, handle: campaigns.dryRun },
      { method: 'POST', url: `${url}/:id/pause`, command: write, handle: campaigns.pause },
      { method: 'POST', url: `${url}/:id/resume`, command: write, handle: campaigns.resume },
      { method: 'POST', url: `${url}/:id/cancel`, command: write, handle: campaigns.cancel },
    );
  }

  if (groups !== undefined) {
    routes.push({ method: 'GET', url: `${app}/groups/dropped`, command: 'ops.group.read', handle: groups.dropped });
  }

  if (pushes !== undefined) {
    const url = `${app}/pushes`;
    const [read, write] = ['ops.push.read', 'ops.push.write'] as const;
    routes.push(
      { method: 'GET', url, command: read, handle: pushes.summary },
      { method: 'GET', url: `${url}/items`, command: read, handle: pushes.list },
      { method: 'GET', url: `${url}/devices`, command: read, handle: pushes.devices },
      { method: 'POST', url: `${url}/retry`, command: write, handle: pushes.retry },
      { method: 'POST', url: `${url}/drop`, command: write, handle: pushes.drop },
      { method: 'POST', url: `${url}/pause`, command: write, handle: pushes.pause },
      { method: 'POST', url: `${url}/resume`, command: write, handle: pushes.resume },
    );
  }

  if (queues !== undefined) {
    const [page, read, write] = ['ops.queue.page', 'ops.queue.read', 'ops.queue.write'] as const;
    routes.push(
      { method: 'GET', url: queuesPath, command: page, handle: queues.page },
      { method: 'GET', url: `${queuesPath}/*`, command: page, handle: queues.page },
      { method: 'GET', url: `${queuesPath}/api/*`, command: read, handle: queues.read },
      { method: 'PUT', url: `${queuesPath}/api/*`, command: write, handle: queues.act },
    );
  }

  const patterns = routes.map(({ url }) => new RegExp(`^${url.replace(/:\w+/g, '[^/]*').replace('*', '.*')}$`));

  const server: FastifyInstance = fastify({
    logger: false,
    bodyLimit: bodyLimitBytes,
    handlerTimeout: options.requestTimeoutMs ?? 10_000,
    genReqId: () => randomUUID(),
    // A target that cannot be decoded reaches no route and no hook.
    frameworkErrors: (_error, request, reply) => {
      reply.headers(securityHeaders);
      sendError(request, reply, 'BAD_TARGET');
    },
  });
  server.removeContentTypeParser('text/plain');
  server.setErrorHandler((error: FastifyError, request, reply) => {
    if (error.code === 'FST_ERR_HANDLER_TIMEOUT') {
      const code = request.raw.complete ? 'DATABASE_UNAVAILABLE' : 'REQUEST_TIMEOUT';
      if (code === 'REQUEST_TIMEOUT') reply.header('Connection', 'close');
      return sendError(request, reply, code, { reason: 'it took too long; whether anything was changed is not known' });
    }
    const code = codeOf(error);
    if (code === 'INTERNAL') logFailure(request, error);
    // The body was refused, the command has not seen the request.
    audit(request, code);
    return sendError(request, reply, code, code === 'BAD_REQUEST' ? { reason: error.message } : {});
  });
  server.addHook('onRequest', (request, reply, next) => {
    reply.headers(securityHeaders);
    if (!request.is404) return next();
    // Here and not in the not-found handler, which would read the body first.
    const path = request.url.split('?', 1)[0] ?? '';
    const allowed = routes.filter((_, index) => patterns[index]?.test(path)).map(({ method }) => method);
    if (allowed.length === 0) return sendError(request, reply, 'NOT_FOUND');
    reply.header('Allow', allowed.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : method)).join(', '));
    return sendError(request, reply, 'METHOD_NOT_ALLOWED');
  });
  requireCommand(server, {
    callerOf: (request) => identityOf(request).caller,
    refusalOf: (request) => identityOf(request).refusal.code,
    refuse(request, reply, code) {
      const { reason, headers = {} } = identityOf(request).refusal;
      audit(request, code);
      sendError(request, reply.headers(headers), code, reason === undefined ? {} : { reason });
    },
  });
  for (const { method, url, command, handle } of routes) {
    server.route({ method, url, config: { command }, handler: handling(handle, method !== 'GET') });
  }
  await server.ready();

  return {
    handler: (request, response) => server.routing(request, response),
    async close() {
      await server.close();
      await queues?.close();
    },
  };
}

function sendAnswer(reply: FastifyReply, { status, headers = {}, body }: Answer): FastifyReply {
  return reply.code(status).headers(headers).send(body);
}

function paramOf(request: FastifyRequest): string {
  const { params } = request;
  return hasField(params, 'sdkAppId') && typeof params.sdkAppId === 'string' ? params.sdkAppId : '';
}

/** The configuration as whoever may not change anything sees it. */
function forViewers(config: object): object {
  const { apps } = config as { apps?: unknown };
  if (!Array.isArray(apps)) return config;
  return {
    ...config,
    apps: apps.map((app: unknown) =>
      hasField(app, 'callbacks') && typeof app.callbacks === 'object' && app.callbacks !== null
        ? { ...app, callbacks: withoutQueries(app.callbacks) }
        : app,
    ),
  };
}

/** What Fastify's refusal of a body is called here. */
function codeOf({ code, statusCode }: FastifyError): ErrorCode {
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return 'UNSUPPORTED_MEDIA_TYPE';
  if (statusCode === 413) return 'BODY_TOO_LARGE';
  return statusCode === 400 ? 'BAD_REQUEST' : 'INTERNAL';
}
