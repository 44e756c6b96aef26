import t from 'tap';
import type { Account } from '../../src/im/index.ts';
import type { Platform } from '../../src/im/services.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { ok, refuses, snapshot, text, tooLongName } from '../support/rest.ts';

const database = await openTestDatabase(t);
const service = await openIm(t, {
  database,
  app: {
    multiTerminal: 'all',
    dirtyWords: 60,
    profileFields: [
      { keyword: 'Team', type: 'string', read: 'app', write: 'app' },
      { keyword: 'Key', type: 'bytes', read: 'admin', write: 'admin' },
    ],
  },
});
const { call } = service;
await call('im_open_login_svc/multiaccount_import', { Accounts: ['admin', 'lin', 'mo'] });
const make = (...names: string[]) => call('im_open_login_svc/multiaccount_import', { Accounts: names });
const done = { ...ok, ErrorDisplay: '' };

const get = (To_Account: string[], TagList: string[]) => call('profile/portrait_get', { To_Account, TagList });
const set = (From_Account: string, items: Record<string, unknown>) =>
  call('profile/portrait_set', {
    From_Account,
    ProfileItem: Object.entries(items).map(([Tag, Value]) => ({ Tag, Value })),
  });

t.test('[U1] [U7] portrait_get reads fields of many accounts', async (t) => {
  await call('im_open_login_svc/account_import', { Identifier: 'lin', Nick: 'Lin' });
  t.strictSame(await get(['lin'], ['Tag_Profile_IM_Nick', 'Tag_Profile_IM_AllowType']), {
    ...done,
    UserProfileItem: [
      {
        To_Account: 'lin',
        ProfileItem: [
          { Tag: 'Tag_Profile_IM_Nick', Value: 'Lin' },
          { Tag: 'Tag_Profile_IM_AllowType', Value: 'AllowType_Type_AllowAny' },
        ],
        ResultCode: 0,
        ResultInfo: '',
      },
    ],
    Fail_Account: [],
    Invalid_Account: [],
  });
  const answer = await get(
    ['ghost', 'mo', 'ghost', tooLongName],
    ['Tag_Profile_IM_Image', 'Tag_Profile_IM_AdminForbidType'],
  );
  t.match(answer, {
    ...done,
    UserProfileItem: [
      { To_Account: 'ghost', ProfileItem: [], ResultCode: 40003, ResultInfo: /./ },
      { To_Account: 'mo', ProfileItem: [{ Value: 'AdminForbid_Type_None' }], ResultCode: 0 },
      { To_Account: tooLongName, ResultCode: 40003 },
    ],
    Fail_Account: [],
    Invalid_Account: ['ghost', tooLongName],
  });
  const hundred = Array.from({ length: 100 }, (_, i) => (i === 0 ? 'lin' : `no-${i}`));
  t.match(await get(hundred, ['Tag_Profile_IM_Nick']), done);

  const valid = { To_Account: ['lin'], TagList: ['Tag_Profile_IM_Nick'] };
  await refuses(t, service, 'profile/portrait_get', valid, [
    [{ To_Account: undefined }, 40002, 'To_Account'],
    [{ To_Account: 'lin' }, 40002, 'To_Account'],
    [{ To_Account: [] }, 40002, 'To_Account'],
    [{ To_Account: ['lin', 5] }, 40002, 'To_Account[1]'],
    [{ To_Account: [...hundred, 'mo'] }, 40001, 'To_Account'],
    [{ TagList: undefined }, 40001, 'TagList'],
    [{ TagList: 'Tag_Profile_IM_Nick' }, 40001, 'TagList'],
    [{ TagList: [] }, 40001, 'TagList'],
    [{ TagList: [5] }, 40001, 'TagList[0]'],
    [{ TagList: ['Tag_Profile_IM_Nick', 'Tag_Profile_IM_Hat'] }, 40009, 'TagList[1]'],
    [{ TagList: ['nick'] }, 40009, 'TagList[0]'],
    [{ To_Account: ['ghost'], TagList: ['Tag_Profile_Custom_Hat'] }, 40009, 'TagList[0]'],
  ]);
});

