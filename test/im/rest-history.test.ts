import t from 'tap';
import type { Account } from '../../src/im/index.ts';
import { contactsPage } from '../../src/im/rest/contacts-page.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { ok, openEdge, refuses, snapshot, text, tooLongName } from '../support/rest.ts';

const database = await openTestDatabase(t);
const service = await openIm(t, { database, app: { messageBytes: 20_000 } });
const { call } = service;
await call('im_open_login_svc/multiaccount_import', { Accounts: ['admin', 'lin', 'mo', 'zed'] });

let random = 0;
interface Sent {
  key: string;
  time: number;
}
async function send(fields: object = {}): Promise<Sent> {
  const { MsgKey, MsgTime, ...rest } = await call('openim/sendmsg', {
    From_Account: 'lin',
    To_Account: 'mo',
    MsgRandom: ++random,
    MsgBody: [text('see you at noon')],
    ...fields,
  });
  if (typeof MsgKey !== 'string') throw new Error(JSON.stringify(rest));
  return { key: MsgKey, time: Number(MsgTime) };
}
async function importAt(time: number, content: string, fields: object = {}): Promise<void> {
  const answer = await call('openim/importmsg', {
    SyncFromOldSystem: 2,
    From_Account: 'lin',
    To_Account: 'mo',
    MsgRandom: ++random,
    MsgTimeStamp: time,
    MsgBody: [text(content)],
    ...fields,
  });
  t.match(answer, ok);
}
const account = async (name: string) => (await service.im.accounts.find(imAppId, name as AccountId)) as Account;
const make = (...names: string[]) => call('im_open_login_svc/multiaccount_import', { Accounts: names });

interface Page {
  Complete: number;
  MsgCnt: number;
  LastMsgTime: number;
  LastMsgKey: string;
  MsgList: {
    MsgBody: [{ MsgContent: { Text: string } }];
    MsgKey: string;
    MsgTimeStamp: number;
    From_Account: string;
  }[];
}
async function roam(fields: object): Promise<Page> {
  const answer = await call('openim/admin_getroammsg', {
    From_Account: 'mo',
    To_Account: 'lin',
    MaxCnt: 100,
    MinTime: 0,
    MaxTime: 4_294_967_295,
    ...fields,
  });
  t.match(answer, ok);
  return answer as unknown as Page;
}
const textsOf = ({ MsgList }: Page) => MsgList.map(({ MsgBody }) => MsgBody[0]?.MsgContent.Text);

t.test('admin_msgwithdraw takes a message back from both, however old it is', async (t) => {
  const sent = await send();
  service.clock.advance(100_000);
  const withdraw = { From_Account: 'lin', To_Account: 'mo', MsgKey: sent.key };
  t.strictSame(await call('openim/admin_msgwithdraw', withdraw), ok);
  for (const [From_Account, To_Account] of [
    ['mo', 'lin'],
    ['lin', 'mo'],
  ]) {
    const page = await roam({ From_Account, To_Account });
    t.match(page.MsgList, [{ MsgKey: sent.key, MsgFlagBits: 8, MsgBody: [] }]);
    t.strictSame(page.MsgList[0]?.MsgBody, []);
  }
  const [seq, r, time] = sent.key.split('_');
  await refuses(t, service, 'openim/admin_msgwithdraw', withdraw, [
    [{ From_Account: undefined }, 90008, 'From_Account'],
    [{ From_Account: 'ghost' }, 90008, 'From_Account'],
    [{ From_Account: 1 }, 90008, 'From_Account'],
    [{ To_Account: undefined }, 90003, 'To_Account'],
    [{ To_Account: 'ghost' }, 90003, 'To_Account'],
    [{ To_Account: tooLongName }, 90003, 'To_Account'],
    [{ MsgKey: undefined }, 90054, 'MsgKey'],
    [{ MsgKey: 5 }, 90054, 'MsgKey'],
    [{ MsgKey: '' }, 90054, 'MsgKey'],
    [{ MsgKey: `${seq}_${r}` }, 90054, 'MsgKey'],
    [{ MsgKey: `${seq}_${r}_${time}_1` }, 90054, 'MsgKey'],
    [{ MsgKey: `4294967296_${r}_${time}` }, 90054, 'MsgKey'],
    [{ MsgKey: 'x'.repeat(51) }, 90054, 'MsgKey'],
  ]);
  const before = await snapshot(service.db);
  t.match(await call('openim/admin_msgwithdraw', withdraw), { ActionStatus: 'FAIL', ErrorCode: 20023 });
  const missing = { ...withdraw, MsgKey: `${seq}_${r}_${Number(time) + 1}` };
  t.match(await call('openim/admin_msgwithdraw', missing), { ErrorCode: 20022 });
  const theOtherWay = { ...withdraw, From_Account: 'mo', To_Account: 'lin' };
  t.match(await call('openim/admin_msgwithdraw', theOtherWay), { ErrorCode: 20022 }, 'who sent it is named');
  t.equal(await snapshot(service.db), before);
});

