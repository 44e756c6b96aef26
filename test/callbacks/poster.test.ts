import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import { isEncoded } from '../../src/callbacks/endpoint/answer.ts';
import { createPoster, type PosterDeps, type PosterOptions } from '../../src/callbacks/endpoint/poster.ts';
import {
  type Endpoint,
  keyFingerprint,
  type Post,
  type PostFailure,
  type PostResult,
} from '../../src/callbacks/index.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import type { SdkAppId } from '../../src/wire/index.ts';
import { createCertificate } from '../support/certificates.ts';
import { makeDataDir, until } from '../support/database.ts';
import { createBackend, createFaultServer, type Fault, faults, okAnswer } from '../support/fault-server.ts';

const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const olderSecret = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX';
const sdkAppId = 1_400_000_000 as SdkAppId;

function endpointTo(url: string, more: Partial<Endpoint> = {}): Endpoint {
  return {
    id: `1400000000-${url}`,
    sdkAppId,
    url,
    secrets: [secret],
    signToken: undefined,
    allowPrivateNetwork: true,
    caFile: undefined,
    clientCertFile: undefined,
    clientKeyFile: undefined,
    concurrency: 8,
    timeoutMs: 5_000,
    ...more,
  };
}

function postTo(endpoint: Endpoint, more: Partial<Post> = {}): Post {
  return {
    endpoint,
    command: 'C2C.CallbackAfterSendMsg',
    webhookId: 'cb_0a1b2c3d_17',
    origin: { platform: 'Android', address: '192.0.2.7' },
    body: '{"CallbackCommand":"C2C.CallbackAfterSendMsg","From_Account":"lín"}',
    ...more,
  };
}

function makePoster(t: Test, deps: Partial<PosterDeps> = {}, options: PosterOptions = {}) {
  const events: string[] = [];
  const write = (line: string) => void events.push((JSON.parse(line) as { event: string }).event);
  const metrics = createMetrics();
  const logger = createLogger({ level: 'debug', destination: { write } });
  const poster = createPoster({ clock: Date.now, ownAddresses: () => [], logger, metrics, ...deps }, options);
  t.teardown(() => poster.close());
  const metric = async (name: string): Promise<number> => {
    const line = (await metrics.registry.metrics()).split('\n').find((one) => one.startsWith(`${name} `));
    return Number(line?.split(' ').at(-1));
  };
  return { poster, metrics, metric, events };
}

const soon = (ms = 5_000): number => performance.now() + ms;
const whole = (ms?: number) => ({ deadline: soon(ms), answer: 'whole' }) as const;
const status = (ms?: number) => ({ deadline: soon(ms), answer: 'status' }) as const;

/** Without what differs from run to run. */
function plain(result: PostResult): Record<string, unknown> {
  const { tookMs, ...rest } = result;
  return rest;
}

const answer = (code: number, body: string, more: object = {}) => ({
  kind: 'answer',
  status: code,
  body,
  isEncoded: false,
  ...more,
});
const failed = (failure: PostFailure, detail: string) => ({ kind: 'failed', failure, detail });
const ok = answer(200, okAnswer);
const own = answer(200, '{"ActionStatus":"OK","ErrorCode":120001,"ErrorInfo":"not at night"}');
const inTheYear2100 = Date.UTC(2100, 0, 1);

