import t from 'tap';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { ok, refuses, text, tooLongName } from '../support/rest.ts';

const database = await openTestDatabase(t);
const service = await openIm(t, { database, app: { campaignPerSec: 0 } });
const { call, clock } = service;
await call('im_open_login_svc/multiaccount_import', { Accounts: ['admin', 'lin', 'mo', 'zed'] });
const longest = 'é'.repeat(25);
const tooLong = `${longest}x`;
const MsgBody = [text('sale')];
let randoms = 0;

/** A push to many, in time after the one before. */
const push = (body: object) => {
  clock.advance(2);
  return call('openim/im_push', { MsgRandom: ++randoms, MsgBody, ...body });
};
const report = async (TaskId: unknown) => {
  const answer = await call('openim/im_get_push_report', { TaskIds: [TaskId] });
  return (answer.Reports as Record<string, unknown>[])[0];
};
/** Nothing is changed any more by what goes on by itself. */
const settled = () =>
  until(async () => {
    const { rows } = await database.db.pool.query(`select from campaign where state in ('waiting', 'running')`);
    return rows.length === 0;
  });
const names = (count: number, name = 'lin') => Array.from({ length: count }, () => name);

t.test('im_set_attr_name and im_get_attr_name: ten names, by slot', async (t) => {
  t.strictSame(await call('openim/im_get_attr_name', {}), { ...ok, AttrNames: {} });
  t.strictSame(await call('openim/im_set_attr_name', { AttrNames: { 0: 'sex', 1: 'city' } }), ok);
  t.strictSame(await call('openim/im_set_attr_name', { AttrNames: { 9: longest } }), ok);
  const AttrNames = { 0: 'sex', 1: 'city', 9: longest };
  t.strictSame(await call('openim/im_get_attr_name', {}), { ...ok, AttrNames });
  t.strictSame(
    await call('openim/im_set_attr_name', { AttrNames: { 0: 'city', 1: 'sex' } }),
    ok,
    'they may change places',
  );
  t.strictSame(await call('openim/im_set_attr_name', { AttrNames: { 0: 'sex', 1: 'city' } }), ok);

  await refuses(t, service, 'openim/im_set_attr_name', { AttrNames: { 2: 'hat' } }, [
    [{ AttrNames: undefined }, 90019, 'AttrNames'],
    [{ AttrNames: 'hat' }, 90019, 'AttrNames'],
    [{ AttrNames: ['hat'] }, 90019, 'AttrNames'],
    [{ AttrNames: {} }, 90019, 'AttrNames'],
    [{ AttrNames: { 10: 'hat' } }, 90020, 'AttrNames.10'],
    [{ AttrNames: { '01': 'hat' } }, 90020, 'AttrNames.01'],
    [{ AttrNames: { hat: 'hat' } }, 90020, 'AttrNames.hat'],
    [{ AttrNames: { 2: 5 } }, 90020, 'AttrNames.2'],
    [{ AttrNames: { 2: 'a\0' } }, 90020, 'AttrNames.2'],
    [{ AttrNames: { 2: '' } }, 90030, 'AttrNames.2'],
    [{ AttrNames: { 2: tooLong } }, 90030, 'AttrNames.2'],
    [{ AttrNames: { 2: 'city' } }, 90020, 'AttrNames.2'],
    [{ AttrNames: { 2: 'hat', 3: 'hat' } }, 90020, 'AttrNames.3'],
  ]);
});

