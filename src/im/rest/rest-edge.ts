import type { RequestListener } from 'node:http';
import { type FastifyError, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { type AppLookup, requireCommand, type UserSigCheck } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import { type CallbackOrigin, errorBody, errorCatalogue, type ImRefusal } from '../../wire/index.ts';
import { createAddressOf } from '../address-of.ts';
import { failureOf } from '../failure.ts';
import { checkCaller } from './caller.ts';
import type { Command, RestServices } from './command.ts';
import { commands, pathOf } from './commands.ts';
import { docsPage, docsPolicy } from './docs-page.ts';
import { type CommandResult, envelope } from './envelope.ts';
import { beginExchange, type Exchange } from './exchange.ts';
import { createExchangeReport } from './exchange-report.ts';
import { openApi } from './open-api.ts';
import { createRateLimits } from './rate-limits.ts';
import { readBody } from './read-body.ts';

export interface RestEdgeDeps extends Omit<RestServices, 'contactsPerPage'> {
  readonly apps: AppLookup;
  readonly checkUserSig: UserSigCheck['check'];
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface RestEdgeOptions {
  /** Size of a request's body at most. */
  readonly bodyBytes: number;
  /** Proxies whose word on the caller's address counts; default none. */
  readonly trustedProxies?: readonly string[];
  /** In which a command is answered. */
  readonly commandMs: number;
  /** Commands at once; default 5,000. */
  readonly maxInFlight?: number;
  /** Recent contacts of one page; default 100. */
  readonly contactsPerPage?: number;
}

export interface RestEdge {
  /** For the im listener: `/v4/*`, `/im/v1/openapi.json`, `/im/v1/docs`; anything else is answered 404. */
  readonly handler: RequestListener;
  close(): Promise<void>;
}

/** As in the vendor's answers (API reference §1.2), and ours. */
const answerHeaders = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': 'X-Requested-With',
  'Access-Control-Allow-Methods': 'POST',
  'Content-Type': 'application/json; charset=utf-8',
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
};
const docsHeaders = {
  'Content-Security-Policy': docsPolicy,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-cache',
};

/**
 * The REST edge: `/v4/service/command` as the vendor's backends call it (API reference §1). Whatever happens a `/v4` request
 * is answered with HTTP 200 and the envelope, within `commandMs`. Every route stands under the permission table (I5).
 */
export async function createRestEdge(deps: RestEdgeDeps, options: RestEdgeOptions): Promise<RestEdge> {
  const { apps, checkUserSig, accounts, clock, logger, metrics } = deps;
  const { bodyBytes, commandMs, maxInFlight = 5_000, contactsPerPage = 100 } = options;
  const addressOf = createAddressOf(options.trustedProxies ?? []);
  const services: RestServices = { ...deps, contactsPerPage };
  const byPath: ReadonlyMap<string, Command> = new Map(commands.map((command) => [pathOf(command), command]));
  const exchanges = new WeakMap<FastifyRequest, Exchange>();
  const report = createExchangeReport({ logger, metrics });
  const limits = createRateLimits({ clock });
  let inFlight = 0;
  metrics.gaugeOf('qalgate_im_rest_in_flight', 'REST commands that are worked on.', () => inFlight);

  /** Answers once; what comes after the deadline's answer is dropped. */
  function answer(reply: FastifyReply, exchange: Exchange, result: CommandResult, cause?: unknown): FastifyReply {
    if (exchange.isAnswered) {
      if (cause !== undefined) report.failedLate(exchange, cause);
      return reply;
    }
    exchange.isAnswered = true;
    clearTimeout(exchange.timer);
    report.answered(exchange, result, cause);
    const text = JSON.stringify(envelope(exchange.service, result));
    return reply.code(200).headers(answerHeaders).send(text);
  }

  function answerThrown(reply: FastifyReply, exchange: Exchange, error: unknown): FastifyReply {
    return answer(reply, exchange, { ok: false, error: failureOf(error) }, error);
  }

  function begin(request: FastifyRequest, reply: FastifyReply, path: string): Exchange {
    const exchange = beginExchange({ path, command: byPath.get(path) }, commandMs, (late) => {
      // The rest of its body may never come.
      if (!request.raw.complete) reply.header('Connection', 'close');
      answer(reply, late, { ok: false, error: 'TIMED_OUT' });
    });
    exchanges.set(request, exchange);
    // A caller that goes away is answered no more.
    reply.raw.once('close', () => clearTimeout(exchange.timer));
    return exchange;
  }

  /** Who calls: an administrator, another account of the app, or nobody that we know. */
  async function identify(request: FastifyRequest, exchange: Exchange): Promise<void> {
    const query = new URLSearchParams(request.url.slice(pathEnd(request.url)));
    const caller = await checkCaller(query, { apps, checkUserSig });
    if (caller.app !== undefined) exchange.app = caller.app;
    if (!caller.ok) exchange.refusal = caller;
    else if (!caller.app.admins.includes(caller.identifier)) exchange.caller = 'self';
    else {
      // From memory, but for the first time.
      exchange.admin = await accounts.ensure(caller.app.sdkAppId, caller.identifier);
      exchange.caller = 'administrator';
    }
  }

  /** Whether the call may go on, as far as numbers go. */
  function limitOf({ command, app }: Exchange): ImRefusal | undefined {
    if (command === undefined || app === undefined) return undefined;
    const { commandPerSec, appPerSec } = app.im;
    const taken = limits.take({
      sdkAppId: app.sdkAppId,
      command: pathOf(command),
      commandPerSec: commandPerSec * command.rate,
      appPerSec,
    });
    if (taken === 'command') return { ok: false, error: 'COMMAND_RATE' };
    if (taken === 'app') return { ok: false, error: 'APP_RATE' };
    return inFlight < maxInFlight ? undefined : { ok: false, error: 'BUSY' };
  }

  async function run(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const exchange = exchanges.get(request);
    if (exchange === undefined || exchange.isAnswered) return reply;
    const { command, app, admin, deadline } = exchange;
    if (command === undefined || app === undefined || admin === undefined) {
      return answer(reply, exchange, { ok: false, error: 'NOT_ADMINISTRATOR' });
    }
    const body = readBody(request.body);
    if (!body.ok) return answer(reply, exchange, body);
    inFlight++;
    try {
      const origin: CallbackOrigin = { platform: 'RESTAPI', address: addressOf(request.raw) };
      const call = { app, admin, body: body.value, origin, deadline: deadline.signal };
      return answer(reply, exchange, await command.run(call, services));
    } catch (error) {
      return answerThrown(reply, exchange, error);
    } finally {
      inFlight--;
    }
  }

  function sendNotFound(reply: FastifyReply): FastifyReply {
    return reply.code(errorCatalogue.NOT_FOUND.status).send(errorBody('NOT_FOUND'));
  }

  const server = fastify({
    logger: false,
    bodyLimit: bodyBytes,
    // A target that cannot be decoded reaches no route and no hook.
    frameworkErrors: (_error, request, reply) => {
      const path = request.url.slice(0, pathEnd(request.url));
      if (!isCommandPath(path)) return void sendNotFound(reply);
      const exchange = begin(request, reply, path);
      answer(reply, exchange, { ok: false, error: 'NO_SUCH_COMMAND' });
    },
    // The query is read where it is needed.
    routerOptions: { querystringParser: () => ({}) },
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  server.setErrorHandler((error: FastifyError, request, reply) => {
    const exchange = exchanges.get(request);
    if (exchange === undefined) {
      logger.error({ err: error }, 'im.docs.failed');
      return reply.code(errorCatalogue.INTERNAL.status).send(errorBody('INTERNAL'));
    }
    if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
      // The answer would be lost with the connection while the body is still being sent; Node reads the rest away.
      reply.removeHeader('Connection');
      const allowed = `${bodyBytes} bytes`;
      return answer(reply, exchange, {
        ok: false,
        error: 'REQUEST_TOO_LONG',
        field: 'body',
        reason: 'is too long',
        allowed,
      });
    }
    if (error.statusCode === 400) {
      return answer(reply, exchange, {
        ok: false,
        error: 'NOT_JSON',
        field: 'body',
        reason: 'did not arrive as a whole',
      });
    }
    return answer(reply, exchange, { ok: false, error: 'INTERNAL' }, error);
  });

  server.addHook('onRequest', async (request, reply) => {
    const path = request.url.slice(0, pathEnd(request.url));
    if (!isCommandPath(path)) return request.is404 ? sendNotFound(reply) : undefined;
    const exchange = begin(request, reply, path);
    // Here rather than in the not-found handler, which would read the body first.
    if (request.is404) return answer(reply, exchange, noSuchCommand(exchange, request.method));
    // Any Content-Type is as good as none (API reference §1.1); Fastify would judge it.
    delete request.raw.headers['content-type'];
    try {
      await identify(request, exchange);
    } catch (error) {
      return answerThrown(reply, exchange, error);
    }
    return exchange.isAnswered ? reply : undefined;
  });
  requireCommand(server, {
    callerOf: (request) => exchanges.get(request)?.caller ?? 'guest',
    refuse(request, reply) {
      const exchange = exchanges.get(request);
      if (exchange === undefined) sendNotFound(reply);
      else answer(reply, exchange, exchange.refusal ?? { ok: false, error: 'NOT_ADMINISTRATOR' });
    },
  });
  // After the table, so that nobody but its callers uses up the app's calls.
  server.addHook('onRequest', (request, reply, done) => {
    const exchange = exchanges.get(request);
    const refusal = exchange === undefined ? undefined : limitOf(exchange);
    if (exchange === undefined || refusal === undefined) done();
    else answer(reply, exchange, refusal);
  });

  for (const [path, { permission }] of byPath) server.post(path, { config: { command: permission } }, run);
  const openApiText = JSON.stringify(openApi(commands));
  server.get('/im/v1/openapi.json', { config: { command: 'im.docs.read' } }, (_request, reply) =>
    reply.headers({ ...docsHeaders, 'Content-Type': 'application/json; charset=utf-8' }).send(openApiText),
  );
  const docsText = docsPage(commands);
  server.get('/im/v1/docs', { config: { command: 'im.docs.read' } }, (_request, reply) =>
    reply.headers({ ...docsHeaders, 'Content-Type': 'text/html; charset=utf-8' }).send(docsText),
  );
  await server.ready();
  return { handler: (request, response) => server.routing(request, response), close: () => server.close() };
}

function noSuchCommand({ command }: Exchange, method: string): ImRefusal {
  if (command === undefined) return { ok: false, error: 'NO_SUCH_COMMAND' };
  return { ok: false, error: 'NOT_POST', field: 'method', reason: `must not be ${method}`, allowed: 'POST' };
}

function isCommandPath(path: string): boolean {
  return path === '/v4' || path.startsWith('/v4/');
}

/** Where the query begins, or the target ends. */
function pathEnd(url: string): number {
  const at = url.indexOf('?');
  return at === -1 ? url.length : at;
}
