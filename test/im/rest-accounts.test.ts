import t from 'tap';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { longestName, ok, refuses, snapshot, tooLongName } from '../support/rest.ts';

const database = await openTestDatabase(t);
const service = await openIm(t, { database });
const { call } = service;
// The administrator's account is made at the first use.
await call('openim_dirty_words/get', {});

const importOne = 'im_open_login_svc/account_import';
const importMany = 'im_open_login_svc/multiaccount_import';
const kick = 'im_open_login_svc/kick';
const remove = 'im_open_login_svc/account_delete';
const check = 'im_open_login_svc/account_check';

const tags = ['Tag_Profile_IM_Nick', 'Tag_Profile_IM_Image'];
async function profileOf(name: string): Promise<unknown> {
  const { UserProfileItem } = await call('profile/portrait_get', { To_Account: [name], TagList: tags });
  const [{ ProfileItem }] = UserProfileItem as [{ ProfileItem: { Tag: string; Value: unknown }[] }];
  return Object.fromEntries(ProfileItem.map(({ Tag, Value }) => [Tag.slice('Tag_Profile_IM_'.length), Value]));
}
const exists = async (name: string) => (await service.im.accounts.find(imAppId, name as AccountId)) !== undefined;

t.test('[I1] account_import makes an account with its profile; again it updates what is given', async (t) => {
  const lin = { Identifier: 'lin', Nick: 'Lin', FaceUrl: 'https://img.example/lin.png' };
  t.strictSame(await call(importOne, lin), ok);
  t.strictSame(await profileOf('lin'), { Nick: 'Lin', Image: 'https://img.example/lin.png' });
  t.strictSame(await call(importOne, { UserID: 'lin', Nick: 'Lin Chen', Type: 1, Extra: [] }), ok, 'the later name');
  t.strictSame(await profileOf('lin'), { Nick: 'Lin Chen', Image: 'https://img.example/lin.png' });
  t.strictSame(await call(importOne, { Identifier: 'lin' }), ok);
  t.strictSame(await profileOf('lin'), { Nick: 'Lin Chen', Image: 'https://img.example/lin.png' });
  t.strictSame(await call(importOne, { Identifier: 'both', UserID: 'both' }), ok);

  t.strictSame(
    await call(importOne, { Identifier: longestName, Nick: 'é'.repeat(250), FaceUrl: '' }),
    ok,
    'at the limits',
  );
  t.strictSame(await profileOf(longestName), { Nick: 'é'.repeat(250), Image: '' });
});

t.test('account_import refuses what is wrong', async (t) => {
  await refuses(t, service, importOne, { Identifier: 'nobody' }, [
    [{ Identifier: undefined }, 70402, 'Identifier'],
    [{ Identifier: 5 }, 70402, 'Identifier'],
    [{ Identifier: '' }, 70402, 'Identifier'],
    [{ Identifier: tooLongName }, 70402, 'Identifier'],
    [{ Identifier: 'a\nb' }, 70402, 'Identifier'],
    [{ Identifier: 'a\ud800' }, 70402, 'Identifier'],
    [{ UserID: 'somebody else' }, 70402, 'UserID'],
    [{ Nick: 1 }, 70402, 'Nick'],
    [{ Nick: null }, 70402, 'Nick'],
    [{ Nick: `${'é'.repeat(250)}x` }, 70402, 'Nick'],
    [{ Nick: 'a\0' }, 70402, 'Nick'],
    [{ Nick: 'a\udc00' }, 70402, 'Nick'],
    [{ FaceUrl: 'x'.repeat(501) }, 70402, 'FaceUrl'],
    [{ FaceUrl: [] }, 70402, 'FaceUrl'],
    [{ Type: 2 }, 70402, 'Type'],
    [{ Type: '0' }, 70402, 'Type'],
  ]);
  t.notOk(await exists('nobody'));
});

