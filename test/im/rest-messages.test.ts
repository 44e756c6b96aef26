import t from 'tap';
import type { Account } from '../../src/im/index.ts';
import { createLocalBus } from '../../src/im/local-bus.ts';
import type { LinkEvent } from '../../src/im/services.ts';
import { type AccountId, type CallbackOrigin, unpackCallbackNotes } from '../../src/wire/index.ts';
import { makeTestLogger, openTestDatabase } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { asks } from '../support/im-draft.ts';
import { longestName, ok, refuses, snapshot, text, tooLongName } from '../support/rest.ts';

const database = await openTestDatabase(t);
const bus = createLocalBus({ logger: makeTestLogger().logger });
const asked: string[] = [];
const origins: CallbackOrigin[] = [];
const service = await openIm(t, {
  database,
  app: { messageBytes: 400 },
  options: { trustedProxies: ['127.0.0.1'] },
  deps: {
    bus,
    ports: {
      beforeSend: asks(async ({ body, origin }) => {
        const text = JSON.stringify(body);
        asked.push(text);
        origins.push(origin);
        if (text.includes('my own code')) return { kind: 'refuse', code: 120_017, reason: 'come back at noon' };
        return text.includes('refuse me')
          ? { kind: 'refuse', reason: 'not today' }
          : { kind: 'allow', outcome: 'allowed' };
      }),
      consumers: () => 3,
    },
  },
});
const { call } = service;
const events: { to: number; event: LinkEvent }[] = [];
bus.subscribe((to, event) => void events.push({ to, event }));
await call('im_open_login_svc/multiaccount_import', { Accounts: ['admin', 'lin', 'mo', 'zed', longestName] });

const account = async (name: string) => (await service.im.accounts.find(imAppId, name as AccountId)) as Account;
const history = async (viewer: string, peer: string) =>
  (await service.im.mailbox.history(await account(viewer), await account(peer), { limit: 100 })).messages;
const texts = async (viewer: string, peer: string) =>
  (await history(viewer, peer)).map(({ body }) => JSON.parse(body)[0].MsgContent.Text);
const unread = async (of: string, peer: string) =>
  (await service.im.mailbox.unread(await account(of), [await account(peer)]))[0];
const outbox = async () =>
  (await service.db.pool.query('select consumer from outbox order by id')).rows.map((row) => row.consumer);

let random = 0;
/** A request of a MsgRandom of its own. */
function message(fields: object = {}) {
  return { From_Account: 'lin', To_Account: 'mo', MsgRandom: ++random, MsgBody: [text('see you at noon')], ...fields };
}

t.test('[M3] sendmsg sends in the name of any account', async (t) => {
  const before = Math.floor(service.clock() / 1_000);
  const sent = await call('openim/sendmsg', {
    SyncOtherMachine: 2,
    From_Account: 'lin',
    To_Account: 'mo',
    MsgLifeTime: 3600,
    MsgRandom: 771231,
    MsgBody: [text('see you at noon')],
  });
  t.match(sent, { ...ok, MsgTime: Number, MsgKey: String });
  t.strictSame(Object.keys(sent), ['ActionStatus', 'ErrorCode', 'ErrorInfo', 'MsgTime', 'MsgKey']);
  t.ok(Number(sent.MsgTime) >= before && Number(sent.MsgTime) <= before + 5);
  t.match(sent.MsgKey, new RegExp(`^\\d+_771231_${sent.MsgTime}$`));
  t.strictSame(await texts('mo', 'lin'), ['see you at noon']);
  t.strictSame(await texts('lin', 'mo'), [], '[M17] 2 keeps it from the sender');
  t.equal(await unread('mo', 'lin'), 1);
  const offline = await service.im.mailbox.offline(await account('mo'));
  t.match(offline.messages, [{ from: 'lin' }]);

  const byAdmin = await call(
    'openim/sendmsg',
    message({ From_Account: undefined, MsgSeq: 12, CloudCustomData: 'mine' }),
  );
  t.match(byAdmin.MsgKey, new RegExp(`^12_${random}_`), 'the MsgSeq that was sent');
  t.match(await history('mo', 'admin'), [{ from: 'admin', msgSeq: 12, custom: 'mine' }]);
});

