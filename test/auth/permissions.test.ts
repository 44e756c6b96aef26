import Fastify from 'fastify';
import t from 'tap';
import { type Caller, callers, commands, isCommand, mayCall, requireCommand } from '../../src/auth/index.ts';
import { errorBody, errorCatalogue } from '../../src/wire/index.ts';

/** The table once more, by caller: a change of who may call what has to be made in two places. */
const expected: Record<Caller, string[]> = {
  guest: ['session.create', 'im.docs.read', 'ops.queue.page'],
  terminal: ['session.create', 'session.network.update', 'session.delete'],
  self: [
    'session.create',
    'session.network.update',
    'session.delete',
    'im.link.message.send',
    'im.link.message.recall',
    'im.link.mailbox.read',
    'im.link.mailbox.write',
    'im.link.profile.read',
    'im.link.profile.write',
    'im.link.group.read',
    'im.link.group.write',
    'im.link.state.report',
    'im.link.push.read',
    'im.link.push.write',
  ],
  administrator: [
    'im.account.import',
    'im.account.kick',
    'im.account.delete',
    'im.account.check',
    'im.state.read',
    'im.message.send',
    'im.message.import',
    'im.message.recall',
    'im.message.history',
    'im.message.read',
    'im.unread.read',
    'im.contacts.read',
    'im.contacts.delete',
    'im.group.create',
    'im.group.dismiss',
    'im.group.read',
    'im.group.write',
    'im.group.transfer',
    'im.group.list',
    'im.group.member.read',
    'im.group.member.write',
    'im.group.mute',
    'im.group.notify',
    'im.group.import',
    'im.group.message.send',
    'im.group.message.recall',
    'im.group.message.history',
    'im.group.message.delete',
    'im.group.unread.write',
    'im.profile.read',
    'im.profile.write',
    'im.words.read',
    'im.words.write',
    'im.push.send',
    'im.push.read',
    'im.audience.read',
    'im.audience.write',
  ],
  viewer: [
    'ops.health.read',
    'ops.metrics.read',
    'ops.app.list',
    'ops.app.read',
    'ops.config.read',
    'ops.cache.read',
    'ops.callback.read',
    'ops.group.read',
    'ops.campaign.read',
    'ops.push.read',
    'ops.queue.page',
    'ops.queue.read',
  ],
  operator: [
    'ops.health.read',
    'ops.metrics.read',
    'ops.app.list',
    'ops.app.read',
    'ops.app.create',
    'ops.app.update',
    'ops.app.delete',
    'ops.session.kick',
    'ops.config.read',
    'ops.cache.read',
    'ops.cache.purge',
    'ops.callback.read',
    'ops.callback.write',
    'ops.callback.verify',
    'ops.callback.test',
    'ops.group.read',
    'ops.campaign.read',
    'ops.campaign.write',
    'ops.push.read',
    'ops.push.write',
    'ops.queue.page',
    'ops.queue.read',
    'ops.queue.write',
  ],
  local: ['ops.health.read', 'ops.metrics.read', 'ops.queue.page'],
};

t.test('[I5] the table: each command has its callers, everything else is denied', async (t) => {
  t.strictSame(Object.keys(expected), [...callers]);
  for (const caller of callers) {
    t.strictSame(
      commands.filter((command) => mayCall(caller, command)).sort(),
      [...expected[caller]].sort(),
      `what ${caller} may call`,
    );
  }
  const loose = mayCall as (caller: unknown, command: unknown) => boolean;
  for (const command of ['', 'ops.app', 'constructor', '__proto__', 'toString', undefined, null, {}]) {
    t.notOk(isCommand(command));
    for (const caller of callers) t.notOk(loose(caller, command), `${caller} may not call ${command}`);
  }
  for (const caller of ['', 'root', 'Operator', 'length', undefined, null]) {
    for (const command of commands) t.notOk(loose(caller, command));
  }
});

/** An instance whose caller says in a header who it is. */
function guarded() {
  const fastify = Fastify();
  requireCommand(fastify, {
    callerOf: (request) => String(request.headers.caller) as Caller,
    refuse: (_, reply, code) => {
      reply.code(errorCatalogue[code].status).send(errorBody(code));
    },
  });
  return fastify;
}

t.test('[I5] a route without a known command cannot be registered', async (t) => {
  const fastify = guarded();
  t.throws(() => fastify.get('/open', async () => 'open'), /GET \/open names no command/);
  t.throws(() => fastify.post('/open', { config: {} }, async () => 'open'), /names no command/);
  const unknown = { command: 'ops.app.explode' as 'ops.app.list' };
  t.throws(() => fastify.get('/unknown', { config: unknown }, async () => 'open'), /names no command/);
  t.doesNotThrow(() => fastify.get('/known', { config: { command: 'ops.app.list' } }, async () => 'list'));
  await fastify.close();

  const nested = guarded();
  nested.register(async (scope) => {
    scope.get('/below', async () => 'open');
  });
  await t.rejects(async () => await nested.ready(), /\/below names no command/, 'nor in a plugin below');
  await nested.close();
});

t.test('[I5] each request is checked against the table before its body is read', async (t) => {
  const fastify = guarded();
  fastify.get('/apps', { config: { command: 'ops.app.list' } }, async () => 'list');
  fastify.register(async (scope) => {
    scope.post('/apps', { config: { command: 'ops.app.create' } }, async () => 'made');
  });
  const ask = async (method: 'GET' | 'HEAD' | 'POST', caller: string, payload?: string) =>
    (
      await fastify.inject({
        method,
        url: '/apps',
        headers: { caller, 'content-type': 'application/json' },
        ...(payload === undefined ? {} : { payload }),
      })
    ).statusCode;
  for (const caller of [...callers, 'nobody']) {
    const may = caller === 'viewer' || caller === 'operator';
    t.equal(await ask('GET', caller), may ? 200 : 403, `GET by ${caller}`);
    t.equal(await ask('HEAD', caller), may ? 200 : 403, `HEAD, which fastify adds, by ${caller}`);
    t.equal(await ask('POST', caller, '{}'), caller === 'operator' ? 200 : 403, `POST by ${caller}`);
  }
  t.equal(await ask('POST', 'viewer', 'not json'), 403, 'refused before the body is read');
  t.equal(await ask('POST', 'operator', 'not json'), 400);
  const refused = await fastify.inject({ url: '/apps', headers: { caller: 'guest' } });
  t.match(refused.json(), { error: { code: 'FORBIDDEN', retryable: false } });
  t.equal((await fastify.inject({ url: '/none', headers: { caller: 'guest' } })).statusCode, 404);
  await fastify.close();
});

t.test('[I5] a route that was there before the guard is refused to everyone', async (t) => {
  const fastify = Fastify();
  fastify.get('/early', async () => 'open');
  requireCommand(fastify, {
    callerOf: () => 'operator',
    refusalOf: () => 'UNAUTHORIZED',
    refuse: (_, reply, code) => {
      reply.code(errorCatalogue[code].status).send(errorBody(code));
    },
  });
  const answer = await fastify.inject({ url: '/early' });
  t.equal(answer.statusCode, 401);
  t.match(answer.json(), { error: { code: 'UNAUTHORIZED' } });
  await fastify.close();
});
