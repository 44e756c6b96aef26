import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ErrorCode } from '../wire/index.ts';
import { type Caller, type Command, isCommand, mayCall } from './permissions.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The row of the permission table that the route stands under. */
    command?: Command;
  }
}

export interface CommandGuard {
  /** Who asks. Synchronous, must not throw. */
  callerOf(request: FastifyRequest): Caller;
  /** Why this caller may not: FORBIDDEN (403) unless given. A missing or bad credential has a better code. */
  refusalOf?(request: FastifyRequest, caller: Caller): ErrorCode;
  /** Answers with the error; each listener has its own way (request id, metrics, WWW-Authenticate). */
  refuse(request: FastifyRequest, reply: FastifyReply, code: ErrorCode): void;
}

/**
 * Puts every route of this instance and below it under the permission table (I5). Call it before the first route:
 * from then on a route without a known `config.command` throws at registration. Each request is checked before its body
 * is read; a caller that the table does not name for the command is refused. Requests that match no route pass.
 *
 * @example
 *   requireCommand(fastify, { callerOf, refuse: (_, reply, code) => reply.code(errorCatalogue[code].status).send(errorBody(code)) });
 *   fastify.get('/apps', { config: { command: 'ops.app.list' } }, handler);
 */
export function requireCommand(fastify: FastifyInstance, guard: CommandGuard): void {
  fastify.addHook('onRoute', (route) => {
    if (isCommand(route.config?.command)) return;
    throw new Error(`route ${String(route.method)} ${route.url} names no command of the permission table`);
  });
  fastify.addHook('onRequest', (request, reply, done) => {
    if (request.is404) {
      done();
      return;
    }
    // Also a route that stood here before this call, which onRoute did not see, is refused without a command.
    const { command } = request.routeOptions.config;
    const caller = guard.callerOf(request);
    if (isCommand(command) && mayCall(caller, command)) done();
    else guard.refuse(request, reply, guard.refusalOf?.(request, caller) ?? 'FORBIDDEN');
  });
}
