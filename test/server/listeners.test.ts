import { once } from 'node:events';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { createListenerMetrics, type ListenerOptions, openListener } from '../../src/server/listeners.ts';
import { createCertificate, type TestCertificate } from '../support/certificates.ts';
import { until } from '../support/database.ts';

/** Opens a listener on a free loopback port, with its log lines and metrics at hand. It is closed with the test. */
async function open(t: Test, options: Partial<ListenerOptions>) {
  const events: Record<string, unknown>[] = [];
  const logger = createLogger({
    level: 'info',
    destination: { write: (line: string) => void events.push(JSON.parse(line)) },
  });
  const metrics = createMetrics();
  const listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    {
      name: 'access',
      address: { host: '127.0.0.1', port: 0 },
      handlers: { request: (_request, response) => response.end('hello') },
      tlsReloadIntervalMs: 20,
      ...options,
    },
  );
  t.teardown(() => listener.close(0));
  const eventsOf = (event: string) => events.filter((line) => line.event === event);
  const metricText = () => metrics.registry.metrics();
  return { listener, eventsOf, metricText, port: listener.address.port };
}

/** A raw client that keeps what it receives. */
function dial(t: Test, port: number, send = '') {
  const socket = net.connect(port, '127.0.0.1');
  const client = { socket, received: '', closed: false };
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    client.received += text;
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    client.closed = true;
  });
  t.teardown(() => socket.destroy());
  if (send !== '') socket.write(send);
  return client;
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

async function writePair(dir: string, { cert, key }: Partial<TestCertificate>) {
  if (cert !== undefined) await writeFile(join(dir, 'tls.crt'), cert);
  if (key !== undefined) await writeFile(join(dir, 'tls.key'), key);
  return { certFile: join(dir, 'tls.crt'), keyFile: join(dir, 'tls.key') };
}

/** Makes one TLS connection and tells the common name that the server showed. */
async function servedName(t: Test, port: number): Promise<string | undefined> {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  const name = socket.getPeerCertificate().subject.CN;
  socket.destroy();
  return Array.isArray(name) ? name[0] : name;
}

t.test('listens and tells its real address', async (t) => {
  const machineHasV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));
  for (const host of machineHasV6 ? ['127.0.0.1', '::1'] : ['127.0.0.1']) {
    const { listener, port, eventsOf } = await open(t, { address: { host, port: 0 } });
    t.match(listener, { name: 'access', address: { host, port: Number }, server: http.Server });
    t.equal(listener.url, `http://${host === '::1' ? '[::1]' : host}:${port}`);
    t.equal(await (await fetch(listener.url)).text(), 'hello');
    t.match(eventsOf('listener.opened'), [{ listener: 'access', url: listener.url }]);
  }
});

t.test('an address that cannot be had is named with the remedy', async (t) => {
  const first = await open(t, {});
  const taken = { host: '127.0.0.1', port: first.port };
  await t.rejects(open(t, { name: 'im', address: taken }), {
    message: `listener im cannot listen on 127.0.0.1:${first.port}: another process uses the port; stop it or choose another port (listen.im)`,
    cause: { code: 'EADDRINUSE' },
  });
  await t.rejects(open(t, { name: 'ops', address: { host: '203.0.113.7', port: 0 } }), {
    message: /listener ops cannot listen on 203\.0\.113\.7:0: this machine has no such address; .*\(listen\.ops\)/,
  });
});