t.test('[R2] admin_getroammsg gives the history of two accounts', async (t) => {
  await make('r-1', 'r-2');
  const nowSec = Math.floor(service.clock() / 1_000);
  const between = { From_Account: 'r-1', To_Account: 'r-2' };
  await importAt(nowSec - 500, 'first', between);
  await importAt(nowSec - 400, 'second', { From_Account: 'r-2', To_Account: 'r-1', CloudCustomData: 'c' });
  const page = await roam({ ...between, MaxCnt: 2, MinTime: nowSec - 1_000, MaxTime: nowSec });
  t.match(page, { Complete: 1, MsgCnt: 2, LastMsgTime: nowSec - 500, LastMsgKey: page.MsgList[0]?.MsgKey });
  t.match(page.MsgList, [
    {
      From_Account: 'r-1',
      To_Account: 'r-2',
      MsgSeq: Number,
      MsgRandom: Number,
      MsgTimeStamp: nowSec - 500,
      MsgFlagBits: 0,
      MsgBody: [text('first')],
    },
    { From_Account: 'r-2', To_Account: 'r-1', MsgTimeStamp: nowSec - 400, CloudCustomData: 'c' },
  ]);
  t.match(page.MsgList[0]?.MsgKey, new RegExp(`^\\d+_\\d+_${nowSec - 500}$`));
  t.strictSame(textsOf(await roam({ ...between, MaxTime: nowSec - 401 })), ['first'], 'MaxTime');
  t.strictSame(textsOf(await roam({ ...between, MinTime: nowSec - 400 })), ['second'], 'MinTime');
  t.match(await roam({ ...between, MaxTime: 5, MinTime: 1 }), {
    Complete: 1,
    MsgCnt: 0,
    LastMsgTime: 0,
    LastMsgKey: '',
  });
  t.match(await roam({ From_Account: 'admin', To_Account: 'r-1' }), { Complete: 1, MsgCnt: 0 }, 'who never spoke');
});

t.test('[M17] a message that one side has is found when that side is From_Account', async (t) => {
  await make('s-1', 's-2');
  await send({ From_Account: 's-1', To_Account: 's-2', SyncOtherMachine: 2 });
  t.equal((await roam({ From_Account: 's-2', To_Account: 's-1' })).MsgCnt, 1);
  t.equal((await roam({ From_Account: 's-1', To_Account: 's-2' })).MsgCnt, 0);
});