/** What comes of each fault where the whole answer counts, and where its status does (if that differs). */
const outcomes: Record<Fault, [whole: object, status?: object]> = {
  refused: [failed('refused', 'ECONNREFUSED')],
  unaccepted: [failed('timeout', 'no connection')],
  'slow-tls': [failed('timeout', 'no answer to the handshake')],
  'no-tls': [failed('tls', 'ECONNRESET')],
  'bad-certificate': [failed('tls', 'DEPTH_ZERO_SELF_SIGNED_CERT')],
  'wrong-host': [failed('tls', 'ERR_TLS_CERT_ALTNAME_INVALID')],
  expired: [failed('tls', 'CERT_HAS_EXPIRED')],
  good: [ok],
  refuse: [answer(200, '{"ActionStatus":"OK","ErrorCode":1,"ErrorInfo":"no"}')],
  'own-code': [own],
  silent: [failed('timeout', 'no answer')],
  'slow-head': [failed('timeout', 'no answer')],
  'drip-body': [failed('timeout', 'no complete answer'), { kind: 'answer', status: 200 }],
  'endless-body': [failed('answer-too-large', 'body over 131072 bytes'), { kind: 'answer', status: 200 }],
  'reset-before': [failed('reset', 'ECONNRESET')],
  'reset-within': [failed('reset', 'ECONNRESET'), ok],
  'close-before': [failed('reset', 'closed before the answer')],
  'close-in-head': [failed('reset', 'closed before the answer')],
  'close-within': [failed('reset', 'closed within the answer'), ok],
  redirect: [answer(302, '')],
  '400': [answer(400, '{"error":"what?"}')],
  '404': [answer(404, 'no such page')],
  '410': [answer(410, '')],
  '429': [answer(429, '', { retryAfterMs: 7_000 })],
  '500': [answer(500, 'stack trace')],
  '503': [answer(503, '', { retryAfterMs: inTheYear2100 - 1_600_000_000_000 })],
  'half-json': [answer(200, okAnswer.slice(0, 20))],
  array: [answer(200, '[{"ErrorCode":0}]')],
  number: [answer(200, '0')],
  string: [answer(200, '"OK"')],
  empty: [answer(200, '')],
  'no-content': [answer(204, '')],
  'gzip-bomb': [answer(200, '', { isEncoded: true })],
  'huge-head': [failed('answer-too-large', 'head')],
  garbage: [failed('malformed', 'Expected HTTP/, RTSP/ or ICE/')],
  informational: [ok],
  upgrade: [failed('malformed', 'bad upgrade')],
  'until-close': [ok],
  chunked: [ok],
  'short-body': [failed('timeout', 'no complete answer'), ok],
};
const outcomeOf = (fault: Fault, mode: 'whole' | 'status'): object => {
  const [ofWhole, ofStatus = ofWhole] = outcomes[fault];
  return mode === 'whole' ? ofWhole : ofStatus;
};
const isSilence = (outcome: object): boolean => 'failure' in outcome && outcome.failure === 'timeout';
const onlyTls = new Set<Fault>(['slow-tls', 'no-tls', 'bad-certificate', 'wrong-host', 'expired']);

t.test('[K2][K6] each fault has its one outcome, and leaves nothing open', async (t) => {
  const server = await createFaultServer(t);
  const dir = await makeDataDir(t);
  await mkdir(dir);
  const caFile = path.join(dir, 'ca.pem');
  await writeFile(caFile, server.ca);
  const { poster, metric } = makePoster(t, { clock: () => 1_600_000_000_000 });
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note);
  t.teardown(() => process.off('unhandledRejection', note));

  const cases = faults.flatMap((fault) => [
    ...(onlyTls.has(fault) ? [] : [{ fault, url: server.url(fault, 'http') }]),
    { fault, url: server.url(fault, 'https') },
  ]);
  const all = cases.flatMap((one) => (['whole', 'status'] as const).map((mode) => ({ ...one, mode })));
  const check = async ({ fault, url, mode }: (typeof all)[number]): Promise<void> => {
    const expected = outcomeOf(fault, mode);
    const deadline = soon(isSilence(expected) ? 1_500 : 20_000);
    const result = await poster.post(postTo(endpointTo(url, { caFile })), { deadline, answer: mode });
    const isOver = performance.now() >= deadline;
    const name = `${fault} (${new URL(url).protocol} ${mode})`;
    t.match(plain(result), expected, name);
    t.equal(isOver, isSilence(expected), `${name}: over at the deadline, or before`);
    t.ok(result.kind === 'failed' || result.body.length <= (mode === 'whole' ? 131_072 : 2_048), name);
  };
  const [silent, others] = [true, false].map((is) =>
    all.filter(({ fault, mode }) => isSilence(outcomeOf(fault, mode)) === is),
  );
  // Silence last: what it is waiting for at its deadline should not depend on how busy the machine is.
  await Promise.all((others ?? []).map(check));
  await Promise.all((silent ?? []).map(check));
  t.equal(server.requests.filter(({ path }) => path === '/good').length, 4, 'a redirect is not followed');
  const counts = new Map<string, number>();
  for (const { path: at } of server.requests) counts.set(at, (counts.get(at) ?? 0) + 1);
  t.notOk(
    [...counts.values()].some((count) => count > 4),
    'nothing is sent twice',
  );
  t.ok(server.requests.every(({ fields }) => fields['accept-encoding'] === undefined));

  await poster.close();
  await until(() => server.openSockets === 0);
  await until(async () => (await metric('qalgate_callbacks_connections')) === 0);
  t.equal(await metric('qalgate_callbacks_connections_waiting'), 0);
  t.same(unhandled, []);
});