t.test('[U2] portrait_set sets all fields or none, custom ones by either tag', async (t) => {
  const fields = {
    Tag_Profile_IM_AllowType: 'AllowType_Type_NeedConfirm',
    Tag_Profile_Custom_Team: 'red',
    Tag_Profile_Custom_Key: 'AAEC',
    Tag_Profile_IM_Nick: 'é'.repeat(250),
    Tag_Profile_IM_BirthDay: 4_294_967_295,
    Tag_Profile_IM_Level: 0,
    Tag_Profile_IM_Gender: 'Gender_Type_Female',
  };
  t.strictSame(await set('lin', fields), done);
  const long = `Tag_Profile_Custom_${imAppId}_Team`;
  const { UserProfileItem } = await get(['lin'], [...Object.keys(fields), long]);
  const [{ ProfileItem }] = UserProfileItem as [{ ProfileItem: { Tag: string; Value: unknown }[] }];
  t.strictSame(Object.fromEntries(ProfileItem.map(({ Tag, Value }) => [Tag, Value])), { ...fields, [long]: 'red' });
  t.strictSame(await set('lin', { [long]: 'blue' }), done);
  t.match(await get(['lin'], ['Tag_Profile_Custom_Team']), { UserProfileItem: [{ ProfileItem: [{ Value: 'blue' }] }] });

  await call('openim_dirty_words/add', { DirtyWordsList: ['nasty'] });
  const one = (Tag: unknown, Value: unknown) => ({
    ProfileItem: [
      { Tag: 'Tag_Profile_IM_Location', Value: 'Berlin' },
      { Tag, Value },
    ],
  });
  await refuses(t, service, 'profile/portrait_set', { From_Account: 'mo', ...one('Tag_Profile_IM_Nick', 'Mo') }, [
    [{ From_Account: undefined }, 40001, 'From_Account'],
    [{ From_Account: ['mo'] }, 40001, 'From_Account'],
    [{ From_Account: tooLongName }, 40001, 'From_Account'],
    [{ From_Account: 'ghost' }, 40003, 'From_Account'],
    [{ ProfileItem: undefined }, 40001, 'ProfileItem'],
    [{ ProfileItem: {} }, 40001, 'ProfileItem'],
    [{ ProfileItem: [] }, 40001, 'ProfileItem'],
    [{ ProfileItem: ['x'] }, 40001, 'ProfileItem[0]'],
    [{ ProfileItem: [{ Tag: 'Tag_Profile_IM_Nick' }] }, 40001, 'ProfileItem[0].Value'],
    [one(undefined, 'x'), 40001, 'ProfileItem[1].Tag'],
    [one(5, 'x'), 40001, 'ProfileItem[1].Tag'],
    [one('Tag_Profile_IM_Hat', 'x'), 40009, 'ProfileItem[1].Tag'],
    [one('nick', 'x'), 40009, 'ProfileItem[1].Tag'],
    [one('__proto__', 'x'), 40009, 'ProfileItem[1].Tag'],
    [one('Tag_Profile_IM_Location', 'x'), 40009, 'ProfileItem[1].Tag'],
    [one('Tag_Profile_IM_Nick', 'nasty'), 40005, 'Tag_Profile_IM_Nick'],
    [one('Tag_Profile_IM_Nick', `${'é'.repeat(250)}x`), 40601, 'Tag_Profile_IM_Nick'],
    [one('Tag_Profile_IM_Nick', 5), 40610, 'Tag_Profile_IM_Nick'],
    [one('Tag_Profile_IM_Nick', null), 40610, 'Tag_Profile_IM_Nick'],
    [one('Tag_Profile_IM_BirthDay', '19900101'), 40610, 'Tag_Profile_IM_BirthDay'],
    [one('Tag_Profile_IM_BirthDay', 4_294_967_296), 40605, 'Tag_Profile_IM_BirthDay'],
    [one('Tag_Profile_IM_Gender', 'Other'), 40605, 'Tag_Profile_IM_Gender'],
    [one('Tag_Profile_Custom_Team', 'x'.repeat(501)), 40601, 'Tag_Profile_Custom_Team'],
    [one('Tag_Profile_Custom_Key', 'not base64!'), 40605, 'Tag_Profile_Custom_Key'],
  ]);
  await call('openim_dirty_words/delete', { DirtyWordsList: ['nasty'] });
});