t.test('im_set_attr, im_get_attr and im_remove_attr', async (t) => {
  const set = await call('openim/im_set_attr', {
    UserAttrs: [
      { To_Account: 'lin', Attrs: { city: 'Berlin', sex: 'f' } },
      { To_Account: 'mo', Attrs: { city: 'Oslo' } },
      { To_Account: 'mo', Attrs: { city: longest } },
    ],
  });
  t.strictSame(set, ok);
  const get = () => call('openim/im_get_attr', { To_Account: ['mo', 'lin', 'zed', 'ghost', tooLongName] });
  const UserAttrs = [
    { To_Account: 'mo', Attrs: { city: longest } },
    { To_Account: 'lin', Attrs: { sex: 'f', city: 'Berlin' } },
    { To_Account: 'zed', Attrs: {} },
    { To_Account: 'ghost', Attrs: {} },
    { To_Account: tooLongName, Attrs: {} },
  ];
  t.strictSame(await get(), { ...ok, UserAttrs });
  await call('openim/im_set_attr_name', { AttrNames: { 1: 'town' } });
  t.match(
    await get(),
    { UserAttrs: [{ Attrs: { town: longest } }] },
    'an attribute with another name keeps its values',
  );
  await call('openim/im_set_attr_name', { AttrNames: { 1: 'city' } });
  t.strictSame(
    await call('openim/im_remove_attr', {
      UserAttrs: [
        { To_Account: 'lin', Attrs: ['city'] },
        { To_Account: 'zed', Attrs: ['city', 'sex'] },
      ],
    }),
    ok,
  );
  t.match(await get(), { UserAttrs: [{ Attrs: { city: longest } }, { Attrs: { sex: 'f', city: undefined } }] });

  const one = { UserAttrs: [{ To_Account: 'lin', Attrs: { city: 'Berlin' } }] };
  const attrs = (Attrs: unknown, To_Account: unknown = 'lin') => ({
    UserAttrs: [...one.UserAttrs, { To_Account, Attrs }],
  });
  await refuses(t, service, 'openim/im_set_attr', one, [
    [{ UserAttrs: undefined }, 90019, 'UserAttrs'],
    [{ UserAttrs: {} }, 90019, 'UserAttrs'],
    [{ UserAttrs: [] }, 90019, 'UserAttrs'],
    [{ UserAttrs: names(501).map(() => one.UserAttrs[0]) }, 90018, 'UserAttrs'],
    [{ UserAttrs: ['lin'] }, 90019, 'UserAttrs[0]'],
    [attrs({ city: 'x' }, 5), 90035, 'UserAttrs[1].To_Account'],
    [attrs({ city: 'x' }, 'ghost'), 90035, 'UserAttrs[1].To_Account'],
    [attrs({ city: 'x' }, tooLongName), 90035, 'UserAttrs[1].To_Account'],
    [attrs(undefined), 90020, 'UserAttrs[1].Attrs'],
    [attrs(['city']), 90020, 'UserAttrs[1].Attrs'],
    [attrs({}), 90020, 'UserAttrs[1].Attrs'],
    [attrs({ hat: 'x' }), 90033, 'UserAttrs[1].Attrs.hat'],
    [attrs({ city: 5 }), 90020, 'UserAttrs[1].Attrs.city'],
    [attrs({ city: '' }), 90030, 'UserAttrs[1].Attrs.city'],
    [attrs({ city: tooLong }), 90030, 'UserAttrs[1].Attrs.city'],
    [attrs({ city: '\ud800' }), 90020, 'UserAttrs[1].Attrs.city'],
  ]);
  await refuses(t, service, 'openim/im_get_attr', { To_Account: ['lin'] }, getRefusals);
  await refuses(t, service, 'openim/im_remove_attr', { UserAttrs: [{ To_Account: 'lin', Attrs: ['sex'] }] }, [
    [{ UserAttrs: undefined }, 90021, 'UserAttrs'],
    [{ UserAttrs: [] }, 90021, 'UserAttrs'],
    [{ UserAttrs: names(501).map(() => ({ To_Account: 'lin', Attrs: ['sex'] })) }, 90018, 'UserAttrs'],
    [{ UserAttrs: [null] }, 90021, 'UserAttrs[0]'],
    [{ UserAttrs: [{ To_Account: 'lin', Attrs: { sex: 'f' } }] }, 90021, 'UserAttrs[0].Attrs'],
    [{ UserAttrs: [{ To_Account: 'lin', Attrs: [] }] }, 90021, 'UserAttrs[0].Attrs'],
    [{ UserAttrs: [{ To_Account: 'lin', Attrs: [5] }] }, 90021, 'UserAttrs[0].Attrs[0]'],
    [{ UserAttrs: [{ To_Account: 'lin', Attrs: ['sex', 'hat'] }] }, 90033, 'UserAttrs[0].Attrs[1]'],
    [{ UserAttrs: [{ To_Account: 'ghost', Attrs: ['sex'] }] }, 90035, 'UserAttrs[0].To_Account'],
  ]);
});

