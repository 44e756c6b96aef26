import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  type AppLookup,
  type Clock,
  issueTimeMs,
  qalIdentifier,
  type Revocations,
  requireCommand,
  type SessionCheck,
  type SessionCheckResult,
  type SessionClaims,
  type SessionTokens,
  type Terminals,
  userSigSecretId,
  verifyUserSig,
} from '../auth/index.ts';
import type { Logger, Metrics } from '../observe/index.ts';
import { type AppSettings, appSecrets } from '../store/index.ts';
import {
  type AccountId,
  type ErrorCode,
  type ErrorDetail,
  errorBody,
  errorCatalogue,
  parseAccountId,
  sessionHeader,
} from '../wire/index.ts';
import { parseNetwork, parseSessionRequest, readDevice, readNetwork, type SessionRequest } from './session-reports.ts';

/** What the access log should say of a request that was answered here. */
export interface OwnFacts {
  sdkAppId?: number;
  terminal?: string;
  /** Only once proven. */
  account?: string | undefined;
  error?: ErrorCode;
  reason?: string | undefined;
}

export interface SessionEndpointDeps {
  apps: AppLookup;
  tokens: SessionTokens;
  terminals: Terminals;
  revocations: Revocations;
  /** The one that the proxied path uses: both share its cache. */
  sessionCheck: SessionCheck;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
  /** The user's gateway address (A2). */
  clientAddress(request: IncomingMessage): string;
  /** What errors and logs call this request. */
  requestId(request: IncomingMessage): string;
  /** Adds to what is known of the request; called as that becomes known. */
  note(request: IncomingMessage, facts: OwnFacts): void;
  /** False when this address has made too many sessions lately. */
  allowSessionCreation(address: string): boolean;
}

const bodyLimitBytes = 16_384;
/** What a client is told to wait: it made too many sessions, or the database is away. */
const retryAfterSec = 5;

type Outcome<T> = { ok: true; value: T } | { ok: false; code: ErrorCode; detail?: ErrorDetail };
/** Whom a UserSig proved, and until when. */
interface Login {
  account: AccountId;
  secretId: string;
  expiresAtMs: number;
  /** The account's last kick, as the database knew it. */
  kickedMs: number | undefined;
}

function refusal(code: ErrorCode, detail: ErrorDetail = {}): { ok: false; code: ErrorCode; detail: ErrorDetail } {
  return { ok: false, code, detail };
}

/**
 * The session endpoints of the access listener (DESIGN §4): `POST /.qal/v1/session`, `PUT /.qal/v1/session/network`,
 * `DELETE /.qal/v1/session`; every other path below `/.qal/` is answered 404 or 405 here.
 * All errors are the JSON of `wire`; nothing may be cached. Reference: docs/reference/sessions.md.
 */