t.test('[K4][K5] what is sent, byte for byte', async (t) => {
  const backend = await createBackend(t);
  const used: string[] = [];
  const { poster } = makePoster(t, {
    onKeyUsed: (app, fingerprint) => used.push(`${app} ${fingerprint}`),
  });
  const endpoint = endpointTo(`${backend.url}/cb?tenant=7`, { secrets: [secret, olderSecret], signToken: 'xxxxyyyy' });
  const post = postTo(endpoint, { fields: { 'qalgate-gap': 'cb_0a1b2c3d_15,cb_0a1b2c3d_16' } });
  t.match(await poster.post(post, whole()), ok);
  const prepared = poster.prepare({ ...post, webhookId: 'cb_0a1b2c3d_18' });
  t.match(await poster.post(post, { ...status(), prepared }), { status: 200 });

  const [first, second] = backend.requests;
  if (first === undefined || second === undefined) throw new Error('both came');
  const { 'webhook-timestamp': timestamp = '', 'webhook-signature': signature = '' } = first.fields;
  t.match(
    first.target,
    /^\/cb\?tenant=7&SdkAppid=1400000000&CallbackCommand=C2C\.CallbackAfterSendMsg&contenttype=json&ClientIP=192\.0\.2\.7&OptPlatform=Android&Sign=[0-9a-f]{64}&RequestTime=[0-9]{10}$/,
  );
  t.equal(first.query.get('RequestTime'), timestamp);
  t.equal(first.body.toString(), post.body);
  t.same(first.fields, {
    host: `127.0.0.1:${backend.port}`,
    connection: 'keep-alive',
    'content-type': 'application/json',
    'user-agent': 'qalgate',
    'webhook-id': 'cb_0a1b2c3d_17',
    'webhook-timestamp': timestamp,
    'webhook-signature': signature,
    'qalgate-gap': 'cb_0a1b2c3d_15,cb_0a1b2c3d_16',
    'content-length': String(Buffer.byteLength(post.body)),
  });
  for (const one of [secret, olderSecret]) {
    const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const;
    new Webhook(one).verify(first.body, Object.fromEntries(names.map((name) => [name, first.fields[name] ?? ''])));
  }
  t.same(new Set(used), new Set([secret, olderSecret].map((one) => `1400000000 ${keyFingerprint(one)}`)));

  t.equal(`${backend.url}${second.target}`, prepared.url);
  t.match(second.fields, { ...prepared.fields });
  t.equal(second.fields['webhook-id'], 'cb_0a1b2c3d_18');
  t.equal(prepared.signedText, `cb_0a1b2c3d_18.${prepared.fields['webhook-timestamp']}.${second.body}`);
});