const getRefusals = [
  [{ To_Account: undefined }, 90023, 'To_Account'],
  [{ To_Account: 'lin' }, 90023, 'To_Account'],
  [{ To_Account: [] }, 90023, 'To_Account'],
  [{ To_Account: names(501) }, 90018, 'To_Account'],
  [{ To_Account: ['lin', 5] }, 90035, 'To_Account[1]'],
] as const;

t.test('im_add_tag, im_get_tag, im_remove_tag and im_remove_all_tags', async (t) => {
  const add = (To_Account: string, ...Tags: string[]) => ({ To_Account, Tags });
  t.strictSame(
    await call('openim/im_add_tag', {
      UserTags: [add('lin', 'north', 'gold', 'gold'), add('mo', longest), add('lin', 'gold')],
    }),
    ok,
  );
  const get = () => call('openim/im_get_tag', { To_Account: ['lin', 'mo', 'zed', 'ghost'] });
  t.strictSame(await get(), {
    ...ok,
    UserTags: [add('lin', 'gold', 'north'), add('mo', longest), add('zed'), add('ghost')],
  });
  t.strictSame(await call('openim/im_remove_tag', { UserTags: [add('lin', 'gold', 'none'), add('zed', 'gold')] }), ok);
  t.match(await get(), { UserTags: [add('lin', 'north'), add('mo', longest)] });

  const hundred = Array.from({ length: 10 }, (_, ten) =>
    add('zed', ...Array.from({ length: 10 }, (_, i) => `t${ten * 10 + i}`)),
  );
  t.strictSame(await call('openim/im_add_tag', { UserTags: hundred }), ok);
  t.strictSame(await call('openim/im_add_tag', { UserTags: [add('zed', 't7')] }), ok, 'one that he has already');
  const valid = { UserTags: [add('mo', 'new')] };
  await refuses(t, service, 'openim/im_add_tag', valid, [
    [{ UserTags: undefined }, 90019, 'UserTags'],
    [{ UserTags: 'gold' }, 90019, 'UserTags'],
    [{ UserTags: [] }, 90019, 'UserTags'],
    [{ UserTags: names(501).map((name) => add(name, 'gold')) }, 90018, 'UserTags'],
    [{ UserTags: [['lin']] }, 90019, 'UserTags[0]'],
    [{ UserTags: [{ To_Account: 'lin' }] }, 90019, 'UserTags[0].Tags'],
    [{ UserTags: [add('lin')] }, 90019, 'UserTags[0].Tags'],
    [{ UserTags: [add('lin', ...names(11))] }, 90032, 'UserTags[0].Tags'],
    [{ UserTags: [add('lin', 'a', 5 as never)] }, 90019, 'UserTags[0].Tags[1]'],
    [{ UserTags: [add('lin', '')] }, 90030, 'UserTags[0].Tags[0]'],
    [{ UserTags: [add('lin', tooLong)] }, 90030, 'UserTags[0].Tags[0]'],
    [{ UserTags: [add('lin', 'gold'), add('ghost', 'gold')] }, 90035, 'UserTags[1].To_Account'],
    [{ UserTags: [add('lin', 'gold'), add('zed', 'one more')] }, 90046, 'UserTags[1].Tags'],
  ]);
  await refuses(t, service, 'openim/im_get_tag', { To_Account: ['lin'] }, getRefusals);
  await refuses(t, service, 'openim/im_remove_tag', { UserTags: [add('lin', 'north')] }, [
    [{ UserTags: undefined }, 90021, 'UserTags'],
    [{ UserTags: names(501).map((name) => add(name, 'gold')) }, 90018, 'UserTags'],
    [{ UserTags: [add('lin')] }, 90021, 'UserTags[0].Tags'],
    [{ UserTags: [add('lin', ...names(11))] }, 90032, 'UserTags[0].Tags'],
    [{ UserTags: [add('lin', tooLong)] }, 90030, 'UserTags[0].Tags[0]'],
    [{ UserTags: [add('ghost', 'gold')] }, 90035, 'UserTags[0].To_Account'],
  ]);
  await refuses(t, service, 'openim/im_remove_all_tags', { To_Account: ['zed'] }, [
    [{ To_Account: undefined }, 90021, 'To_Account'],
    [{ To_Account: [] }, 90021, 'To_Account'],
    [{ To_Account: names(501) }, 90018, 'To_Account'],
    [{ To_Account: [null] }, 90035, 'To_Account[0]'],
  ]);
  t.strictSame(await call('openim/im_remove_all_tags', { To_Account: ['zed', 'mo', 'ghost'] }), ok);
  t.match(await get(), { UserTags: [add('lin', 'north'), { Tags: { length: 0 } }, { Tags: { length: 0 } }] });
  await call('im_open_login_svc/account_import', { Identifier: 'gone' });
  await call('openim/im_add_tag', { UserTags: [add('gone', 'gold')] });
  await call('im_open_login_svc/account_delete', { DeleteItem: [{ UserID: 'gone' }] });
  await until(async () => {
    const { rows } = await database.db.pool.query(`select from audience_mark where value = 'gold'`);
    return rows.length === 0;
  });
  t.match(
    await call('openim/im_get_attr', { To_Account: ['lin'] }),
    { UserAttrs: [{ Attrs: { sex: 'f' } }] },
    'attributes stay',
  );
});