t.test('[M17] SyncOtherMachine says whether the sender has it, and whether its terminals hear of it', async (t) => {
  const [lin, zed] = [await account('lin'), await account('zed')];
  const toLin = () => events.splice(0).filter(({ to }) => to === lin.no).length;
  for (const [SyncOtherMachine, told, kept] of [
    [undefined, 0, ['absent']],
    [1, 1, ['absent', '1']],
    [2, 0, ['absent', '1']],
  ] as const) {
    toLin();
    const content = String(SyncOtherMachine ?? 'absent');
    t.match(
      await call('openim/sendmsg', message({ To_Account: 'zed', SyncOtherMachine, MsgBody: [text(content)] })),
      ok,
    );
    t.equal(toLin(), told, `${content}: events for the sender`);
    t.strictSame(await texts('lin', 'zed'), kept);
  }
  t.strictSame(await texts('zed', 'lin'), ['absent', '1', '2']);
  t.equal(zed.identifier, 'zed');
});

t.test('MsgLifeTime: 0 is for those who are online and not stored, more than a week is a week', async (t) => {
  await call('im_open_login_svc/multiaccount_import', { Accounts: ['life'] });
  events.length = 0;
  const online = await call('openim/sendmsg', message({ To_Account: 'life', MsgLifeTime: 0 }));
  t.match(online, { ...ok, MsgTime: Number, MsgKey: /^\d+_\d+_\d+$/ });
  t.match(events, [{ event: { kind: 'message', message: { seq: 0 } } }]);
  t.strictSame(await texts('life', 'lin'), []);
  for (const [MsgLifeTime, kept] of [
    [undefined, 604_800],
    [60, 60],
    [604_800, 604_800],
    [604_801, 604_800],
    [4_000_000_000, 604_800],
  ]) {
    t.match(await call('openim/sendmsg', message({ To_Account: 'life', MsgLifeTime })), ok);
    const { rows } = await service.db.pool.query(
      'select offline_until - msg_time as kept from message order by stored_ms desc, seq desc limit 1',
    );
    t.equal(rows[0].kept, kept, `${MsgLifeTime}`);
  }
});

t.test('SendMsgControl and ForbidCallbackControl', async (t) => {
  await call('im_open_login_svc/multiaccount_import', { Accounts: ['ctl'] });
  const sendTo = (fields: object) => call('openim/sendmsg', message({ To_Account: 'ctl', ...fields }));
  t.match(await sendTo({ SendMsgControl: ['NoUnread', 'NoLastMsg', 'WithMuteNotifications'] }), ok);
  t.equal(await unread('ctl', 'lin'), 0);
  t.match(await sendTo({ SendMsgControl: [] }), ok);
  t.equal(await unread('ctl', 'lin'), 1);

  const rows = async (fields: object) => {
    asked.length = 0;
    const before = (await outbox()).length;
    t.match(await sendTo(fields), ok);
    return { asked: asked.length, told: (await outbox()).slice(before) };
  };
  t.strictSame(await rows({}), { asked: 1, told: [1, 2] });
  const before = 'ForbidBeforeSendMsgCallback';
  const after = 'ForbidAfterSendMsgCallback';
  t.strictSame(await rows({ ForbidCallbackControl: [before] }), { asked: 0, told: [1, 2] });
  t.strictSame(await rows({ ForbidCallbackControl: [after] }), { asked: 1, told: [2] }, 'it is pushed all the same');
  t.strictSame(await rows({ ForbidCallbackControl: [before, after] }), { asked: 0, told: [2] });
  const refused = await sendTo({ MsgBody: [text('refuse me')] });
  t.match(refused, { ActionStatus: 'FAIL', ErrorCode: 20006, ErrorInfo: 'not today' });
  t.strictSame(
    await sendTo({ MsgBody: [text('my own code')] }),
    { ActionStatus: 'FAIL', ErrorCode: 120_017, ErrorInfo: 'come back at noon' },
    '[K1] the number and the text of the app',
  );
});