t.test('[I1] multiaccount_import makes many, and names those that can be none', async (t) => {
  t.strictSame(await call(importMany, { Accounts: ['mo', 'zed', ''] }), { ...ok, FailAccounts: [''] });
  t.ok(await exists('mo'));
  const list = [
    { UserID: 'kay', Nick: 'Kay', FaceUrl: 'https://img.example/kay.png' },
    { UserID: tooLongName, Nick: 'x' },
    { UserID: 'mo', Nick: 'Mo' },
  ];
  t.strictSame(await call(importMany, { AccountList: list }), { ...ok, FailAccounts: [tooLongName] });
  t.strictSame(await profileOf('kay'), { Nick: 'Kay', Image: 'https://img.example/kay.png' });
  t.strictSame(await profileOf('mo'), { Nick: 'Mo' });

  const hundred = Array.from({ length: 100 }, (_, i) => `many-${i}`);
  t.strictSame(await call(importMany, { Accounts: hundred }), { ...ok, FailAccounts: [] });
  t.ok(await exists('many-99'));
  const before = await snapshot(service.db);
  t.strictSame(await call(importMany, { Accounts: ['', ''] }), { ...ok, FailAccounts: ['', ''] });
  t.equal(await snapshot(service.db), before);
});

t.test('multiaccount_import refuses what is wrong', async (t) => {
  await refuses(t, service, importMany, { Accounts: ['new-1'] }, [
    [{ Accounts: undefined }, 70402, 'Accounts'],
    [{ AccountList: [{ UserID: 'new-2' }] }, 70402, 'Accounts'],
    [{ Accounts: 'new-1' }, 70402, 'Accounts'],
    [{ Accounts: [] }, 70402, 'Accounts'],
    [{ Accounts: Array.from({ length: 101 }, (_, i) => `new-${i}`) }, 70402, 'Accounts'],
    [{ Accounts: ['new-1', 5] }, 70402, 'Accounts[1]'],
    [{ Accounts: undefined, AccountList: ['new-1'] }, 70402, 'AccountList[0]'],
    [{ Accounts: undefined, AccountList: [{ Nick: 'x' }] }, 70402, 'AccountList[0].UserID'],
    [{ Accounts: undefined, AccountList: [{ UserID: 'a' }, { UserID: 'b', Nick: 5 }] }, 70402, 'AccountList[1].Nick'],
    [
      { Accounts: undefined, AccountList: [{ UserID: 'a', FaceUrl: 'x'.repeat(501) }] },
      70402,
      'AccountList[0].FaceUrl',
    ],
  ]);
});

t.test('[I4] kick ends every UserSig of the account that was issued until that second', async (t) => {
  await service.im.accounts.ensure(imAppId, 'second-admin' as AccountId);
  service.setApps([{ ...service.app, admins: ['admin', 'second-admin'] }]);
  const old = { identifier: 'second-admin', usersig: service.userSig('second-admin', { ago: 10 }) };
  t.match(await call('openim_dirty_words/get', {}, old), ok);
  const now = { ...old, usersig: service.userSig('second-admin', { ago: 0 }) };
  t.strictSame(await call(kick, { Identifier: 'second-admin' }), ok);
  t.match(await call('openim_dirty_words/get', {}, old), { ActionStatus: 'FAIL', ErrorCode: 70052 });
  t.match(await call('openim_dirty_words/get', {}, now), { ErrorCode: 70052 }, 'of the same second');
  const later = { ...old, usersig: service.userSig('second-admin', { ago: -2 }) };
  t.match(await call('openim_dirty_words/get', {}, later), ok, 'a later one is good');
  t.strictSame(await call(kick, { UserID: 'second-admin' }), ok, 'the later name of the field');

  const other = await openIm(t, { database, apps: [{ ...service.app, admins: ['admin', 'second-admin'] }] });
  const again = { ...old, usersig: other.userSig('second-admin', { ago: -5 }) };
  t.match(await other.call('openim_dirty_words/get', {}, again), ok);
  service.clock.advance(10);
  t.strictSame(await call(kick, { Identifier: 'second-admin' }), ok);
  await until(async () => (await other.call('openim_dirty_words/get', {}, again)).ErrorCode === 70052);
  service.setApps([service.app]);
});

