import t from 'tap';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';

const database = await openTestDatabase(t);
const im = await openIm(t, { database });

let made = 0;
/** A name that no other test has. */
const name = (prefix: string) => `${prefix}${++made}`;

async function stateOf(identifier: string): Promise<unknown> {
  const account = await im.im.accounts.find(imAppId, identifier as never);
  return account && (await im.im.presence.query([account])).get(account.no)?.state;
}

t.test('any field of any request may be anything', async (t) => {
  const [alice, bob] = [name('alice'), name('bob')];
  await im.link(bob);
  const link = await im.link(alice);
  const good: Record<string, Record<string, unknown>> = {
    beat: {},
    send: { conversation: `c2c:${bob}`, clientId: 'x', body: [], push: {}, custom: '', random: 1, lifetimeSec: 1 },
    ack: { items: [[`c2c:${bob}`, 1]] },
    read: { conversation: `c2c:${bob}`, seq: 1 },
    recall: { conversation: `c2c:${bob}`, seq: 1 },
    offline: { after: 'x' },
    recents: {},
    sync: { conversation: `c2c:${bob}`, since: 0, recallNo: 0, limit: 1 },
    history: { conversation: `c2c:${bob}`, before: 1, limit: 1 },
    unread: { conversations: [`c2c:${bob}`] },
    hide: { conversation: `c2c:${bob}`, clear: false },
    profiles: { accounts: [bob], fields: ['nick'] },
    setProfile: { fields: { nick: 'x' } },
    report: { state: 'background', unread: 1 },
    login: { sdkAppId: imAppId, identifier: alice, userSig: '', platform: 'Web', resume: '' },
  };
  const strange = [
    null,
    true,
    -1,
    1e300,
    '',
    'c2c:',
    'c2c:\u0000',
    '\ud800',
    'c2c:a\u0000b',
    'x'.repeat(20_000),
    [],
    {},
    [[]],
    [[[[]]]],
    [null],
    [[null, null]],
    [[`c2c:${bob}`, {}]],
    { toString: 1, valueOf: 1 },
    { __proto__: null, length: 3, then: 'x', toJSON: 1 },
    { nick: { toString: 1 } },
    { nick: [1], constructor: 'x', Tag_Profile_IM_Nick: {} },
  ];
  const names = new Set<unknown>();
  for (const [what, fields] of Object.entries(good)) {
    for (const field of ['conversation', ...Object.keys(fields)]) {
      const asked = strange.map((value) => link.ask(what, { ...fields, [field]: value }));
      for (const { error } of await Promise.all(asked)) names.add(error?.name);
    }
  }
  t.notOk(names.has('INTERNAL'), [...names].join());
  t.notOk(names.has('DATABASE_UNAVAILABLE'), [...names].join());
  t.ok(await link.ok('beat'));
});

t.test('[P4] of two reports at once the last one counts', async (t) => {
  const carl = name('carl');
  const link = await im.link(carl, { platform: 'iOS' });
  await Promise.all([link.ok('report', { state: 'background' }), link.ok('report', { state: 'foreground' })]);
  t.equal(await stateOf(carl), 'online');
  await Promise.all([link.ok('report', { state: 'foreground' }), link.ok('report', { state: 'background' })]);
  t.equal(await stateOf(carl), 'push-online');
  await link.close();
  await until(async () => (await stateOf(carl)) === 'push-online');
});