t.test('whoever locks several accounts does so in order of their names', async (t) => {
  // Made in the other order than their names.
  for (const name of ['y2', 'y1']) await call('im_open_login_svc/multiaccount_import', { Accounts: [name] });
  const { pool } = database.db;
  const both = ['y2', 'y1'];
  for (const [command, body] of [
    ['openim/im_add_tag', { UserTags: both.map((To_Account) => ({ To_Account, Tags: ['late'] })) }],
    ['openim/im_remove_all_tags', { To_Account: both }],
    ['im_open_login_svc/account_delete', { DeleteItem: both.map((UserID) => ({ UserID })) }],
  ] as const) {
    const client = await pool.connect();
    await client.query('begin');
    // As an import of both does.
    const lock = (name: string) => client.query('select from account where identifier = $1 for update', [name]);
    await lock('y1');
    const answer = call(command, body);
    await until(async () => {
      const { rows } = await pool.query(`select from pg_stat_activity where wait_event_type = 'Lock'`);
      return rows.length > 0;
    });
    await lock('y2');
    await client.query('commit');
    client.release();
    t.match(await answer, { ErrorCode: 0 }, command);
  }
});

t.test('an account that is deleted has no marks from the commit on, whatever becomes of the process', async (t) => {
  const { pool } = database.db;
  await call('im_open_login_svc/multiaccount_import', { Accounts: ['y3'] });
  await call('openim/im_add_tag', { UserTags: [{ To_Account: 'y3', Tags: ['gold'] }] });
  await pool.query(`
    create function has_marks() returns trigger language plpgsql as $$ begin
      if exists (select from audience_mark where account_id = new.id) then raise exception 'it has marks'; end if;
      return null;
    end $$;
    create constraint trigger marks after update of deleted_ms on account deferrable initially deferred
      for each row execute function has_marks()`);
  t.teardown(() => pool.query('drop function has_marks cascade'));
  t.match(await call('im_open_login_svc/account_delete', { DeleteItem: [{ UserID: 'y3' }] }), { ErrorCode: 0 });
});