t.test('admin_getroammsg pages backwards, also through many messages of one second', async (t) => {
  await make('p-1', 'p-2');
  const nowSec = Math.floor(service.clock() / 1_000);
  const between = { From_Account: 'p-1', To_Account: 'p-2' };
  const expected: string[] = [];
  for (let i = 0; i < 23; i++) {
    // Ten of the second -100, the others each of its own.
    const time = i < 8 ? nowSec - 200 + i : i < 18 ? nowSec - 100 : nowSec - 50 + i;
    expected.push(`m${i}`);
    await importAt(time, `m${i}`, between);
  }
  const read: string[][] = [];
  let cursor: object = { MaxTime: nowSec };
  for (let pages = 0; pages < 10; pages++) {
    const page = await roam({ ...between, MaxCnt: 4, MinTime: nowSec - 1_000, ...cursor });
    t.equal(page.MsgCnt, page.MsgList.length);
    read.unshift(textsOf(page) as string[]);
    if (page.Complete === 1) break;
    t.equal(page.MsgCnt, 4);
    t.equal(page.LastMsgTime, page.MsgList[0]?.MsgTimeStamp, 'the oldest of the page');
    cursor = { MaxTime: page.LastMsgTime, LastMsgKey: page.LastMsgKey };
  }
  t.strictSame(read.flat(), expected);
  t.equal(read.length, 6);
  const whole = await roam({ ...between, LastMsgKey: '' });
  t.strictSame(textsOf(whole), expected);

  const first = String(whole.MsgList[0]?.MsgKey);
  t.match(await roam({ ...between, LastMsgKey: first }), { Complete: 1, MsgCnt: 0 });
  const many = whole.MsgList.map(({ MsgKey }) => MsgKey);
  t.strictSame(textsOf(await roam({ ...between, LastMsgKey: many[12], MaxCnt: 2 })), ['m10', 'm11']);
});

t.test('admin_getroammsg pages through more than a page of one second, each page of about 13 KB', async (t) => {
  await make('n-1', 'n-2');
  const between = { From_Account: 'n-1', To_Account: 'n-2' };
  const time = Math.floor(service.clock() / 1_000) - 100;
  const expected = Array.from({ length: 230 }, (_, i) => `${i}`);
  for (const content of expected) await importAt(time, content, between);
  const read: string[] = [];
  let page = await roam(between);
  for (;;) {
    const bytes = JSON.stringify(page).length;
    t.ok(bytes < 14_000, `${bytes} bytes`);
    read.unshift(...(textsOf(page) as string[]));
    if (page.Complete === 1) break;
    t.ok(page.MsgCnt > 40 && page.MsgCnt < 100, `${page.MsgCnt} messages`);
    page = await roam({ ...between, MaxTime: page.LastMsgTime, LastMsgKey: page.LastMsgKey });
  }
  t.strictSame(read, expected);
});

t.test('admin_getroammsg keeps a page at about 13 KB, and a message that is larger by itself', async (t) => {
  await make('l-1', 'l-2');
  const between = { From_Account: 'l-1', To_Account: 'l-2' };
  for (let i = 0; i < 12; i++) await send({ ...between, MsgBody: [text(`${i}${'x'.repeat(1_500)}`)] });
  await send({ ...between, MsgBody: [text('y'.repeat(18_000))] });
  const largest = await roam(between);
  t.match(largest, { Complete: 0, MsgCnt: 1 });
  let page = await roam({ ...between, MaxTime: largest.LastMsgTime, LastMsgKey: largest.LastMsgKey });
  t.match(page, { Complete: 0, MsgCnt: 7 });
  const bytes = JSON.stringify(page).length;
  t.ok(bytes > 11_000 && bytes < 14_000, `${bytes} bytes`);
  let left = 12;
  for (;;) {
    left -= page.MsgCnt;
    if (page.Complete === 1) break;
    page = await roam({ ...between, MaxTime: page.LastMsgTime, LastMsgKey: page.LastMsgKey });
  }
  t.equal(left, 0);
});

t.test('admin_getroammsg refuses what is wrong', async (t) => {
  const { key } = await send();
  const valid = { From_Account: 'mo', To_Account: 'lin', MaxCnt: 5, MinTime: 1, MaxTime: 4_294_967_295 };
  await refuses(t, service, 'openim/admin_getroammsg', valid, [
    [{ From_Account: undefined }, 90008, 'From_Account'],
    [{ From_Account: 'ghost' }, 90008, 'From_Account'],
    [{ To_Account: [] }, 90003, 'To_Account'],
    [{ To_Account: 'ghost' }, 90003, 'To_Account'],
    [{ MaxCnt: undefined }, 90010, 'MaxCnt'],
    [{ MaxCnt: 0 }, 90010, 'MaxCnt'],
    [{ MaxCnt: '5' }, 90010, 'MaxCnt'],
    [{ MinTime: undefined }, 90010, 'MinTime'],
    [{ MinTime: -1 }, 90010, 'MinTime'],
    [{ MaxTime: undefined }, 90010, 'MaxTime'],
    [{ MaxTime: 4_294_967_296 }, 90010, 'MaxTime'],
    [{ MaxTime: 0 }, 90010, 'MinTime'],
    [{ LastMsgKey: 5 }, 90054, 'LastMsgKey'],
    [{ LastMsgKey: 'x' }, 90054, 'LastMsgKey'],
    [{ LastMsgKey: key.replace(/^\d+/, '1') }, 90054, 'LastMsgKey'],
    [{ LastMsgKey: '1_1_0' }, 90054, 'LastMsgKey'],
  ]);
});