t.test('[O3] callbacks know where a call came from, and messages why there was none', async (t) => {
  origins.length = 0;
  const query = new URLSearchParams({
    sdkappid: String(imAppId),
    identifier: 'admin',
    usersig: service.userSig('admin'),
  });
  const response = await fetch(`${service.url}/v4/openim/sendmsg?${query}`, {
    method: 'POST',
    headers: { 'x-forwarded-for': '192.0.2.1, 198.51.100.3' },
    body: JSON.stringify(message()),
  });
  t.match(await response.json(), ok);
  const origin = { platform: 'RESTAPI', address: '198.51.100.3' };
  t.strictSame(origins, [origin]);
  const last = async () => {
    const { rows } = await service.db.pool.query(
      `select m.callbacks, o.body from message m
       left join outbox o on o.conversation_id = m.conversation_id and o.seq = m.seq and o.consumer = 1
       order by m.stored_ms desc, m.seq desc limit 1`,
    );
    return [unpackCallbackNotes(rows[0].callbacks), JSON.parse(rows[0].body)];
  };
  t.strictSame(await last(), [{ consumers: 3, before: 'allowed', after: 'told' }, origin]);
  const control = ['ForbidBeforeSendMsgCallback', 'ForbidAfterSendMsgCallback'];
  for (const [command, fields, notes] of [
    ['sendmsg', { ForbidCallbackControl: control }, { consumers: 2, before: 'unasked-forbidden', after: 'forbidden' }],
    ['batchsendmsg', { To_Account: ['mo'] }, { consumers: 2, before: 'unasked-kind', after: 'kind' }],
    ['importmsg', { SyncFromOldSystem: 1 }, { consumers: 0, before: 'unasked-kind', after: 'kind' }],
  ] as const) {
    t.match(await call(`openim/${command}`, message(fields)), ok);
    t.strictSame(await last(), [notes, null], command);
  }
});

t.test('[M13] a repeated sendmsg is answered as the first one', async (t) => {
  const first = message();
  const sent = await call('openim/sendmsg', first);
  const count = (await texts('mo', 'lin')).length;
  t.strictSame(await call('openim/sendmsg', { ...first, MsgBody: [text('other words')] }), sent);
  const [one, two] = await Promise.all([call('openim/sendmsg', first), call('openim/sendmsg', first)]);
  t.strictSame([one, two], [sent, sent]);
  t.equal((await texts('mo', 'lin')).length, count);
  t.not((await call('openim/sendmsg', { ...first, MsgSeq: 5 })).MsgKey, sent.MsgKey, 'with a MsgSeq it is another');
});