t.test('[B2] [B6] im_push and its report', async (t) => {
  await call('openim/im_add_tag', { UserTags: [{ To_Account: 'mo', Tags: ['gold', 'north'] }] });
  await call('openim/im_set_attr', { UserAttrs: [{ To_Account: 'zed', Attrs: { city: 'Oslo' } }] });
  const before = clock();
  const answer = await push({ MsgLifeTime: 600, Condition: { TagsAnd: ['gold'], TagsOr: ['north', 'south'] } });
  t.match(answer, { ...ok, TaskId: new RegExp(`^${imAppId}_admin_[0-9]{10}_${randoms}$`) });
  const done = await until(async () => {
    const one = await report(answer.TaskId);
    return one?.Status === 2 && one;
  });
  const { StartTime, ...rest } = done;
  t.strictSame(rest, { TaskId: answer.TaskId, Status: 2, Finished: 1, Total: 1 });
  // The app's days begin at UTC+8.
  const startedMs = Date.parse(`${String(StartTime).replace(' ', 'T')}+08:00`);
  t.ok(startedMs > before - 1_000 && startedMs <= clock(), String(StartTime));
  t.match(StartTime, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);

  const others: [object, number][] = [
    [{ Condition: { AttrsAnd: { city: 'Oslo', sex: 'f' } } }, 0],
    [{ Condition: { AttrsOr: { city: 'Oslo', sex: 'f' } }, From_Account: 'zed' }, 1],
    [{ Condition: undefined }, 3],
    [{ From_Account: 'mo', OfflinePushInfo: { Title: 'news' }, MsgLifeTime: 604_800 }, 3],
  ];
  for (const [body, Total] of others) {
    const { TaskId } = await push({ MsgLifeTime: 600, ...body });
    const ended = await until(async () => {
      const one = await report(TaskId);
      return one?.Status === 2 && one;
    });
    t.match(ended, { Finished: Total, Total }, JSON.stringify(body));
  }
  const { TaskId: first } = answer;
  const { TaskId: second } = await push({ MsgLifeTime: 600 });
  const both = await call('openim/im_get_push_report', { TaskIds: [second, first, second] });
  t.match(both, { ...ok, Reports: [{ TaskId: second }, { TaskId: first, Finished: 1 }, { TaskId: second }] });

  // As if an operator had cancelled it before it began: whatever is not waiting has a StartTime.
  await settled();
  await database.db.pool.query(
    `update campaign set state = 'cancelled', started_ms = null, selected = 0, finished = 0 where task_id = $1`,
    [second],
  );
  t.match(await report(second), { Status: 2, StartTime: /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/, Finished: 0, Total: 0 });
  // Held up before it began, it is waiting.
  await database.db.pool.query(`update campaign set state = 'paused', ended_ms = null where task_id = $1`, [second]);
  t.strictSame(await report(second), { TaskId: second, Status: 0, Finished: 0, Total: 0 });
  await database.db.pool.query(`update campaign set state = 'cancelled' where task_id = $1`, [second]);

  const { rows } = await database.db.pool.query(`select seq from message where push = '{"Title":"news"}'`);
  t.equal(rows.length, 3, 'what devices are to show goes with the messages');

  await refuses(t, service, 'openim/im_get_push_report', { TaskIds: [first] }, [
    [{ TaskIds: undefined }, 90015, 'TaskIds'],
    [{ TaskIds: [] }, 90015, 'TaskIds'],
    [{ TaskIds: names(501, String(first)) }, 90014, 'TaskIds'],
    [{ TaskIds: first }, 90016, 'TaskIds'],
    [{ TaskIds: [first, 5] }, 90016, 'TaskIds[1]'],
    [{ TaskIds: [first, `${first}0`] }, 90016, 'TaskIds[1]'],
    [{ TaskIds: ['\0'] }, 90016, 'TaskIds[0]'],
  ]);
});