t.test('kick refuses what is wrong', async (t) => {
  await refuses(t, service, kick, { Identifier: 'lin' }, [
    [{ Identifier: undefined }, 70402, 'Identifier'],
    [{ Identifier: {} }, 70402, 'Identifier'],
    [{ Identifier: tooLongName }, 70402, 'Identifier'],
    [{ Identifier: 'ghost' }, 70107, 'Identifier'],
  ]);
});

t.test('account_delete deletes those that there are, and says which there are not', async (t) => {
  await call(importMany, { Accounts: ['gone-1', 'gone-2', 'stays'] });
  const sig = service.userSig('gone-1');
  const ghost = { ResultCode: 70107, ResultInfo: 'Err_TLS_PT_Open_Login_Account_Not_Exist' };
  const items = ['gone-1', 'ghost', '', 'gone-1'].map((UserID) => ({ UserID }));
  t.strictSame(await call(remove, { DeleteItem: items }), {
    ...ok,
    ResultItem: [
      { ResultCode: 0, ResultInfo: '', UserID: 'gone-1' },
      { ...ghost, UserID: 'ghost' },
      { ...ghost, UserID: '' },
      { ResultCode: 0, ResultInfo: '', UserID: 'gone-1' },
    ],
  });
  t.notOk(await exists('gone-1'));
  t.ok(await exists('stays'));
  service.setApps([{ ...service.app, admins: ['admin', 'gone-1'] }]);
  const answer = await call('openim_dirty_words/get', {}, { identifier: 'gone-1', usersig: sig });
  t.match(answer, { ErrorCode: 70052 }, 'its UserSigs end with it');
  service.setApps([service.app]);

  const hundred = [{ UserID: 'gone-2' }, ...Array.from({ length: 99 }, (_, i) => ({ UserID: `ghost-${i}` }))];
  const { ResultItem } = await call(remove, { DeleteItem: hundred });
  t.equal((ResultItem as unknown[]).length, 100);
  t.notOk(await exists('gone-2'));

  await refuses(t, service, remove, { DeleteItem: [{ UserID: 'stays' }] }, [
    [{ DeleteItem: undefined }, 70402, 'DeleteItem'],
    [{ DeleteItem: {} }, 70402, 'DeleteItem'],
    [{ DeleteItem: [] }, 70402, 'DeleteItem'],
    [{ DeleteItem: ['stays'] }, 70402, 'DeleteItem[0]'],
    [{ DeleteItem: [{ UserID: 'stays' }, {}] }, 70402, 'DeleteItem[1].UserID'],
    [{ DeleteItem: [{ UserID: 5 }] }, 70402, 'DeleteItem[0].UserID'],
    [{ DeleteItem: Array.from({ length: 101 }, () => ({ UserID: 'stays' })) }, 70402, 'DeleteItem'],
  ]);
});

t.test('account_check tells which accounts there are', async (t) => {
  await call(importOne, { Identifier: 'checked' });
  const before = await snapshot(service.db);
  const item = (UserID: string, AccountStatus: string) => ({ UserID, ResultCode: 0, ResultInfo: '', AccountStatus });
  t.strictSame(await call(check, { CheckItem: [{ UserID: 'checked' }, { UserID: 'nobody' }, { UserID: 'a\0' }] }), {
    ...ok,
    ResultItem: [item('checked', 'Imported'), item('nobody', 'NotImported'), item('a\0', 'NotImported')],
  });
  const hundred = Array.from({ length: 100 }, (_, i) => ({ UserID: `no-${i}` }));
  t.match(await call(check, { CheckItem: hundred }), ok);
  t.equal(await snapshot(service.db), before);
  await refuses(t, service, check, { CheckItem: [{ UserID: 'checked' }] }, [
    [{ CheckItem: undefined }, 70402, 'CheckItem'],
    [{ CheckItem: 'checked' }, 70402, 'CheckItem'],
    [{ CheckItem: [] }, 70402, 'CheckItem'],
    [{ CheckItem: [...hundred, { UserID: 'x' }] }, 70402, 'CheckItem'],
    [{ CheckItem: [null] }, 70402, 'CheckItem[0]'],
    [{ CheckItem: [{ UserID: null }] }, 70402, 'CheckItem[0].UserID'],
  ]);
});