t.test('[K2] a post that cannot be sent is a failure, never an exception', async (t) => {
  const { poster } = makePoster(t);
  const endpoint = endpointTo('http://127.0.0.1:1/');
  const fields = { 'qalgate-gap': 'a\nb' };
  t.match(
    await poster.post(postTo(endpoint, { fields }), whole()),
    failed('malformed', 'not sent: UND_ERR_INVALID_ARG'),
  );
  t.match(await poster.post(postTo(endpointTo('nonsense')), whole()), failed('malformed', 'TypeError'));
  const late = await poster.post(postTo(endpoint), { deadline: performance.now() - 1, answer: 'whole' });
  t.match(late, failed('timeout', 'no connection was free'));
});

t.test('[K2] silence ends at the deadline, not before, and soon after', async (t) => {
  const server = await createFaultServer(t);
  const { poster } = makePoster(t);
  const silent = endpointTo(server.url('silent'));
  const late = await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      const deadline = soon(100 + i * 1.37);
      const result = await poster.post(postTo(silent), { deadline, answer: i % 2 === 0 ? 'whole' : 'status' });
      t.match(result, { kind: 'failed', failure: 'timeout' });
      return performance.now() - deadline;
    }),
  );
  late.sort((a, b) => a - b);
  t.ok((late[0] ?? -1) >= 0, `the earliest ${late[0]} ms after its deadline`);
  t.ok((late[30] ?? 9_999) < 1_000, `the median ${late[30]} ms after its deadline`);
});

t.test('[K7] connections are kept, bounded, and given up where nobody waits for them', async (t) => {
  const held = new Set<() => void>();
  const backend = await createBackend(t, ({ path: at }) =>
    at === '/held' ? new Promise((resolve) => held.add(() => resolve(undefined))) : undefined,
  );
  const server = await createFaultServer(t);
  const { poster, metric } = makePoster(t, {}, { maxConnections: 2, maxWaiting: 3 });
  const endpoint = endpointTo(`${backend.url}/quick`, { concurrency: 1 });
  for (let i = 0; i < 20; i += 1) t.match(await poster.post(postTo(endpoint), i % 2 === 0 ? whole() : status()), ok);
  t.equal(backend.connections, 1);

  // Three connections, three that wait, and one too many.
  const slow = endpointTo(`${backend.url}/held`, { concurrency: 1 });
  const six = Array.from({ length: 6 }, (_, i) => poster.post(postTo(slow, { webhookId: `cb_${i}` }), whole()));
  await until(() => held.size === 3);
  t.equal(await metric('qalgate_callbacks_connections_waiting'), 3);
  t.match(await poster.post(postTo(slow), whole()), failed('refused', '3 wait for a connection already'));
  t.match(await poster.post(postTo(slow), whole(50)), failed('refused', '3 wait for a connection already'));
  const release = setInterval(() => {
    for (const one of held) one();
  }, 5);
  for (const result of await Promise.all(six)) t.match(result, ok);
  clearInterval(release);
  t.equal(backend.connections, 4);
  const order = backend.requests.filter(({ path: at }) => at === '/held').map(({ fields }) => fields['webhook-id']);
  t.same([...order].sort(), ['cb_0', 'cb_1', 'cb_2', 'cb_3', 'cb_4', 'cb_5']);

  // One that waits in vain frees its place.
  held.clear();
  const busy = Array.from({ length: 3 }, () => poster.post(postTo(slow), whole(500)));
  await until(() => held.size === 3);
  t.match(await poster.post(postTo(slow), whole(20)), failed('timeout', 'no connection was free'));
  t.equal(await metric('qalgate_callbacks_connections_waiting'), 0);
  for (const result of await Promise.all(busy)) t.match(result, { failure: 'timeout' });

  // Answers whose status is known hold their connections only as long as nobody else wants them.
  const drip = endpointTo(server.url('drip-body'), { concurrency: 1 });
  for (let i = 0; i < 7; i += 1) t.match(await poster.post(postTo(drip), status()), { status: 200 });
  await until(() => server.openSockets <= 3);
});