t.test('handlers and options reach the server', async (t) => {
  let accepted = 0;
  const { port } = await open(t, {
    server: { maxHeaderSize: 1_024 },
    handlers: {
      request: (_request, response) => response.end('plain'),
      checkContinue: (request, response) => {
        response.writeContinue();
        request.resume().on('end', () => response.end('continued'));
      },
      checkExpectation: (_request, response) => void response.writeHead(417).end(),
      connect: (_request, socket) => void socket.end('HTTP/1.1 405 No\r\n\r\n'),
      upgrade: (_request, socket) => void socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
      clientError: (error, socket) => void socket.end(`HTTP/1.1 400 ${error.code}\r\n\r\n`),
      connection: () => {
        accepted += 1;
      },
    },
  });
  const cases: [string, RegExp][] = [
    [get('/'), /200 OK.*plain/s],
    ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx', /100 Continue.*continued/s],
    ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: more\r\n\r\n', /417 /],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n', /405 No/],
    ['GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', /101 Switching/],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(2_000)}\r\n\r\n`, /400 HPE_HEADER_OVERFLOW/],
    ['what?\r\n\r\n', /400 HPE_INVALID_METHOD/],
  ];
  for (const [request, expected] of cases) {
    const client = dial(t, port, request);
    await until(() => expected.test(client.received));
    t.match(client.received, expected);
  }
  t.equal(accepted, cases.length);
});

t.test('a connection can be refused before TLS and before HTTP', async (t) => {
  const handlers: ListenerOptions['handlers'] = {
    request: (_request, response) => response.end('never'),
    connection: (socket) => void socket.destroy(),
  };
  const plain = await open(t, { handlers });
  const files = await writePair(t.testdir(), createCertificate('a'));
  const secure = await open(t, { handlers, tls: files });
  for (const { port } of [plain, secure]) {
    const client = dial(t, port, get('/'));
    await until(() => client.closed);
    t.equal(client.received, '');
  }
  t.same(await plain.listener.close(0), { idle: 0, finished: 0, destroyed: 0 });
  t.same(await secure.listener.close(0), { idle: 0, finished: 0, destroyed: 0 });
});

t.test('TLS is served at 1.2 or later, with its expiry as a metric', async (t) => {
  const pair = createCertificate('first', new Date('2101-02-03T00:00:00Z'));
  const { listener, port, metricText, eventsOf } = await open(t, { tls: await writePair(t.testdir(), pair) });
  t.equal(listener.url, `https://127.0.0.1:${port}`);
  const socket = tls.connect({ port, host: '127.0.0.1', ca: pair.cert, maxVersion: 'TLSv1.2' });
  await once(socket, 'secureConnect');
  t.ok(socket.authorized);
  socket.end('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n').setEncoding('latin1');
  t.match((await socket.toArray()).join(''), /^HTTP\/1\.1 200 OK.*hello/s);

  const old = tls.connect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    minVersion: 'TLSv1.1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  });
  await t.rejects(once(old, 'secureConnect'));
  const seconds = Date.UTC(2101, 1, 3) / 1_000;
  t.match(await metricText(), `qalgate_server_tls_not_after_seconds{listener="access"} ${seconds}`);
  await until(async () => (await metricText()).includes('tls_handshake_failures_total{listener="access"} 1'));
  t.same(eventsOf('tls.certificate.expired'), []);

  const expired = createCertificate('expired', new Date('2021-01-01T00:00:00Z'));
  const late = await open(t, { tls: await writePair(t.testdir(), expired) });
  t.match(late.eventsOf('tls.certificate.expired'), [{ level: 'warn', listener: 'access' }]);
  await late.listener.close(0);
  t.notMatch(await late.metricText(), /tls_not_after_seconds\{/, 'a closed listener has no certificate');
});

t.test('a TLS handshake has a deadline', async (t) => {
  const files = await writePair(t.testdir(), createCertificate('a'));
  const { port, metricText } = await open(t, { tls: files, tlsHandshakeTimeoutMs: 30 });
  const silent = dial(t, port);
  await until(() => silent.closed);
  t.match(await metricText(), 'qalgate_server_tls_handshake_failures_total{listener="access"} 1');
});

t.test('a listener does not start with a certificate that it cannot use', async (t) => {
  const [a, b] = [createCertificate('a'), createCertificate('b')];
  const dir = t.testdir({ d: {} });
  const cases: [Partial<TestCertificate>, RegExp][] = [
    [{}, /^listener access: tls certFile .*tls\.crt: ENOENT.*; correct listen\.access\.tls$/],
    [{ cert: a.cert }, /tls keyFile .*tls\.key: ENOENT/],
    [{ cert: a.cert, key: b.key }, /tls keyFile .*tls\.key: does not belong to the certificate in .*tls\.crt/],
    [{ cert: 'nothing', key: a.key }, /tls certFile .*tls\.crt: is no PEM certificate/],
    [{ cert: a.cert, key: 'nothing' }, /tls keyFile .*tls\.key: is no unencrypted PEM private key/],
    [{ cert: `${a.cert}${'#'.repeat(1_048_576)}`, key: a.key }, /tls certFile .* is larger than 1048576 bytes/],
  ];
  for (const [pair, message] of cases) {
    const files = await writePair(dir, pair);
    await t.rejects(open(t, { tls: files }), { message });
  }
  await t.rejects(open(t, { tls: { certFile: dir, keyFile: dir } }), { message: /is not a file/ });
});