t.test('[M14] admin_set_msg_read and get_c2c_unread_msg_num', async (t) => {
  await make('u-1', 'u-2', 'u-3');
  const count = async (fields: object = {}) => {
    const { ActionStatus, ErrorCode, ErrorInfo, ...rest } = await call('openim/get_c2c_unread_msg_num', {
      To_Account: 'u-1',
      ...fields,
    });
    t.match({ ActionStatus, ErrorCode, ErrorInfo }, ok);
    return rest;
  };
  t.strictSame(await count(), { AllC2CUnreadMsgNum: 0 });
  const first = await send({ From_Account: 'u-2', To_Account: 'u-1' });
  service.clock.advance(10);
  await send({ From_Account: 'u-2', To_Account: 'u-1' });
  await send({ From_Account: 'u-3', To_Account: 'u-1' });
  await send({ From_Account: 'u-1', To_Account: 'u-3' });
  t.strictSame(await count(), { AllC2CUnreadMsgNum: 3 });
  t.strictSame(await count({ Peer_Account: ['u-3', 'ghost', 'u-2', 'lin', tooLongName] }), {
    C2CUnreadMsgNumList: [
      { Peer_Account: 'u-3', C2CUnreadMsgNum: 1 },
      { Peer_Account: 'u-2', C2CUnreadMsgNum: 2 },
      { Peer_Account: 'lin', C2CUnreadMsgNum: 0 },
    ],
    ErrorList: [
      { Peer_Account: 'ghost', ErrorCode: 70107 },
      { Peer_Account: tooLongName, ErrorCode: 70107 },
    ],
  });
  const read = { Report_Account: 'u-1', Peer_Account: 'u-2' };
  t.strictSame(await call('openim/admin_set_msg_read', { ...read, MsgReadTime: first.time }), ok);
  t.strictSame(await count({ Peer_Account: ['u-2'] }), {
    C2CUnreadMsgNumList: [{ Peer_Account: 'u-2', C2CUnreadMsgNum: 1 }],
  });
  t.strictSame(await call('openim/admin_set_msg_read', { ...read, MsgReadTime: 1 }), ok, 'never back');
  t.strictSame(await count(), { AllC2CUnreadMsgNum: 2 });
  t.strictSame(await call('openim/admin_set_msg_read', read), ok);
  t.strictSame(await count(), { AllC2CUnreadMsgNum: 1 });
  t.strictSame(await call('openim/admin_set_msg_read', { ...read, Peer_Account: 'lin' }), ok, 'who never spoke');

  await refuses(t, service, 'openim/admin_set_msg_read', { Report_Account: 'u-1', Peer_Account: 'u-3' }, [
    [{ Report_Account: undefined }, 90010, 'Report_Account'],
    [{ Report_Account: 'ghost' }, 90048, 'Report_Account'],
    [{ Report_Account: 5 }, 90010, 'Report_Account'],
    [{ Peer_Account: undefined }, 90010, 'Peer_Account'],
    [{ Peer_Account: ['u-3'] }, 90010, 'Peer_Account'],
    [{ Peer_Account: 'ghost' }, 90048, 'Peer_Account'],
    [{ MsgReadTime: -1 }, 90010, 'MsgReadTime'],
    [{ MsgReadTime: 'now' }, 90010, 'MsgReadTime'],
  ]);
  const ten = Array.from({ length: 10 }, () => 'u-2');
  t.match(await call('openim/get_c2c_unread_msg_num', { To_Account: 'u-1', Peer_Account: ten }), ok);
  await refuses(t, service, 'openim/get_c2c_unread_msg_num', { To_Account: 'u-1' }, [
    [{ To_Account: undefined }, 90003, 'To_Account'],
    [{ To_Account: ['u-1'] }, 90003, 'To_Account'],
    [{ To_Account: 'ghost' }, 90048, 'To_Account'],
    [{ Peer_Account: 'u-2' }, 90010, 'Peer_Account'],
    [{ Peer_Account: [] }, 90010, 'Peer_Account'],
    [{ Peer_Account: ['u-2', 5] }, 90010, 'Peer_Account[1]'],
    [{ Peer_Account: [...ten, 'u-3'] }, 90011, 'Peer_Account'],
  ]);
});

