import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId } from '../support/im.ts';
import { openPushWorld } from '../support/push-world.ts';

/** The phone in a terminal, as the guide of pushes uses it. */
t.setTimeout(60_000);
const program = fileURLToPath(new URL('../../examples/phone/phone.ts', import.meta.url));
const database = await openTestDatabase(t);
const world = await openPushWorld(t, database, { options: { tuning: { lookMs: 200 } } });
const { im, apns, fcm, items } = world;

function run(t: Test, args: string[], userSig: string | undefined) {
  const { USERSIG: _, ...env } = process.env;
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...env, IM_URL: im.url, ...(userSig === undefined ? {} : { USERSIG: userSig }) },
  });
  t.teardown(() => child.kill('SIGKILL'));
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (printed += text));
  const exited = once(child, 'close') as Promise<[number | null]>;
  return {
    child,
    exited,
    says: (words: string) => until(() => printed.includes(words), 20_000).catch(() => t.match(printed, words)),
    type: (line: string) => child.stdin.write(`${line}\n`),
    printed: () => printed,
  };
}
const send = (from: string, to: string, text: string, random: number) =>
  im.call('openim/sendmsg', {
    From_Account: from,
    To_Account: to,
    MsgRandom: random,
    MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
  });

t.test(
  'it rings in the background and killed, not in the foreground, and says by which push it was opened',
  async (t) => {
    const from = await im.link('alice');
    const token = 'ab'.repeat(20);
    const phone = run(t, [String(imAppId), 'bob', 'ios', token], im.userSig('bob'));
    await phone.says('bob on iOS');
    t.equal((await send('alice', 'bob', 'you see this', 1)).ErrorCode, 0);
    await phone.says('c2c:alice  alice: you see this');
    phone.type('background 3');
    await phone.says('true');
    await send('alice', 'bob', 'it rings', 2);
    await until(() => apns.shown(token).length === 1, 20_000);
    const [rung] = apns.shown(token);
    t.match(JSON.parse(rung?.body ?? '{}'), { aps: { alert: 'it rings', badge: 4 } });
    phone.type(`opened ${rung?.body}`);
    await phone.says("conversation: 'c2c:alice'");
    await until(async () => (await items('bob')).some(({ opened_ms: ms }) => ms !== null), 20_000);
    phone.type('settings {"isOn":false}');
    await phone.says('isOn: false');
    phone.type('settings {"isOn":1}');
    await phone.says('INVALID_FIELD isOn: must be a boolean (true, false)');
    phone.type('ring');
    await phone.says('there is: background, foreground, opened, settings, remove, logout');
    phone.type('logout');
    t.same(await phone.exited, [0, null]);
    from.socket.close();
  },
);

t.test('one that is killed rings, and an Android phone has title and body', async (t) => {
  await im.link('carol');
  const token = 'a-token-of-fcm:0123456789';
  const phone = run(t, [String(imAppId), 'dave', 'android', token], im.userSig('dave'));
  await phone.says('dave on Android');
  phone.child.kill('SIGKILL');
  await phone.exited;
  await send('carol', 'dave', 'are you there', 3);
  await until(() => fcm.shown(token).length === 1, 20_000);
  t.match(fcm.shown(token)[0], { title: 'carol', body: 'are you there' });
});

t.test('what is wrong it says before it does anything', async (t) => {
  const signed = im.userSig('erin');
  for (const [args, userSig, words] of [
    [[], signed, 'usage: '],
    [['1400000000', 'erin', 'web', 'x'], signed, 'usage: '],
    [[String(imAppId), 'erin', 'ios', 'ab'.repeat(20)], undefined, 'USERSIG is missing'],
    [[String(imAppId), 'erin', 'ios', 'ab'.repeat(20)], im.userSig('other'), 'USERSIG'],
  ] as const) {
    const phone = run(t, [...args], userSig);
    t.same(await phone.exited, [1, null], words);
    t.match(phone.printed(), words);
  }
  const phone = run(t, [String(imAppId), 'erin', 'ios', 'short'], signed);
  await phone.says('token: has a wrong form (16 … 400 hexadecimal digits)');
});