t.test('a changed certificate is served without a restart; open connections stay', async (t) => {
  const dir = t.testdir();
  const { port, eventsOf, metricText } = await open(t, { tls: await writePair(dir, createCertificate('first')) });
  const kept = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }).setEncoding('latin1');
  t.teardown(() => kept.destroy());
  await once(kept, 'secureConnect');
  t.equal(await servedName(t, port), 'first');

  await writePair(dir, createCertificate('second'));
  await until(async () => (await servedName(t, port)) === 'second');
  await writePair(dir, createCertificate('third', new Date('2102-01-01T00:00:00Z')));
  await until(async () => (await servedName(t, port)) === 'third');
  t.match(await metricText(), 'qalgate_server_tls_reloads_total{listener="access",outcome="loaded"} 2');
  t.match(
    await metricText(),
    `qalgate_server_tls_not_after_seconds{listener="access"} ${Date.UTC(2102, 0, 1) / 1_000}`,
  );
  t.equal(eventsOf('tls.reload.done').length, 2);
  kept.write(get('/'));
  t.match((await once(kept, 'data'))[0], /200 OK/);
});

t.test('a bad pair keeps the old one serving and is told once', async (t) => {
  const dir = t.testdir();
  const [first, second] = [createCertificate('first'), createCertificate('second')];
  const { port, eventsOf, metricText } = await open(t, {
    tls: await writePair(dir, first),
  });

  await writePair(dir, { cert: second.cert });
  await until(() => eventsOf('tls.reload.failed').length === 1);
  t.match(eventsOf('tls.reload.failed'), [{ level: 'error', reason: /does not belong to the certificate/ }]);
  // Some looks long.
  for (let times = 0; times < 40; times += 1) t.equal(await servedName(t, port), 'first');
  t.equal(eventsOf('tls.reload.failed').length, 1);
  await writePair(dir, { cert: second.cert.slice(0, 200) });
  await until(() => eventsOf('tls.reload.failed').length === 2);
  t.match(eventsOf('tls.reload.failed')[1], { reason: /is no PEM certificate/ });
  t.equal(await servedName(t, port), 'first');
  t.match(await metricText(), 'qalgate_server_tls_reloads_total{listener="access",outcome="failed"} 2');

  await writePair(dir, second);
  await until(async () => (await servedName(t, port)) === 'second');
  t.equal(eventsOf('tls.reload.failed').length, 2, 'and none of the moment between the two files');
});

t.test('a swap of symbolic links, as Kubernetes does it, is a change', async (t) => {
  const dir = t.testdir();
  for (const name of ['first', 'second']) {
    await mkdir(join(dir, name));
    await writePair(join(dir, name), createCertificate(name));
  }
  await symlink('first', join(dir, '..data'));
  await symlink('..data/tls.crt', join(dir, 'tls.crt'));
  await symlink('..data/tls.key', join(dir, 'tls.key'));
  const { port } = await open(t, { tls: { certFile: join(dir, 'tls.crt'), keyFile: join(dir, 'tls.key') } });
  t.equal(await servedName(t, port), 'first');
  await symlink('second', join(dir, '..data_tmp'));
  await rename(join(dir, '..data_tmp'), join(dir, '..data'));
  await until(async () => (await servedName(t, port)) === 'second');
});

t.test('closing: idle connections at once, requests in progress finish and say close', async (t) => {
  const waiting: http.ServerResponse[] = [];
  const { listener, port, eventsOf } = await open(t, {
    // Node must not close them for their idleness meanwhile.
    server: { keepAliveTimeout: 0 },
    handlers: {
      request: (request, response) => {
        if (request.url === '/now') response.end('now');
        else waiting.push(response);
        if (request.url === '/streamed') response.write('begun ');
      },
    },
  });
  const silent = dial(t, port);
  const idle = dial(t, port, get('/now'));
  const slow = dial(t, port, get('/slow'));
  const streamed = dial(t, port, get('/streamed'));
  const half = dial(t, port, 'GET /now HTTP/1.1\r\nHost');
  const connections = () =>
    new Promise<number>((resolve) => listener.server.getConnections((_error, count) => resolve(count)));
  await until(async () => (await connections()) === 5 && waiting.length === 2 && idle.received.endsWith('now'));
  await until(() => half.socket.bytesWritten > 0 && streamed.received.includes('begun'));
  // The half request must have arrived: an answered round trip behind it on the same loop says so.
  await fetch(`${listener.url}/now`, { headers: { connection: 'close' } });

  const closed = listener.close(60_000);
  await until(() => silent.closed && idle.closed);
  const late = dial(t, port);
  await until(() => late.closed);
  t.equal(late.received, '', 'nobody is let in any more');
  t.notOk(slow.closed || streamed.closed || half.closed);

  half.socket.write(': a\r\n\r\n');
  await until(() => half.closed);
  t.match(half.received, /200 OK.*Connection: close.*now$/s, 'a request whose head was on its way is answered');
  for (const response of waiting) response.end('done');
  await until(() => slow.closed && streamed.closed);
  t.match(slow.received, /200 OK.*Connection: close.*done$/s);
  t.match(
    streamed.received,
    /begun.*done\r\n0\r\n\r\n$/s,
    'its head was sent before; the connection ends all the same',
  );
  t.same(await closed, { idle: 2, finished: 3, destroyed: 0 });
  t.match(eventsOf('listener.closed'), [{ listener: 'access', idle: 2, finished: 3, destroyed: 0 }]);
});