const noCursors = { TimeStamp: 0, StartIndex: 0, TopTimeStamp: 0, TopStartIndex: 0, AssistFlags: 7 };

t.test('[M9] recentcontact/get_list and delete', async (t) => {
  await make('c-0', 'c-1', 'c-2', 'c-3');
  const nowSec = Math.floor(service.clock() / 1_000);
  await importAt(nowSec - 30, 'x', { From_Account: 'c-0', To_Account: 'c-1' });
  await importAt(nowSec - 10, 'x', { From_Account: 'c-2', To_Account: 'c-0' });
  await importAt(nowSec - 20, 'x', { From_Account: 'c-3', To_Account: 'c-0' });
  const list = (fields: object = {}) =>
    call('recentcontact/get_list', { From_Account: 'c-0', ...noCursors, ...fields });
  const answer = await list();
  t.strictSame(answer, {
    ...ok,
    ErrorDisplay: '',
    SessionItem: [
      { Type: 1, To_Account: 'c-2', MsgTime: nowSec - 10, TopFlag: 0 },
      { Type: 1, To_Account: 'c-3', MsgTime: nowSec - 20, TopFlag: 0 },
      { Type: 1, To_Account: 'c-1', MsgTime: nowSec - 30, TopFlag: 0 },
    ],
    CompleteFlag: 1,
    TimeStamp: answer.TimeStamp,
    StartIndex: 0,
    TopTimeStamp: 0,
    TopStartIndex: 0,
  });
  t.ok(Number(answer.TimeStamp) >= nowSec);
  t.match(
    await call('recentcontact/get_list', { From_Account: 'c-0' }),
    { SessionItem: { length: 3 } },
    'cursors are 0 unless given',
  );

  t.strictSame(
    await call('recentcontact/delete', { From_Account: 'c-0', Type: 1, To_Account: 'c-3', ClearRamble: 0 }),
    { ...ok, ErrorDisplay: '' },
  );
  const names = async () =>
    ((await list()).SessionItem as { To_Account: string }[]).map(({ To_Account }) => To_Account);
  t.strictSame(await names(), ['c-2', 'c-1']);
  t.equal((await roam({ From_Account: 'c-0', To_Account: 'c-3' })).MsgCnt, 1, 'its history stays');
  t.match(await call('recentcontact/delete', { From_Account: 'c-0', Type: 1, To_Account: 'c-1', ClearRamble: 1 }), ok);
  t.equal((await roam({ From_Account: 'c-0', To_Account: 'c-1' })).MsgCnt, 0);
  t.equal((await roam({ From_Account: 'c-1', To_Account: 'c-0' })).MsgCnt, 1, 'the other side keeps its own');
  await send({ From_Account: 'c-3', To_Account: 'c-0' });
  t.strictSame(await names(), ['c-3', 'c-2'], 'back with the next message');
  t.match(await call('recentcontact/delete', { From_Account: 'c-0', Type: 1, To_Account: 'lin' }), ok, 'never spoken');

  await refuses(t, service, 'recentcontact/get_list', { From_Account: 'c-0', ...noCursors }, [
    [{ From_Account: undefined }, 50002, 'From_Account'],
    [{ From_Account: tooLongName }, 50002, 'From_Account'],
    [{ From_Account: 'ghost' }, 50001, 'From_Account'],
    [{ TimeStamp: -1 }, 50002, 'TimeStamp'],
    [{ StartIndex: 'x' }, 50002, 'StartIndex'],
    [{ TopTimeStamp: 4_294_967_296 }, 50002, 'TopTimeStamp'],
    [{ TopStartIndex: null }, 50002, 'TopStartIndex'],
    [{ AssistFlags: 1.5 }, 50002, 'AssistFlags'],
  ]);
  await refuses(t, service, 'recentcontact/delete', { From_Account: 'c-0', Type: 1, To_Account: 'c-2' }, [
    [{ From_Account: undefined }, 50002, 'From_Account'],
    [{ From_Account: 'ghost' }, 50001, 'From_Account'],
    [{ Type: undefined }, 50002, 'Type'],
    [{ Type: 2 }, 50002, 'Type'],
    [{ Type: '1' }, 50002, 'Type'],
    [{ To_Account: undefined }, 50002, 'To_Account'],
    [{ To_Account: 'ghost' }, 50001, 'To_Account'],
    [{ ClearRamble: 2 }, 50002, 'ClearRamble'],
  ]);
});