t.test('[K2] a connection that the backend closes while it is idle is no failure', async (t) => {
  const sockets: { close(): void }[] = [];
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.on('error', () => {});
    sockets.push({ close: () => socket.end() });
    socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${okAnswer.length}\r\n\r\n${okAnswer}`));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { poster, metric } = makePoster(t);
  const endpoint = endpointTo(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  t.match(await poster.post(postTo(endpoint), whole()), ok);
  sockets[0]?.close();
  await until(async () => (await metric('qalgate_callbacks_connections')) === 0);
  t.match(await poster.post(postTo(endpoint), whole()), ok);
  t.equal(connections, 2);
  t.equal(await metric('qalgate_callbacks_connections_opened_total'), 2);

  const hasty = makePoster(t, {}, { maxConnectionAgeMs: 0 }).poster;
  for (let i = 0; i < 3; i += 1) t.match(await hasty.post(postTo(endpoint), whole()), ok);
  t.equal(connections, 5, 'nor is one that has been used for long enough');
});

t.test('[K7] a connection that was too late for one callback serves the next', async (t) => {
  const backend = await createBackend(t);
  let find: (addresses: { address: string; family: number }[]) => void = () => {};
  const lookup = () => new Promise<{ address: string; family: number }[]>((resolve) => (find = resolve));
  const { poster, metric } = makePoster(t, { lookup });
  const endpoint = endpointTo(`http://slow.example:${backend.port}/`);
  t.match(await poster.post(postTo(endpoint), whole(20)), failed('timeout', 'no answer to the look-up'));
  find([{ address: '127.0.0.1', family: 4 }]);
  await until(() => backend.connections === 1);
  t.match(await poster.post(postTo(endpoint, { webhookId: 'cb_2' }), whole()), ok);
  t.same(
    backend.requests.map(({ fields }) => fields['webhook-id']),
    ['cb_2'],
    'what was too late is not sent',
  );
  t.equal(await metric('qalgate_callbacks_connections_opened_total'), 1);
});

t.test('[K8] blocked addresses are not connected to', async (t) => {
  const backend = await createBackend(t);
  const own = { host: '0.0.0.0', port: backend.port };
  const { port } = backend;
  const strict = makePoster(t).poster;
  const blocked = async (url: string, more: Partial<Endpoint> = {}, poster = strict) =>
    plain(await poster.post(postTo(endpointTo(url, { allowPrivateNetwork: false, ...more })), whole()));
  for (const host of [
    '127.0.0.1',
    '0x7f000001',
    '2130706433',
    '127.1',
    '0177.0.0.1',
    '127.0.0.1.',
    '[::ffff:127.0.0.1]',
    'localhost',
  ]) {
    t.match(
      await blocked(`http://${host}:${port}/`),
      { failure: 'blocked-address', detail: /is a loopback address$/ },
      host,
    );
  }
  // Some systems know no such name.
  t.match(await blocked(`http://localhost.:${port}/`), { failure: /^(blocked-address|dns)$/ });
  t.match(await blocked('http://0:80/', { allowPrivateNetwork: true }), { failure: 'blocked-address' });
  t.match(await blocked('https://169.254.169.254/latest', { allowPrivateNetwork: true }), {
    failure: 'blocked-address',
    detail: /metadata/,
  });
  const guarded = makePoster(t, { ownAddresses: () => [own] }).poster;
  t.match(await blocked(backend.url, { allowPrivateNetwork: true }, guarded), {
    failure: 'blocked-address',
    detail: `127.0.0.1 port ${port} is a listener of this service`,
  });
  t.match(await blocked(`http://localhost:${port}`, { allowPrivateNetwork: true }, guarded), {
    failure: 'blocked-address',
  });
  t.equal(backend.connections, 0);
  t.match(await blocked(backend.url, { allowPrivateNetwork: ['127.0.0.0/8'] }), ok);
});