t.test('[B6] what im_push refuses', async (t) => {
  clock.advance(2);
  await settled();
  const tags = Array.from({ length: 11 }, (_, i) => `t${i}`);
  const when = (Condition: unknown) => ({ Condition });
  const valid = { MsgRandom: ++randoms, MsgLifeTime: 600, MsgBody };
  await refuses(t, service, 'openim/im_push', valid, [
    [{ MsgRandom: undefined }, 90005, 'MsgRandom'],
    [{ MsgRandom: '5' }, 90005, 'MsgRandom'],
    [{ MsgRandom: 4_294_967_296 }, 90005, 'MsgRandom'],
    [{ MsgBody: undefined }, 90007, 'MsgBody'],
    [{ MsgBody: {} }, 90007, 'MsgBody'],
    [{ MsgBody: [] }, 90007, 'MsgBody'],
    [{ MsgBody: [{ MsgType: 'TIMTextElem' }] }, 90002, 'MsgBody[0].MsgContent'],
    [{ MsgBody: [text('x'.repeat(8_000))] }, 80002, 'MsgBody'],
    [{ MsgLifeTime: 604_801 }, 90026, 'MsgLifeTime'],
    [{ MsgLifeTime: -1 }, 90026, 'MsgLifeTime'],
    [{ MsgLifeTime: '600' }, 90026, 'MsgLifeTime'],
    [{ From_Account: 'ghost' }, 90008, 'From_Account'],
    [{ From_Account: 5 }, 90008, 'From_Account'],
    [{ OfflinePushInfo: { PushFlag: 2 } }, 90043, 'OfflinePushInfo.PushFlag'],
    [when(null), 90027, 'Condition'],
    [when([]), 90027, 'Condition'],
    [when('gold'), 90027, 'Condition'],
    [when({}), 90027, 'Condition'],
    [when({ TagOr: ['gold'] }), 90027, 'Condition.TagOr'],
    [when({ TagsOr: ['gold'], tagsAnd: ['x'] }), 90027, 'Condition.tagsAnd'],
    [when({ TagsOr: 'gold' }), 90027, 'Condition.TagsOr'],
    [when({ TagsOr: [] }), 90027, 'Condition.TagsOr'],
    [when({ TagsOr: ['gold'], TagsAnd: [] }), 90027, 'Condition.TagsAnd'],
    [when({ TagsOr: ['gold', 5] }), 90027, 'Condition.TagsOr[1]'],
    [when({ TagsOr: ['a\0'] }), 90027, 'Condition.TagsOr[0]'],
    [when({ TagsOr: tags }), 90032, 'Condition.TagsOr'],
    [when({ TagsAnd: tags }), 90032, 'Condition.TagsAnd'],
    [when({ TagsAnd: ['gold', ''] }), 90040, 'Condition.TagsAnd[1]'],
    [when({ TagsAnd: [tooLong] }), 90034, 'Condition.TagsAnd[0]'],
    [when({ TagsOr: ['a', 'b'], TagsAnd: ['c', 'b'] }), 90022, 'Condition.TagsAnd[1]'],
    [when({ TagsOr: ['a'], AttrsAnd: { sex: 'f' } }), 90039, 'Condition'],
    [when({ AttrsOr: ['sex'] }), 90027, 'Condition.AttrsOr'],
    [when({ AttrsOr: {} }), 90027, 'Condition.AttrsOr'],
    [when({ AttrsOr: { hat: 'x' } }), 90033, 'Condition.AttrsOr.hat'],
    [when({ AttrsAnd: { sex: 5 } }), 90027, 'Condition.AttrsAnd.sex'],
    [when({ AttrsAnd: { sex: tooLong } }), 90027, 'Condition.AttrsAnd.sex'],
  ]);
  await call('openim_dirty_words/add', { DirtyWordsList: ['pills'] });
  await refuses(t, service, 'openim/im_push', valid, [[{ MsgBody: [text('cheap pills')] }, 80001, 'MsgBody']]);
  t.match(await call('openim/im_push', valid), ok, 'a call that failed may be repeated with its MsgRandom');
});

