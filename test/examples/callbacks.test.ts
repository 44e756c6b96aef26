import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import { createCallbacks } from '../../examples/backend/callbacks.ts';
import { createBackend } from '../../examples/backend/server.ts';
import { until } from '../support/database.ts';

const publicFolder = fileURLToPath(new URL('../../examples/backend/public', import.meta.url));
const program = fileURLToPath(new URL('../../examples/backend/server.ts', import.meta.url));
const secret = `whsec_${randomBytes(24).toString('base64')}`;

type Listed = { mode: string; callbacks: Record<string, unknown>[] };

/** The example backend, and what qalgate and its page ask of it. */
async function start(t: Test, { secret: configured }: { secret?: string } = { secret }) {
  const callbacks = createCallbacks(publicFolder);
  if (configured !== undefined) callbacks.configure({ secret: configured });
  const server = createBackend({ callbacks });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callbacks`;
  return { url, server, ...client(url) };
}

function client(url: string) {
  const send = async (
    id: string,
    event: object,
    { key = secret, signal }: { key?: string; signal?: AbortSignal } = {},
  ) => {
    const at = new Date();
    const body = JSON.stringify(event);
    const headers = {
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
      'webhook-signature': new Webhook(key).sign(id, at, body),
    };
    const response = await fetch(`${url}/receive?SdkAppid=1`, {
      method: 'POST',
      headers,
      body,
      ...(signal && { signal }),
    });
    return { status: response.status, json: (await response.json()) as object };
  };
  const list = async () => (await (await fetch(`${url}/list`)).json()) as Listed;
  const switchTo = (mode: string, headers: Record<string, string> = {}) =>
    fetch(`${url}/mode`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify({ mode }),
    });
  return { send, list, switchTo };
}

const message = (command: string, Text: string) => ({
  CallbackCommand: command,
  From_Account: 'alice',
  To_Account: 'bob',
  MsgBody: [
    { MsgType: 'TIMFaceElem', MsgContent: { Index: 1 } },
    { MsgType: 'TIMTextElem', MsgContent: { Text } },
  ],
});
const before = (text: string) => message('C2C.CallbackBeforeSendMsg', text);

t.test('[K1] it moderates: refuses with a number of its own, puts words into stars, lets the rest go', async (t) => {
  const { send, list } = await start(t);
  t.match(await send('cb_1', before('what a Scam')), {
    status: 200,
    json: { ErrorCode: 120_001, ErrorInfo: '“Scam” is not welcome here.' },
  });
  const inGroup = { ...message('Group.CallbackBeforeSendMsg', 'what a Scam'), GroupId: 'club', Type: 'Public' };
  t.match(await send('cb_g', inGroup), { json: { ErrorCode: 10_100, ErrorInfo: '“Scam” is not welcome here.' } });
  t.match(await send('cb_2', before('darn it, Heck')), {
    json: {
      ErrorCode: 0,
      MsgBody: [{ MsgType: 'TIMFaceElem' }, { MsgContent: { Text: '**** it, ****' } }],
    },
  });
  const allowed = await send('cb_3', before('scammers like darning'));
  t.match(allowed, { json: { ErrorCode: 0 } });
  t.notOk('MsgBody' in allowed.json);
  t.match(await send('cb_4', message('C2C.CallbackAfterSendMsg', 'scam')), { status: 200, json: { ErrorCode: 0 } });
  const state = {
    CallbackCommand: 'State.StateChange',
    Info: { Action: 'Login', To_Account: 'lin', Reason: 'Register' },
  };
  await send('cb_5', state);
  await send('cb_5', state);
  t.match((await list()).callbacks, [
    { id: 'cb_5', attempt: 2, answered: 'OK, as before' },
    { id: 'cb_5', attempt: 1, about: 'lin: Login (Register)', answered: 'OK', verified: true, tookMs: Number },
    { command: 'C2C.CallbackAfterSendMsg', about: 'alice → bob: TIMFaceElem' },
    { id: 'cb_3', answered: 'OK' },
    { id: 'cb_2', answered: 'allow, changed' },
    { id: 'cb_g', about: 'group club', answered: 'refuse with 10100' },
    { id: 'cb_1', answered: 'refuse with 120001', body: /Scam/ },
  ]);
});

t.test('[K5] what does not verify is refused, and shown with the reason', async (t) => {
  const { send, list, url } = await start(t);
  const key = `whsec_${randomBytes(24).toString('base64')}`;
  t.match(await send('cb_1', before('hi'), { key }), { status: 401 });
  t.match((await list()).callbacks, [{ verified: false, reason: /^SIGNATURE_MISMATCH: /, answered: '401', body: '' }]);
  t.equal((await fetch(`${url}/receive`)).status, 405);
  const unknown = await start(t, {});
  t.equal((await unknown.send('cb_1', before('hi'))).status, 503, 'before the secret is known');
  t.throws(() => createCallbacks(publicFolder).configure({ secret: 'x' }), TypeError);
});

t.test('[K2] [K6] it misbehaves when the page says so, and no other page can', async (t) => {
  const { send, list, switchTo } = await start(t);
  t.equal((await switchTo('fail', { 'Sec-Fetch-Site': 'cross-site' })).status, 403);
  t.equal((await switchTo('fail', { Origin: 'https://elsewhere.example' })).status, 403);
  t.equal((await switchTo('fail', { 'Content-Type': 'text/plain' })).status, 415);
  t.equal((await switchTo('melt')).status, 400);
  t.equal((await list()).mode, 'answer');

  t.match(await (await switchTo('fail')).json(), { mode: 'fail' });
  const told = message('C2C.CallbackAfterSendMsg', 'hi');
  t.equal((await send('cb_1', told)).status, 500);
  await switchTo('silent');
  const leaving = new AbortController();
  const waiting = send('cb_1', told, { signal: leaving.signal });
  await until(async () => (await list()).callbacks.length === 2);
  leaving.abort();
  await t.rejects(waiting);
  await switchTo('answer');
  t.equal((await send('cb_1', told)).status, 200);
  t.match((await list()).callbacks, [
    { attempt: 3, answered: 'OK', verified: true },
    { attempt: 2, answered: 'not at all', tookMs: undefined },
    { attempt: 1, answered: '500', verified: true },
  ]);
});

t.test('the page, and what comes to it as it happens', async (t) => {
  const { send, url, server, switchTo } = await start(t);
  const page = await fetch(`${url}/`);
  t.equal(page.status, 200);
  t.match(page.headers.get('content-security-policy'), /default-src 'none'; script-src 'self'/);
  t.equal((await fetch(`${url}/none`)).status, 404);
  t.equal((await fetch(url, { redirect: 'manual' })).headers.get('location'), '/callbacks/');

  await send('cb_1', before('<b>hi</b>'));
  const leaving = new AbortController();
  const events = await fetch(`${url}/events`, { signal: leaving.signal });
  t.equal(events.headers.get('content-type'), 'text/event-stream');
  let text = '';
  const reading = (async () => {
    for await (const part of events.body ?? []) text += Buffer.from(part).toString();
  })().catch(() => {});
  await until(() => /^event: all\ndata: \[\{.*cb_1.*\n\nevent: mode\ndata: "answer"\n\n/.test(text));
  await send('cb_2', before('hi'));
  await until(() => /\nevent: callback\ndata: \{.*cb_2.*\n\n/.test(text));
  await switchTo('fail');
  await until(() => text.endsWith('event: mode\ndata: "fail"\n\n'));
  const more = await Promise.all(Array.from({ length: 20 }, () => fetch(`${url}/events`, { signal: leaving.signal })));
  t.equal(more.filter(({ status }) => status === 503).length, 1, 'twenty may watch');
  for (let i = 0; i < 101; i += 1) await send(`cb_x${i}`, before('hi'));
  const { callbacks } = (await (await fetch(`${url}/list`)).json()) as Listed;
  t.same([callbacks.length, callbacks[0]?.id], [100, 'cb_x100'], 'the newest hundred');
  const closed = once(server, 'close');
  server.close();
  await reading;
  server.closeAllConnections();
  await closed;
  leaving.abort();
});

t.test('by itself it takes the secret from a file', async (t) => {
  const file = join(t.testdir(), 'whsec.key');
  writeFileSync(file, `${secret}\n`);
  const args = [program, '--port', '0', '--callback-secret-file', file];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  t.teardown(() => child.kill('SIGKILL'));
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  t.equal((await client(`${url}/callbacks`).send('cb_1', before('hi'))).status, 200);
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  t.same((await exited)[0], 0);
});