t.test('[K8] a name leads to those of its addresses that are allowed, and is asked for once', async (t) => {
  const backend = await createBackend(t);
  const asked: string[] = [];
  const names: Record<string, string[]> = {
    'mixed.example': ['10.255.255.1', '::1', '127.0.0.1'],
    'inside.example': ['10.255.255.1', '::1'],
    'nothing.example': [],
  };
  const lookup: NonNullable<PosterDeps['lookup']> = async (name) => {
    asked.push(name);
    const addresses = names[name];
    if (addresses === undefined) throw Object.assign(new Error('no'), { code: 'ENOTFOUND' });
    return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };
  const { poster } = makePoster(t, { lookup });
  const post = async (name: string, allowPrivateNetwork: Endpoint['allowPrivateNetwork']) =>
    plain(await poster.post(postTo(endpointTo(`http://${name}:${backend.port}/`, { allowPrivateNetwork })), whole()));
  t.match(await post('mixed.example', ['127.0.0.1']), ok);
  t.same(asked, ['mixed.example'], 'the socket goes where the look-up said, without a second one');
  t.equal(backend.requests[0]?.fields.host, `mixed.example:${backend.port}`);
  t.match(
    await post('mixed.example', false),
    failed('blocked-address', '10.255.255.1 is a private address'),
    'as soon as it is forbidden',
  );
  t.match(await post('inside.example', ['127.0.0.1']), { failure: 'blocked-address' });
  t.match(await post('nothing.example', true), failed('dns', 'the name has no address'));
  t.match(await post('unknown.example', true), failed('dns', 'ENOTFOUND'));
  const hanging = makePoster(t, { lookup: () => new Promise(() => {}) }).poster;
  t.match(
    await hanging.post(postTo(endpointTo('http://slow.example/')), whole(200)),
    failed('timeout', 'no answer to the look-up'),
  );
  t.equal(backend.connections, 1);
});

t.test(
  '[K5] mutual TLS: the backend sees the certificate of the app, and a new one once its files change',
  async (t) => {
    const dir = await makeDataDir(t);
    await mkdir(dir);
    const [server, first, second] = ['backend', 'first', 'second'].map((name) => createCertificate(name));
    if (server === undefined || first === undefined || second === undefined) throw new Error('all three');
    const files = {
      caFile: path.join(dir, 'ca.pem'),
      clientCertFile: path.join(dir, 'client.pem'),
      clientKeyFile: path.join(dir, 'client.key'),
    };
    const show = async ({ cert, key }: { cert: string; key: string }) => {
      await writeFile(files.clientCertFile, cert);
      await writeFile(files.clientKeyFile, key);
    };
    const seen: unknown[] = [];
    const backend = await createBackend(
      t,
      ({ socket }) => {
        seen.push((socket as TLSSocket).getPeerCertificate().subject?.CN);
        return undefined;
      },
      {
        key: server.key,
        cert: server.cert,
        requestCert: true,
        rejectUnauthorized: true,
        ca: [first.cert, second.cert],
      },
    );
    const { poster, events } = makePoster(t, {}, { tlsLookIntervalMs: 0 });
    const endpoint = endpointTo(backend.url, files);
    const post = async (to: Endpoint) => plain(await poster.post(postTo(to), whole()));

    t.match(await post(endpoint), { failure: 'client-certificate', detail: /^caFile .*ca\.pem: ENOENT/ });
    await writeFile(files.caFile, `${server.cert}${'\n'.repeat(1_048_576)}`);
    t.match(await post(endpoint), { failure: 'client-certificate', detail: /is larger than 1048576 bytes/ });
    await writeFile(files.caFile, 'no certificate');
    await show({ ...first, key: 'no key' });
    t.match(await post(endpoint), { failure: 'client-certificate', detail: /cannot be used/ });
    await writeFile(files.caFile, server.cert);
    t.match(await post(endpoint), { failure: 'client-certificate' });
    await show(first);
    t.match(await post(endpoint), ok);
    t.match(await post(endpoint), ok);
    t.same(seen, ['first', 'first']);
    t.equal(backend.connections, 1);

    // Half of a change is no change; the other half is.
    await writeFile(files.clientCertFile, second.cert);
    await until(() => post(endpoint).then(() => events.includes('callbacks.certificate.unusable')));
    t.match(await post(endpoint), ok);
    await show(second);
    await until(() => post(endpoint).then(() => seen.at(-1) === 'second'));
    t.equal(backend.connections, 2, 'a connection of the old certificate is not used again');

    const none = await post(endpointTo(`${backend.url}/none`, { caFile: files.caFile }));
    t.match(none, { kind: 'failed', failure: /^(tls|reset)$/ }, 'the backend does ask');
    const stranger = createCertificate('stranger');
    await show(stranger);
    t.match(await post(endpointTo(`${backend.url}/stranger`, files)), { kind: 'failed', failure: /^(tls|reset)$/ });
    t.notOk(seen.includes('stranger'));
  },
);