t.test('[B2] how often im_push may be called', async (t) => {
  const random = ++randoms;
  const again = () => call('openim/im_push', { MsgRandom: random, MsgLifeTime: 600, MsgBody });
  const other = () => call('openim/im_push', { MsgRandom: ++randoms, MsgLifeTime: 600, MsgBody });
  clock.advance(2);
  t.match(await again(), ok);
  t.match(await other(), { ActionStatus: 'FAIL', ErrorCode: 90024 }, 'within a second');
  t.match(await again(), { ErrorCode: 90025, ErrorInfo: /^MsgRandom: / });
  clock.advance(2);
  t.match(await other(), ok);
  clock.advance(7 * 86_400 - 60);
  t.match(await again(), { ErrorCode: 90025 }, 'for seven days');
  clock.advance(120);
  t.match(await again(), ok, 'and not longer');

  const atOnce = await Promise.all(Array.from({ length: 4 }, other));
  clock.advance(2);
  t.ok(atOnce.every(({ ErrorCode }) => ErrorCode === 90024));
  const several = await Promise.all(Array.from({ length: 4 }, other));
  t.equal(several.filter(({ ErrorCode }) => ErrorCode === 0).length, 1, 'of several at once one is started');

  // Reports are there for thirty days, and what has not ended stays.
  await settled();
  const started = await database.db.pool.query<{ task_id: string }>('select task_id from campaign order by id');
  const ids = started.rows.map(({ task_id }) => task_id);
  await database.db.pool.query(`update campaign set state = 'paused' where task_id = $1`, [ids[0]]);
  clock.advance(30 * 86_400 - 3_600);
  t.match(await other(), ok);
  t.match(await call('openim/im_get_push_report', { TaskIds: [ids.at(-1)] }), ok);
  clock.advance(7_200);
  t.match(await other(), ok);
  t.match(await call('openim/im_get_push_report', { TaskIds: [ids.at(-1)] }), { ErrorCode: 90016 });
  t.match(await call('openim/im_get_push_report', { TaskIds: [ids[0]] }), { ...ok, Reports: [{ Status: 1 }] });

  // A clock that is set back an hour holds nobody up for an hour.
  clock.advance(-3_600);
  t.match(await other(), ok);
  t.match(await other(), { ErrorCode: 90024 });
  clock.advance(3_600 - 0.5);
  t.match(await other(), { ErrorCode: 90024 }, 'of a process whose clock is behind');
  clock.advance(2);

  const few = await openIm(t, { database, deps: { clock }, app: { campaignsPerDay: 3 } });
  const next = async () => {
    clock.advance(2);
    return await few.call('openim/im_push', { MsgRandom: ++randoms, MsgBody });
  };
  // To the begin of a day of the app's.
  clock.advance(86_400 - (Math.floor(clock() / 1_000 + 28_800) % 86_400));
  for (let i = 0; i < 3; i++) t.match(await next(), ok);
  t.match(await next(), { ActionStatus: 'FAIL', ErrorCode: 90047 });
  clock.advance(86_000);
  t.match(await next(), { ErrorCode: 90047 }, 'until the end of the day');
  clock.advance(400);
  t.match(await next(), ok);
  await few.close();
  const none = await openIm(t, { database, deps: { clock }, app: { campaignsPerDay: 0 } });
  t.match(await none.call('openim/im_push', { MsgRandom: ++randoms, MsgBody }), { ErrorCode: 90045 });
});