t.test(
  'recentcontact/get_list by pages gives each contact once, also when some come to the front meanwhile',
  async (t) => {
    const names = Array.from({ length: 12 }, (_, i) => `page-${i}`);
    await make('pager', ...names);
    const nowSec = Math.floor(service.clock() / 1_000);
    // Four of each second.
    for (const [i, name] of names.entries()) {
      await importAt(nowSec - 100 - Math.floor(i / 4), 'x', { From_Account: name, To_Account: 'pager' });
    }
    const edge = await openEdge(t, service, { options: { contactsPerPage: 3 } });
    let cursors: Record<string, unknown> = noCursors;
    const seen: string[] = [];
    let pages = 0;
    for (; pages < 10; pages++) {
      const page = await edge.call('recentcontact/get_list', { From_Account: 'pager', ...cursors });
      const { SessionItem, CompleteFlag, ActionStatus, ErrorCode, ErrorInfo, ErrorDisplay, ...next } = page;
      seen.push(...(SessionItem as { To_Account: string }[]).map(({ To_Account }) => To_Account));
      if (CompleteFlag === 1) break;
      cursors = next;
      // One that was seen already gets a new message.
      await send({ From_Account: String(seen[0]), To_Account: 'pager' });
    }
    t.strictSame([...seen].sort(), [...names].sort());
    t.equal(pages, 3);
  },
);

t.test('a page of contacts begins where the cursor says', async (t) => {
  // Of one second by conversation, whatever the order that they come in.
  const contacts = [
    [9, 2],
    [8, 5],
    [8, 7],
    [8, 3],
    [5, 4],
  ].map(([time = 0, conversationId = 0]) => ({ time, conversationId }));
  const page = (timeStamp: number, startIndex: number, limit = 2) => {
    const { items, next, complete } = contactsPage(contacts, { timeStamp, startIndex }, { limit, nowSec: 10 });
    return [items.map(({ conversationId }) => conversationId), next.timeStamp, next.startIndex, complete];
  };
  t.strictSame(page(0, 0), [[2, 7], 8, 7, false]);
  t.strictSame(page(8, 7), [[5, 3], 8, 3, false]);
  t.strictSame(page(8, 3), [[4], 10, 0, true]);
  t.strictSame(page(0, 0, 5), [[2, 7, 5, 3, 4], 10, 0, true]);
  t.strictSame(page(8, 6, 1), [[5], 8, 5, false], 'the one that it names is not there any more');
  t.strictSame(page(8, 0, 1), [[7], 8, 7, false], 'all of that time');
  t.strictSame(page(7, 0), [[4], 10, 0, true]);
  t.strictSame(page(0, 4), [[2, 7], 8, 7, false], 'no time: from the beginning');
  t.strictSame(page(1, 0), [[], 10, 0, true]);
});

t.test('histories end with the account that is asked about', async (t) => {
  t.ok(await account('lin'));
  await make('e-1', 'e-2');
  await send({ From_Account: 'e-1', To_Account: 'e-2' });
  await call('im_open_login_svc/account_delete', { DeleteItem: [{ UserID: 'e-1' }] });
  const valid = { From_Account: 'e-2', To_Account: 'e-1', MaxCnt: 5, MinTime: 1, MaxTime: 4_294_967_295 };
  t.match(await call('openim/admin_getroammsg', valid), { ErrorCode: 90003 });
});