t.test('[K7] endpoints that are not used lose their connections, and closing ends all', async (t) => {
  const held: (() => void)[] = [];
  const backend = await createBackend(t, ({ path: at }) =>
    at === '/held' ? new Promise((resolve) => void held.push(() => resolve(undefined))) : undefined,
  );
  const { poster, metric } = makePoster(t, {}, { maxEndpoints: 2, closeGraceMs: 50 });
  const open = () => metric('qalgate_callbacks_connections');
  for (const name of ['one', 'two', 'three', 'four'])
    await poster.post(postTo(endpointTo(`${backend.url}/${name}`)), whole());
  t.equal(await open(), 2);
  // Settings that make a difference to connections make new ones.
  const endpoint = endpointTo(`${backend.url}/four`);
  await poster.post(postTo({ ...endpoint, secrets: [olderSecret] }), whole());
  t.equal(backend.connections, 4);
  await poster.post(postTo({ ...endpoint, allowPrivateNetwork: ['127.0.0.1'] }), whole());
  await poster.post(postTo({ ...endpoint, allowPrivateNetwork: ['127.0.0.1'] }), whole());
  t.equal(backend.connections, 5);
  t.equal(await open(), 2);

  const atWork = [1, 2].map(() => poster.post(postTo(endpointTo(`${backend.url}/held`)), whole()));
  await until(() => held.length === 2);
  const closing = poster.close();
  held[0]?.();
  t.match(await poster.post(postTo(endpoint), whole()), failed('refused', 'closing'));
  await closing;
  const results = await Promise.all(atWork);
  t.equal(results.filter(({ kind }) => kind === 'answer').length, 1, 'what ends within the grace is answered');
  t.match(
    results.find(({ kind }) => kind === 'failed'),
    { failure: 'reset' },
  );
  t.equal(await open(), 0);
});

t.test('[K1] [K2] an answer in another encoding than UTF-8 is not guessed at', async (t) => {
  const latin1 = Buffer.from('{"ErrorCode":0,"ErrorInfo":"l\xedn"}', 'latin1');
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${latin1.length}\r\n\r\n`);
      socket.write(latin1);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { poster } = makePoster(t);
  const endpoint = endpointTo(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  t.match(await poster.post(postTo(endpoint), whole()), { kind: 'answer', body: '', isEncoded: true });
  t.match(await poster.post(postTo(endpoint), status()), { kind: 'answer', status: 200, isEncoded: false });
  for (const coding of ['gzip', 'identity, br', 'x']) t.ok(isEncoded(coding), coding);
  for (const coding of [undefined, '', ' Identity ', ['identity', 'identity']]) t.notOk(isEncoded(coding));
});

t.test('[K2] the bound of an answer is exact, whether or not it was announced', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (data) => {
      const [, announces, bytes] = /^POST \/(a?)([0-9]+)/.exec(data.toString()) ?? [];
      const length = announces === 'a' ? `Content-Length: ${bytes}\r\n` : '';
      socket.end(`HTTP/1.1 200 OK\r\n${length}\r\n${'x'.repeat(Number(bytes))}`);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { poster } = makePoster(t);
  const post = (path: string) =>
    poster.post(postTo(endpointTo(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${path}`)), whole());
  for (const path of ['131072', 'a131072']) t.match(await post(path), { kind: 'answer', body: /^x{131072}$/ });
  for (const path of ['131073', 'a131073']) t.match(await post(path), { failure: 'answer-too-large' });
});