t.test('sendmsg takes what is at its limits, and refuses what is beyond', async (t) => {
  for (const fields of [
    { MsgRandom: 0 },
    { MsgRandom: 4_294_967_295, MsgSeq: 4_294_967_295, MsgTimeStamp: 4_294_967_295 },
    { MsgSeq: 0, MsgTimeStamp: 0 },
    { From_Account: longestName, To_Account: longestName },
    { CloudCustomData: '', OfflinePushInfo: {} },
    { OfflinePushInfo: { PushFlag: 1, Title: 'x', ApnsInfo: { BadgeMode: 1 } } },
    { unknown: { field: true } },
  ]) {
    t.match(await call('openim/sendmsg', message(fields)), ok, JSON.stringify(fields));
  }
  const frame = JSON.stringify([text('')]).length;
  const fits = text('x'.repeat(400 - frame));
  t.match(await call('openim/sendmsg', message({ MsgBody: [fits] })), ok, 'messageBytes');

  const two = [
    { MsgType: 'TIMCustomElem', MsgContent: { Data: 'a' } },
    { MsgType: 'TIMCustomElem', MsgContent: { Data: 'b' } },
  ];
  await refuses(t, service, 'openim/sendmsg', message(), [
    [{ SyncOtherMachine: '1' }, 90031, 'SyncOtherMachine'],
    [{ SyncOtherMachine: 0 }, 90031, 'SyncOtherMachine'],
    [{ SyncOtherMachine: 3 }, 90031, 'SyncOtherMachine'],
    [{ From_Account: 5 }, 90008, 'From_Account'],
    [{ From_Account: '' }, 90008, 'From_Account'],
    [{ From_Account: tooLongName }, 90008, 'From_Account'],
    [{ From_Account: 'ghost' }, 90008, 'From_Account'],
    [{ To_Account: undefined }, 90003, 'To_Account'],
    [{ To_Account: ['mo'] }, 90003, 'To_Account'],
    [{ To_Account: '' }, 90003, 'To_Account'],
    [{ To_Account: tooLongName }, 90003, 'To_Account'],
    [{ To_Account: 'ghost' }, 90012, 'To_Account'],
    [{ MsgLifeTime: -1 }, 90026, 'MsgLifeTime'],
    [{ MsgLifeTime: '60' }, 90026, 'MsgLifeTime'],
    [{ MsgLifeTime: 1.5 }, 90026, 'MsgLifeTime'],
    [{ MsgSeq: -1 }, 90004, 'MsgSeq'],
    [{ MsgSeq: 4_294_967_296 }, 90004, 'MsgSeq'],
    [{ MsgSeq: '1' }, 90004, 'MsgSeq'],
    [{ MsgRandom: undefined }, 90005, 'MsgRandom'],
    [{ MsgRandom: -1 }, 90005, 'MsgRandom'],
    [{ MsgRandom: 4_294_967_296 }, 90005, 'MsgRandom'],
    [{ MsgRandom: '771231' }, 90005, 'MsgRandom'],
    [{ MsgTimeStamp: 'now' }, 90006, 'MsgTimeStamp'],
    [{ MsgTimeStamp: 4_294_967_296 }, 90006, 'MsgTimeStamp'],
    [{ MsgBody: undefined }, 90007, 'MsgBody'],
    [{ MsgBody: text('x') }, 90007, 'MsgBody'],
    [{ MsgBody: [] }, 90007, 'MsgBody'],
    [{ MsgBody: ['x'] }, 90002, 'MsgBody[0]'],
    [{ MsgBody: [text('x'), { MsgType: 'TIMNoElem', MsgContent: {} }] }, 90002, 'MsgBody[1].MsgType'],
    [{ MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: {} }] }, 90002, 'MsgBody[0].MsgContent.Text'],
    [{ MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 5 } }] }, 90002, 'MsgBody[0].MsgContent.Text'],
    [{ MsgBody: [text('a\0')] }, 90002, 'MsgBody[0].MsgContent.Text'],
    [{ MsgBody: [text('a\ud800')] }, 90002, 'MsgBody[0].MsgContent.Text'],
    [{ MsgBody: two }, 90002, 'MsgBody[1].MsgType'],
    [{ MsgBody: [text(`x${fits.MsgContent.Text}`)] }, 80002, 'MsgBody'],
    [{ OfflinePushInfo: [] }, 90043, 'OfflinePushInfo'],
    [{ OfflinePushInfo: null }, 90043, 'OfflinePushInfo'],
    [{ OfflinePushInfo: { PushFlag: 2 } }, 90043, 'OfflinePushInfo.PushFlag'],
    [{ CloudCustomData: {} }, 90010, 'CloudCustomData'],
    [{ CloudCustomData: 'x'.repeat(8_001) }, 80002, 'CloudCustomData'],
    [{ ForbidCallbackControl: 'ForbidBeforeSendMsgCallback' }, 90010, 'ForbidCallbackControl'],
    [{ ForbidCallbackControl: ['Forbid'] }, 90010, 'ForbidCallbackControl[0]'],
    [{ SendMsgControl: ['NoUnread', 'Nothing'] }, 90010, 'SendMsgControl[1]'],
    [{ SendMsgControl: {} }, 90010, 'SendMsgControl'],
  ]);
  const nested = `{"To_Account":"mo","MsgRandom":1,"MsgBody":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
  t.match(await call('openim/sendmsg', nested), { ErrorCode: 90002, ErrorInfo: /^MsgBody\[0\]/ });
});

t.test('[D1] dirty words are refused, also of administrators', async (t) => {
  t.match(await call('openim_dirty_words/add', { DirtyWordsList: ['cheap pills'] }), ok);
  const dirty = { MsgBody: [text('buy CHEAP pills here')] };
  await refuses(t, service, 'openim/sendmsg', message(), [[dirty, 80001, 'MsgBody']]);
  const { ErrorInfo } = await call('openim/sendmsg', message(dirty));
  t.notMatch(ErrorInfo, /pills/i, 'the word is not told');
  const batch = await call('openim/batchsendmsg', message({ To_Account: ['mo', 'zed'], ...dirty }));
  t.match(batch, { ActionStatus: 'FAIL', ErrorCode: 80001, ErrorList: [{ To_Account: 'mo', ErrorCode: 80001 }, {}] });
  t.match(await call('openim/importmsg', message({ SyncFromOldSystem: 2, ...dirty })), ok, 'history is taken as it is');
  t.match(await call('openim_dirty_words/delete', { DirtyWordsList: ['cheap pills'] }), ok);
});

t.test('[B1] batchsendmsg sends to up to 500, and lists those who did not get it', async (t) => {
  const names = Array.from({ length: 500 }, (_, i) => `b-${i}`);
  for (let i = 0; i < 500; i += 100) {
    await call('im_open_login_svc/multiaccount_import', { Accounts: names.slice(i, i + 100) });
  }
  asked.length = 0;
  const before = await outbox();
  const many = message({ To_Account: names, MsgBody: [text('hello all')] });
  const sent = await call('openim/batchsendmsg', many);
  t.strictSame(sent, { ...ok, MsgKey: sent.MsgKey });
  for (const name of ['b-0', 'b-250', 'b-499']) t.strictSame(await texts(name, 'lin'), ['hello all'], name);
  t.equal(asked.length, 0, '[B3] no callback');
  const added = (await outbox()).slice(before.length);
  t.strictSame([...new Set(added)], [2], 'and none after; pushed all the same');
  t.equal(added.length, 500);

  const again = await call('openim/batchsendmsg', { ...many, To_Account: names.slice(0, 3) });
  t.equal(again.MsgKey, sent.MsgKey, '[M13] a repeat is answered as the first one');
  t.strictSame(await texts('b-1', 'lin'), ['hello all']);
  const [seq, r, time] = String(sent.MsgKey).split('_').map(Number);
  t.match(await history('b-2', 'lin'), [{ msgSeq: seq, random: r }], 'one MsgKey for all of them');
  t.ok(Math.abs(Number(time) - service.clock() / 1_000) < 20);
  const recalled = await call('openim/admin_msgwithdraw', {
    From_Account: 'lin',
    To_Account: 'b-0',
    MsgKey: sent.MsgKey,
  });
  t.match(recalled, ok);

  const partly = await call(
    'openim/batchsendmsg',
    message({ To_Account: ['mo', 'ghost', 'mo', 'ghost', tooLongName] }),
  );
  t.match(partly, { ActionStatus: 'SomeError', ErrorCode: 0, ErrorInfo: '', MsgKey: String });
  t.strictSame(partly.ErrorList, [
    { To_Account: 'ghost', ErrorCode: 70107 },
    { To_Account: tooLongName, ErrorCode: 70107 },
  ]);
  events.length = 0;
  const online = message({ To_Account: ['mo', 'mo', 'zed'], MsgLifeTime: 0 });
  t.match(await call('openim/batchsendmsg', online), { ...ok, MsgKey: String });
  t.equal(events.length, 2, 'nobody gets it twice');
  const nobody = await call('openim/batchsendmsg', message({ To_Account: ['ghost', 'nobody'] }));
  t.match(nobody, { ActionStatus: 'FAIL', ErrorCode: 90012, ErrorList: [{ To_Account: 'ghost' }, {}] });
  t.notHas(nobody, { MsgKey: String });

  const numbered = message({ To_Account: ['b-9'], MsgSeq: 77, SyncOtherMachine: 2, From_Account: undefined });
  t.match(await call('openim/batchsendmsg', numbered), { ...ok, MsgKey: /^77_/ });
  t.match(await history('b-9', 'admin'), [{ from: 'admin', msgSeq: 77 }]);
  t.strictSame(await history('admin', 'b-9'), []);
});

t.test('batchsendmsg refuses what is wrong', async (t) => {
  await refuses(t, service, 'openim/batchsendmsg', message({ To_Account: ['mo', 'zed'] }), [
    [{ To_Account: undefined }, 90028, 'To_Account'],
    [{ To_Account: 'mo' }, 90028, 'To_Account'],
    [{ To_Account: [] }, 90029, 'To_Account'],
    [{ To_Account: ['mo', 5] }, 90003, 'To_Account[1]'],
    [{ To_Account: Array.from({ length: 501 }, () => 'mo') }, 90011, 'To_Account'],
    [{ From_Account: 'ghost' }, 90008, 'From_Account'],
    [{ From_Account: '' }, 90008, 'From_Account'],
    [{ MsgRandom: undefined }, 90005, 'MsgRandom'],
    [{ MsgRandom: 'x' }, 90005, 'MsgRandom'],
    [{ MsgSeq: 4_294_967_296 }, 90004, 'MsgSeq'],
    [{ SyncOtherMachine: 5 }, 90031, 'SyncOtherMachine'],
    [{ MsgLifeTime: -1 }, 90026, 'MsgLifeTime'],
    [{ MsgBody: undefined }, 90007, 'MsgBody'],
    [{ MsgBody: [{}] }, 90002, 'MsgBody[0].MsgType'],
    [{ MsgBody: [text('x'.repeat(400))] }, 80002, 'MsgBody'],
    [{ OfflinePushInfo: 1 }, 90043, 'OfflinePushInfo'],
    [{ CloudCustomData: 1 }, 90010, 'CloudCustomData'],
    [{ SendMsgControl: ['x'] }, 90010, 'SendMsgControl[0]'],
  ]);
});

t.test('[I3] importmsg stores messages with their own times, in order, and tells nobody', async (t) => {
  await call('im_open_login_svc/multiaccount_import', { Accounts: ['imp-1', 'imp-2', 'imp-3'] });
  const nowSec = Math.floor(service.clock() / 1_000);
  const old = (fields: object) => ({
    SyncFromOldSystem: 2,
    From_Account: 'imp-1',
    To_Account: 'imp-2',
    MsgRandom: ++random,
    MsgTimeStamp: nowSec - 100_000,
    MsgBody: [text('old one')],
    ...fields,
  });
  events.length = 0;
  asked.length = 0;
  const outboxBefore = (await outbox()).length;
  const first = old({});
  t.strictSame(await call('openim/importmsg', first), ok);
  t.strictSame(await call('openim/importmsg', first), ok, 'again');
  const reply = { From_Account: 'imp-2', To_Account: 'imp-1', MsgTimeStamp: nowSec - 99_000, MsgSeq: 3 };
  t.strictSame(await call('openim/importmsg', old({ ...reply, MsgBody: [text('and the reply')] })), ok);
  t.strictSame(await texts('imp-1', 'imp-2'), ['old one', 'and the reply']);
  t.match(await history('imp-2', 'imp-1'), [{ time: nowSec - 100_000 }, { time: nowSec - 99_000, msgSeq: 3 }]);
  t.equal(await unread('imp-2', 'imp-1'), 0, 'history does not count');
  t.strictSame(await call('openim/importmsg', old({ SyncFromOldSystem: 1, MsgTimeStamp: undefined })), ok);
  t.equal(await unread('imp-2', 'imp-1'), 1, 'a live import does');
  t.strictSame({ events: events.length, asked: asked.length }, { events: 0, asked: 0 });
  t.equal((await outbox()).length, outboxBefore);

  const ahead = old({ To_Account: 'imp-3', MsgTimeStamp: Math.floor(service.clock() / 1_000) + 55 });
  t.strictSame(await call('openim/importmsg', ahead), ok, 'clocks differ');
  await refuses(t, service, 'openim/importmsg', old({}), [
    [{ SyncFromOldSystem: undefined }, 90030, 'SyncFromOldSystem'],
    [{ SyncFromOldSystem: '1' }, 90030, 'SyncFromOldSystem'],
    [{ SyncFromOldSystem: 3 }, 90030, 'SyncFromOldSystem'],
    [{ From_Account: undefined }, 90008, 'From_Account'],
    [{ From_Account: 'ghost' }, 90008, 'From_Account'],
    [{ To_Account: undefined }, 90003, 'To_Account'],
    [{ To_Account: 'ghost' }, 90012, 'To_Account'],
    [{ MsgSeq: -1 }, 90004, 'MsgSeq'],
    [{ MsgRandom: undefined }, 90005, 'MsgRandom'],
    [{ MsgTimeStamp: '5' }, 90006, 'MsgTimeStamp'],
    [{ MsgTimeStamp: nowSec + 100 }, 90006, 'MsgTimeStamp'],
    [{ MsgTimeStamp: 4_294_967_296 }, 90006, 'MsgTimeStamp'],
    [{ MsgBody: undefined }, 90007, 'MsgBody'],
    [{ MsgBody: [{ MsgType: 'TIMTextElem' }] }, 90002, 'MsgBody[0].MsgContent'],
    [{ MsgBody: [text('x'.repeat(400))] }, 80002, 'MsgBody'],
    [{ CloudCustomData: 7 }, 90010, 'CloudCustomData'],
  ]);
});

t.test('[I5] accounts of another app do not exist for a caller', async (t) => {
  const other = { ...service.app, sdkAppId: 1_400_000_007 };
  service.setApps([service.app, other]);
  await service.im.accounts.ensure(other.sdkAppId, 'foreigner' as AccountId);
  const before = await snapshot(service.db);
  t.match(await call('openim/sendmsg', message({ To_Account: 'foreigner' })), { ErrorCode: 90012 });
  t.match(await call('openim/sendmsg', message({ From_Account: 'foreigner' })), { ErrorCode: 90008 });
  t.equal(await snapshot(service.db), before);
  const theirs = { sdkappid: String(other.sdkAppId), usersig: service.userSig('admin', { sdkAppId: other.sdkAppId }) };
  t.match(await call('openim/sendmsg', message({ To_Account: 'lin' }), theirs), { ErrorCode: 90008 });
  t.match(await call('openim/sendmsg', message({ From_Account: undefined, To_Account: 'foreigner' }), theirs), ok);
  service.setApps([service.app]);
});