export function registerSessionEndpoints(fastify: FastifyInstance, deps: SessionEndpointDeps): void {
  const results = deps.metrics.counter(
    'qalgate_proxy_sessions_total',
    'Requests to the session endpoints by result: created, resumed, network_updated, ended, or the error code.',
    ['result'],
  );

  function sendError(request: FastifyRequest, reply: FastifyReply, code: ErrorCode, detail: ErrorDetail = {}): void {
    results.inc({ result: code });
    deps.note(request.raw, {
      error: code,
      reason: detail.field === undefined ? undefined : `${detail.field} ${detail.reason}`,
    });
    const { status } = errorCatalogue[code];
    if (status === 401) reply.header('WWW-Authenticate', sessionHeader);
    if (status === 429 || status === 503) reply.header('Retry-After', retryAfterSec);
    reply.code(status).send(errorBody(code, { ...detail, requestId: deps.requestId(request.raw) }));
  }

  function checkRequest(request: FastifyRequest): SessionCheckResult | { ok: false; code: 'SESSION_REQUIRED' } {
    const token = request.headers['qal-session'];
    return typeof token === 'string' ? deps.sessionCheck.check(token) : { ok: false, code: 'SESSION_REQUIRED' };
  }

  function noteSession(request: FastifyRequest, { sdkAppId, terminalId, account }: SessionClaims): void {
    deps.note(request.raw, { sdkAppId, terminal: terminalId, account });
  }

  /** The database's answer, or the refusal that its absence means: a login or logout is never answered from hope. */
  async function fromDatabase<T>(request: FastifyRequest, answer: Promise<T>): Promise<Outcome<T>> {
    try {
      return { ok: true, value: await answer };
    } catch (err) {
      deps.logger.error({ err, requestId: deps.requestId(request.raw) }, 'proxy.session.database_failed');
      return refusal('DATABASE_UNAVAILABLE');
    }
  }

  /** Who logs in, if anyone (A13). */
  async function readLogin(
    request: FastifyRequest,
    { identifier, userSig }: SessionRequest,
    app: AppSettings,
    nowMs: number,
  ): Promise<Outcome<Login | undefined>> {
    if (identifier === undefined && userSig === undefined) return { ok: true, value: undefined };
    if (identifier === undefined || userSig === undefined) {
      const field = identifier === undefined ? 'identifier' : 'userSig';
      return refusal('INVALID_FIELD', { field, reason: 'is missing: identifier and userSig go together' });
    }
    const account = parseAccountId(identifier);
    if (!account.ok) return refusal('INVALID_FIELD', { field: 'identifier', reason: account.reason });
    const secrets = appSecrets(app);
    const nowSec = Math.floor(nowMs / 1_000);
    const sig = verifyUserSig(userSig, { sdkAppId: app.sdkAppId, identifier, secrets, nowSec });
    if (!sig.ok) return refusal(sig.code);
    const kicked = await fromDatabase(request, deps.revocations.accountRevokedBeforeMs(app.sdkAppId, account.value));
    if (!kicked.ok) return kicked;
    const kickedMs = kicked.value;
    // I4: every UserSig issued until that second.
    if (kickedMs !== undefined && sig.issuedAtSec <= Math.floor(kickedMs / 1_000)) return refusal('USERSIG_REVOKED');
    const secretId = userSigSecretId(secrets[sig.secretIndex] ?? '');
    return { ok: true, value: { account: account.value, secretId, expiresAtMs: sig.expiresAtSec * 1_000, kickedMs } };
  }

  async function createSession(request: FastifyRequest): Promise<Outcome<{ resumed: boolean; answer: object }>> {
    // Taken before anything is asked: a kick that happens meanwhile is later than this and ends the new session.
    const nowMs = deps.clock();
    const parsed = parseSessionRequest(request.body);
    if (!parsed.ok) return refusal('INVALID_FIELD', parsed.problem);
    const body = parsed.value;
    const app = deps.apps.get(body.sdkAppId);
    if (app === undefined) return refusal('APP_UNKNOWN');
    deps.note(request.raw, { sdkAppId: app.sdkAppId });
    const login = await readLogin(request, body, app, nowMs);
    if (!login.ok) return login;

    const { id, secret } = body.terminal ?? {};
    const resumed = deps.terminals.prove(app.sdkAppId, id, secret); // A3
    const terminal = resumed ? deps.terminals.renew(app.sdkAppId, id) : deps.terminals.issue(app.sdkAppId);
    const loggedOutMs = deps.revocations.terminalRevokedBeforeMs(app.sdkAppId, terminal.id);
    const claims: SessionClaims = {
      sdkAppId: app.sdkAppId,
      terminalId: terminal.id,
      ...(login.value === undefined ? {} : { account: login.value.account, secretId: login.value.secretId }),
      issuedAtMs: issueTimeMs(nowMs, [loggedOutMs, login.value?.kickedMs]),
      expiresAtMs: Math.min(nowMs + deps.tokens.lifetimeMs, login.value?.expiresAtMs ?? Number.POSITIVE_INFINITY),
      device: readDevice(body.device, app.access.sendImei),
      network: readNetwork(body.network),
    };
    noteSession(request, claims);
    return {
      ok: true,
      value: {
        resumed,
        answer: {
          session: deps.tokens.issue(claims),
          qalIdentifier: qalIdentifier(terminal.id),
          terminal,
          expiresIn: secondsLeft(claims, nowMs),
        },
      },
    };
  }

  fastify.register(
    async (scope) => {
      const methods = new Map<string, string[]>();

      function sendNoRoute(request: FastifyRequest, reply: FastifyReply): void {
        const [path = ''] = request.url.split('?', 1);
        const allowed = methods.get(path);
        if (allowed !== undefined) reply.header('Allow', allowed.join(', '));
        sendError(request, reply, allowed === undefined ? 'NOT_FOUND' : 'METHOD_NOT_ALLOWED');
      }

      scope.addHook('onRequest', (request, reply, done) => {
        reply.header('Cache-Control', 'no-store');
        // Here rather than in the not-found handler, which would read and judge the body first.
        if (request.is404) sendNoRoute(request, reply);
        else done();
      });
      scope.setNotFoundHandler(sendNoRoute);
      scope.addHook('onRoute', (route) => {
        methods.set(route.url, [...(methods.get(route.url) ?? []), ...[route.method].flat()]);
      });
      requireCommand(scope, {
        callerOf(request) {
          const session = checkRequest(request);
          if (!session.ok) return 'guest';
          return session.claims.account === undefined ? 'terminal' : 'self';
        },
        refusalOf(request) {
          const session = checkRequest(request);
          return session.ok ? 'FORBIDDEN' : session.code;
        },
        refuse: sendError,
      });

      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser(
        'application/json',
        { parseAs: 'buffer', bodyLimit: bodyLimitBytes },
        (_, body, done) => {
          const text = readJson(body as Buffer);
          if (text.ok) done(null, text.value);
          else done(Object.assign(new Error('the body is not JSON'), { code: 'BODY_NOT_JSON', statusCode: 400 }));
        },
      );
      scope.setErrorHandler((error: Error & { code?: string; statusCode?: number }, request, reply) => {
        if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') return sendError(request, reply, 'BODY_TOO_LARGE');
        if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return sendError(request, reply, 'UNSUPPORTED_MEDIA_TYPE');
        if (error.statusCode === 400) return sendError(request, reply, 'BAD_REQUEST', { reason: error.message });
        deps.logger.error({ err: error, requestId: deps.requestId(request.raw) }, 'proxy.session.failed');
        return sendError(request, reply, 'INTERNAL');
      });

      scope.post(
        '/v1/session',
        {
          config: { command: 'session.create' },
          onRequest(request, reply, done) {
            if (deps.allowSessionCreation(deps.clientAddress(request.raw))) return done();
            sendError(request, reply, 'RATE_LIMITED');
          },
        },
        async (request, reply) => {
          const created = await createSession(request);
          if (!created.ok) sendError(request, reply, created.code, created.detail);
          else {
            results.inc({ result: created.value.resumed ? 'resumed' : 'created' });
            reply.send(created.value.answer);
          }
          return reply;
        },
      );

      scope.put('/v1/session/network', { config: { command: 'session.network.update' } }, (request, reply) => {
        const session = checkRequest(request);
        if (!session.ok) return sendError(request, reply, session.code);
        noteSession(request, session.claims);
        const network = parseNetwork(request.body);
        if (!network.ok) return sendError(request, reply, 'INVALID_FIELD', network.problem);
        // Same birth and end (A12): a stolen token is not prolonged, and a revocation still meets it.
        const claims = { ...session.claims, network: readNetwork(network.value) };
        results.inc({ result: 'network_updated' });
        reply.send({ session: deps.tokens.issue(claims), expiresIn: secondsLeft(claims, deps.clock()) });
      });

      scope.delete('/v1/session', { config: { command: 'session.delete' } }, async (request, reply) => {
        const session = checkRequest(request);
        if (!session.ok) sendError(request, reply, session.code);
        else {
          noteSession(request, session.claims);
          const { sdkAppId, terminalId } = session.claims;
          const ended = await fromDatabase(request, deps.revocations.revokeTerminal(sdkAppId, terminalId));
          if (!ended.ok) sendError(request, reply, ended.code);
          else {
            results.inc({ result: 'ended' });
            // Committed: the logout holds after a restart, and every process reads it (A14).
            reply.code(204).send();
          }
        }
        return reply;
      });
    },
    { prefix: '/.qal' },
  );
}

function secondsLeft(claims: SessionClaims, nowMs: number): number {
  return Math.max(0, Math.floor((claims.expiresAtMs - nowMs) / 1_000));
}

/** JSON in UTF-8; an empty body counts as none (clients name a type on DELETE, too). */
function readJson(body: Buffer): { ok: true; value: unknown } | { ok: false } {
  if (body.length === 0) return { ok: true, value: undefined };
  try {
    return { ok: true, value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) };
  } catch {
    return { ok: false };
  }
}