t.test('closing does not cut an answer that is ended but still being read', async (t) => {
  const bytes = 16 * 1_048_576;
  const files = await writePair(t.testdir(), createCertificate('a'));
  for (const options of [{}, { tls: files }]) {
    let ended = false;
    const { listener, port } = await open(t, {
      ...options,
      handlers: {
        request: (_request, response) => {
          response.end(Buffer.alloc(bytes));
          ended = true;
        },
      },
    });
    const reader =
      'tls' in options
        ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
        : net.connect(port, '127.0.0.1');
    reader.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await until(() => ended);
    const closed = listener.close(60_000);
    let received = 0;
    for await (const piece of reader) received += piece.length;
    t.ok(received > bytes, `${received} bytes`);
    t.same(await closed, { idle: 0, finished: 1, destroyed: 0 });
  }
});

t.test('closing: at the deadline the rest is cut, upgraded and tracked sockets too', async (t) => {
  const upgraded: Duplex[] = [];
  const files = await writePair(t.testdir(), createCertificate('a'));
  const { listener, port } = await open(t, {
    handlers: {
      request: () => undefined,
      upgrade: (_request, socket) => {
        socket.on('error', () => undefined);
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n');
        upgraded.push(socket);
      },
    },
  });
  const far = await open(t, { tls: files, handlers: { request: () => undefined } });
  const hanging = dial(t, port, get('/'));
  const link = dial(t, port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n');
  await until(() => upgraded.length === 1 && link.received.includes('101'));
  const leg = net.connect(far.port, '127.0.0.1').on('error', () => undefined);
  await once(leg, 'connect');
  listener.trackSocket(leg);

  const closed = listener.close(60_000);
  t.equal(listener.close(90_000), closed, 'a second call joins the first and cannot lengthen it');
  let done = false;
  closed.then(() => {
    done = true;
  });
  upgraded[0]?.write('still here');
  await until(() => link.received.endsWith('still here'));
  t.notOk(done || hanging.closed);
  listener.close(10);
  t.same(await closed, { idle: 0, finished: 0, destroyed: 3 });
  t.ok(leg.destroyed);
  await until(() => hanging.closed && link.closed);

  t.same(await far.listener.close(60_000), { idle: 0, finished: 0, destroyed: 0 });
});

t.test('closing cuts TLS handshakes at once and idle TLS connections too', async (t) => {
  const files = await writePair(t.testdir(), createCertificate('a'));
  const waiting: http.ServerResponse[] = [];
  const { listener, port } = await open(t, {
    tls: files,
    handlers: {
      request: (request, response) => {
        if (request.url === '/now') response.end('now');
        else waiting.push(response);
      },
    },
  });
  const shaking = dial(t, port);
  await once(shaking.socket, 'connect');
  const [idle, busy] = ['/now', '/later'].map((path) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }).setEncoding('latin1');
    socket.write(get(path));
    t.teardown(() => socket.destroy());
    return socket;
  });
  if (idle === undefined || busy === undefined) throw new Error('two clients were made');
  await Promise.all([once(idle, 'data'), until(() => waiting.length === 1)]);
  const closed = listener.close(60_000);
  await Promise.all([until(() => shaking.closed), once(idle, 'close')]);
  waiting[0]?.end('done');
  t.match((await busy.toArray()).join(''), /Connection: close.*done$/s);
  t.same(await closed, { idle: 2, finished: 1, destroyed: 0 });
});