t.test('[D1] dirty words are added, listed and taken off', async (t) => {
  const list = async () => ((await call('openim_dirty_words/get', {})).DirtyWordsList as string[]).sort();
  t.strictSame(await call('openim_dirty_words/get', {}), { ...ok, DirtyWordsList: [] });
  t.strictSame(await call('openim_dirty_words/add', { DirtyWordsList: ['cheap pills', 'spam'] }), ok);
  t.strictSame(await list(), ['cheap pills', 'spam']);
  const message = { To_Account: 'mo', MsgRandom: 1, MsgBody: [text('no SPAM')] };
  t.match(await call('openim/sendmsg', message), { ErrorCode: 80001 });
  t.strictSame(await call('openim_dirty_words/delete', { DirtyWordsList: ['spam', 'never there'] }), ok);
  t.strictSame(await list(), ['cheap pills']);
  t.match(await call('openim/sendmsg', message), ok);

  const fifty = Array.from({ length: 50 }, (_, i) => `word ${i}`);
  t.strictSame(await call('openim_dirty_words/add', { DirtyWordsList: [...fifty.slice(0, 49), 'é'.repeat(100)] }), ok);
  const nine = fifty.slice(0, 9).map((word) => `more ${word}`);
  t.strictSame(await call('openim_dirty_words/add', { DirtyWordsList: nine }), ok);
  t.equal((await list()).length, 60);
  const refusals = [
    [{ DirtyWordsList: undefined }, 10004, 'DirtyWordsList'],
    [{ DirtyWordsList: 'spam' }, 10004, 'DirtyWordsList'],
    [{ DirtyWordsList: [] }, 10004, 'DirtyWordsList'],
    [{ DirtyWordsList: [...fifty, 'one more'] }, 10004, 'DirtyWordsList'],
    [{ DirtyWordsList: ['x', 5] }, 10004, 'DirtyWordsList[1]'],
    [{ DirtyWordsList: [''] }, 10004, 'DirtyWordsList[0]'],
    [{ DirtyWordsList: [`${'é'.repeat(100)}x`] }, 10004, 'DirtyWordsList[0]'],
    [{ DirtyWordsList: ['a\0'] }, 10004, 'DirtyWordsList[0]'],
  ] as const;
  const tooMany = [{ DirtyWordsList: ['one beyond'] }, 10004, 'DirtyWordsList'] as const;
  await refuses(t, service, 'openim_dirty_words/add', { DirtyWordsList: ['new'] }, [...refusals, tooMany]);
  await refuses(t, service, 'openim_dirty_words/delete', { DirtyWordsList: ['word 1'] }, refusals);
});

let links = 0;
async function login(name: string, platform: Platform) {
  const account = (await service.im.accounts.find(imAppId, name as AccountId)) as Account;
  const linkId = `link-${++links}`;
  await service.im.presence.login({ account, platform, linkId });
  return () => service.im.presence.leave(account, platform, linkId, 'link-closed');
}

t.test('[P2] querystate and query_online_status tell of states', async (t) => {
  await make('off', 'on', 'push', 'pc');
  await login('on', 'Android');
  await (await login('push', 'iOS'))();
  await login('pc', 'Web');
  await login('pc', 'Linux');
  await (await login('pc', 'Windows'))();
  await (await login('pc', 'iPad'))();
  const before = await snapshot(service.db);
  const accounts = ['on', 'off', 'push', 'ghost', 'on', tooLongName];
  const ErrorList = [
    { To_Account: 'ghost', ErrorCode: 70107 },
    { To_Account: tooLongName, ErrorCode: 70107 },
  ];
  t.strictSame(await call('openim/querystate', { To_Account: accounts }), {
    ...ok,
    QueryResult: [
      { To_Account: 'on', State: 'Online' },
      { To_Account: 'off', State: 'Offline' },
      { To_Account: 'push', State: 'PushOnline' },
    ],
    ErrorList,
  });
  t.strictSame(await call('openim/querystate', { To_Account: ['off'] }), {
    ...ok,
    QueryResult: [{ To_Account: 'off', State: 'Offline' }],
  });
  t.strictSame(await call('openim/query_online_status', { To_Account: accounts, IsNeedDetail: 0 }), {
    ...ok,
    QueryResult: [
      { To_Account: 'on', Status: 'Online' },
      { To_Account: 'off', Status: 'Offline' },
      { To_Account: 'push', Status: 'PushOnline' },
    ],
    ErrorList,
  });
  const detailed = await call('openim/query_online_status', { To_Account: ['push', 'pc', 'off'], IsNeedDetail: 1 });
  const [push, pc, off] = detailed.QueryResult as { Detail: { Platform: string; Status: string }[] }[];
  t.strictSame(push?.Detail, [{ Platform: 'iPhone', Status: 'PushOnline' }]);
  t.strictSame(off?.Detail, []);
  t.strictSame(
    pc?.Detail.sort((a, b) => (a.Platform < b.Platform ? -1 : 1)),
    [
      { Platform: 'PC', Status: 'Online' },
      { Platform: 'Web', Status: 'Online' },
      { Platform: 'iPad', Status: 'PushOnline' },
    ],
  );
  t.equal(await snapshot(service.db), before);

  const many = Array.from({ length: 500 }, (_, i) => `no-${i}`);
  t.match(await call('openim/querystate', { To_Account: many }), ok);
  for (const command of ['openim/querystate', 'openim/query_online_status']) {
    await refuses(t, service, command, { To_Account: ['on'] }, [
      [{ To_Account: undefined }, 90003, 'To_Account'],
      [{ To_Account: 'on' }, 90003, 'To_Account'],
      [{ To_Account: ['on', 5] }, 90003, 'To_Account[1]'],
      [{ To_Account: [] }, 90001, 'To_Account'],
      [{ To_Account: [...many, 'on'] }, 90011, 'To_Account'],
    ]);
  }
  await refuses(t, service, 'openim/query_online_status', { To_Account: ['on'] }, [
    [{ IsNeedDetail: 2 }, 90010, 'IsNeedDetail'],
    [{ IsNeedDetail: '1' }, 90010, 'IsNeedDetail'],
  ]);
});
