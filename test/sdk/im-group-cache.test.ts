import t, { type Test } from 'tap';
import { createGroupCache, createGroups, type GroupCache, type Groups } from '../../src/sdk/im/groups/index.ts';
import { type ImEvent, memoryStorage, type QalStorage } from '../../src/sdk/im/index.ts';
import { openTestDatabase } from '../support/database.ts';
import { openIm, type TestIm } from '../support/im.ts';
import { lasting, until, type WatchedClient, watchClient } from '../support/im-client.ts';

/** The cache of an account's groups and members (API §13, "group proxy"), against the service itself. */
t.setTimeout(300_000);
const database = await openTestDatabase(t);
const im: TestIm = await openIm(t, { database, app: { multiTerminal: 'all' } });
let names = 0;
const fresh = (name: string): string => `${name}${++names}`;

interface Watched extends WatchedClient {
  readonly groups: Groups;
  readonly cache: GroupCache;
  /** `add Tea`, `join Tea bob`, … with the groups' ids. */
  readonly heard: string[];
  /** Changes of groups, whole. */
  readonly updates: string[];
  readonly trouble: ImEvent[];
  cut(): void;
}

function watch(t: Test, account: string, storage?: QalStorage): Watched & { login(): Promise<void> } {
  const sockets = new Set<WebSocket>();
  const WebSocket = class extends globalThis.WebSocket {
    constructor(url: string) {
      super(url);
      sockets.add(this);
    }
  };
  const watched = watchClient(t, {
    url: im.url,
    random: Math.random,
    WebSocket: WebSocket as never,
    ...(storage && { storage }),
  });
  const groups = createGroups(watched.client);
  const [heard, updates, trouble]: [string[], string[], ImEvent[]] = [[], [], []];
  const onEvent = (event: ImEvent) => trouble.push(event);
  const cache = createGroupCache(watched.client, groups, storage === undefined ? { onEvent } : { storage, onEvent });
  cache.onGroupAdd(({ group }) => heard.push(`add ${group}`));
  cache.onGroupUpdate((all) => {
    const { group, name, memberCount, self, owner } = all;
    heard.push(`update ${group} ${name} ${memberCount} ${self?.role}`);
    updates.push(`${heard.at(-1)} of ${owner}`);
  });
  cache.onGroupDelete((group) => heard.push(`delete ${group}`));
  cache.onMemberJoin((group, members) => heard.push(`join ${group} ${members.map(({ account }) => account)}`));
  cache.onMemberQuit((group, accounts) => heard.push(`quit ${group} ${accounts}`));
  cache.onMemberUpdate((group, members) =>
    heard.push(`member ${group} ${members.map(({ account, role, nameCard }) => `${account} ${role} ${nameCard}`)}`),
  );
  return {
    ...watched,
    groups,
    cache,
    heard,
    updates,
    trouble,
    cut() {
      for (const socket of sockets) socket.close();
      sockets.clear();
    },
    async login() {
      await watched.client.login(account, im.userSig(account));
      await watched.until('refresh');
    },
  };
}

async function login(t: Test, account: string, storage?: QalStorage): Promise<Watched> {
  const watched = watch(t, account, storage);
  await watched.login();
  return watched;
}

/** Waits until something was heard. */
async function hears({ heard, trouble }: Watched, what: string): Promise<void> {
  await until(
    () => heard.includes(what),
    () => `${what} in ${heard.join(' | ')} ${JSON.stringify(trouble)}`,
  );
}

const put = (command: string, body: object) => im.call(`group_open_http_svc/${command}`, body);

t.test('groups that come, change and go; members where they are asked for', async (t) => {
  const [a, b, c] = [fresh('alice'), fresh('bob'), fresh('carol')];
  const [alice, bob] = [await login(t, a), await login(t, b)];
  await login(t, c);
  const group = await alice.groups.create({ type: 'Public', name: 'Tea' });
  await hears(alice, `add ${group}`);
  t.match(alice.cache.groups.get(group), { name: 'Tea', owner: a, self: { account: a, role: 'Owner' } });
  t.notHas(alice.cache.groups.get(group), 'unread');
  await put('add_group_member', { GroupId: group, MemberList: [{ Member_Account: b }] });
  await hears(bob, `add ${group}`);
  await hears(alice, `update ${group} Tea 2 Owner`);
  t.same(
    alice.heard.filter((one) => one.startsWith('join')),
    [],
    'nobody asked for its members',
  );

  const members = await alice.cache.members(group);
  t.same(
    members.map(({ account, role }) => [account, role]),
    [
      [a, 'Owner'],
      [b, 'Member'],
    ],
  );
  await put('add_group_member', { GroupId: group, MemberList: [{ Member_Account: c }] });
  await hears(alice, `join ${group} ${c}`);
  await alice.groups.modifyMember(group, { account: b, role: 'Admin', nameCard: 'Bobby' });
  await hears(alice, `member ${group} ${b} Admin Bobby`);
  await hears(bob, `update ${group} Tea 3 Admin`);
  await alice.groups.modify(group, { name: 'Coffee' });
  await hears(bob, `update ${group} Coffee 3 Admin`);
  await put('delete_group_member', { GroupId: group, MemberToDel_Account: [c] });
  await hears(alice, `quit ${group} ${c}`);
  await alice.groups.transfer(group, b);
  await hears(alice, `update ${group} Coffee 2 Member`);
  await until(() => alice.heard.some((one) => one.includes(`${b} Owner Bobby`)));
  t.same(
    (await alice.cache.members(group)).map(({ account, role }) => [account, role]).sort(),
    [
      [a, 'Member'],
      [b, 'Owner'],
    ],
    'old and new owner',
  );

  await bob.groups.modifyMember(group, { nameCard: 'Robert' });
  await alice.cache.refresh(group);
  t.equal(alice.heard.at(-1), `member ${group} ${b} Owner Robert`, 'nobody is told of a card: it is asked for');
  await alice.groups.quit(group);
  await hears(alice, `delete ${group}`);
  t.equal(alice.cache.groups.size, 0);
  await bob.groups.dismiss(group);
  await hears(bob, `delete ${group}`);
  for (const one of [alice, bob]) {
    // Profile and own role are read one after the other: in between the group is another's already.
    t.same(one.updates.length, new Set(one.updates).size, 'nothing twice');
    const others = one.heard.filter((line) => !line.startsWith('update'));
    t.same(others.length, new Set(others).size, 'nothing twice');
    t.same([...one.trouble, ...one.events], []);
  }
});

t.test('[H4] what changed while the link was lost is told after it; what did not is not', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const [alice, bob] = [await login(t, a), await login(t, b)];
  const ids: string[] = [];
  for (const name of ['stays', 'changes', 'goes']) {
    ids.push(await alice.groups.create({ type: 'Public', name }));
    await put('add_group_member', { GroupId: ids.at(-1), MemberList: [{ Member_Account: b }] });
  }
  const [stays = '', changes = '', goes = ''] = ids;
  const live = await alice.groups.create({ type: 'AVChatRoom', name: 'Live' });
  await bob.groups.apply(live);
  for (const id of [...ids, live]) await hears(bob, `add ${id}`);
  for (const id of [stays, changes]) await bob.cache.members(id);
  const told = bob.heard.length;
  bob.cut();
  await bob.until('disconnected');
  await alice.groups.modify(changes, { name: 'changed' });
  await put('add_group_member', { GroupId: changes, MemberList: [{ Member_Account: 'admin' }] });
  await alice.groups.dismiss(goes);
  await bob.until('refresh', 2);
  await hears(bob, `delete ${goes}`);
  await hears(bob, `join ${changes} admin`);
  await bob.cache.refresh(stays);
  t.same(
    new Set(bob.heard.slice(told).filter((one) => !one.includes(changes))),
    new Set([`delete ${goes}`]),
    'not of the group of an audience, which no list names',
  );
  t.equal(bob.cache.groups.get(changes)?.name, 'changed');
  t.same([...bob.cache.groups.keys()].sort(), [stays, changes, live].sort());
  await bob.groups.quit(live);
  await hears(bob, `delete ${live}`);
  t.same([...bob.trouble, ...bob.events], []);
});

t.test('members are kept of the groups that were asked for last', async (t) => {
  const a = fresh('alice');
  const [alice, bob] = [await login(t, a), await login(t, fresh('bob'))];
  const ids: string[] = [];
  for (let i = 0; i < 21; i += 1) ids.push(await alice.groups.create({ type: 'ChatRoom', name: `Room ${i}` }));
  for (const id of ids) t.same((await alice.cache.members(id)).length, 1);
  for (const id of [ids[0], ids[20]]) await bob.groups.apply(id ?? '');
  t.equal((await alice.cache.members(ids[20] ?? '')).length, 1, 'as it was: nobody is told who joins there');
  t.equal((await alice.cache.members(ids[0] ?? '')).length, 2, 'the first one had to go');
  await alice.cache.refresh(ids[20] ?? '');
  t.equal((await alice.cache.members(ids[20] ?? '')).length, 2);
  t.same(alice.trouble, []);
});

t.test('[C0] with a storage groups are there before the connection, to their own account alone', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const inner = memoryStorage();
  const storage = lasting(inner);
  const first = await login(t, a, storage);
  const group = await first.groups.create({ type: 'Private', name: 'Tea' });
  await hears(first, `add ${group}`);
  await until(() => first.cache.groups.size === 1);
  await first.cache.refresh(group);
  await first.client.close();

  const offline = watch(t, a, storage);
  const second = watchClient(t, { url: 'ws://127.0.0.1:9/im/v1/link', storage });
  const groups = createGroups(second.client);
  const cache = createGroupCache(second.client, groups, { storage });
  const trying = second.client.login(a, im.userSig(a)).catch(() => {});
  await until(() => cache.groups.get(group)?.name === 'Tea');
  await t.rejects(cache.members(group), { code: 'NETWORK' });
  await second.client.close();
  await trying;

  t.equal(offline.cache.groups.size, 0, 'not before its account is known');
  await t.rejects(offline.cache.members(group), { code: 'NOT_LOGGED_IN' });
  await offline.login();
  await until(() => offline.cache.groups.size === 1);
  t.same(offline.heard, [`add ${group}`], 'what is stored and what is listed is the same');
  await offline.client.login(b, im.userSig(b));
  t.equal(offline.cache.groups.size, 0, 'another account');
  await offline.client.logout();
  await offline.client.login(a, im.userSig(a));
  await until(() => offline.cache.groups.size === 1);
  await offline.client.logout({ forget: true });
  t.same(
    (await inner.keys(`im/1400000000=${a}/`)).filter((key) => key.endsWith('/groups')),
    [],
    'forgotten with the messages',
  );
  t.same(offline.trouble, []);
});

t.test('a storage that fails, holds rubbish or belongs to another layout is one that has nothing', async (t) => {
  const a = fresh('alice');
  const plain = await login(t, a);
  const group = await plain.groups.create({ type: 'Private', name: 'Tea' });
  await plain.client.logout();
  const bad: [string, QalStorage, string[]][] = [
    ['rubbish', { ...memoryStorage(), get: async () => new TextEncoder().encode('{"version":1,"groups":[7]}') }, []],
    [
      'another',
      { ...memoryStorage(), get: async () => new TextEncoder().encode('{"version":9,"groups":[{"group":"x"}]}') },
      [],
    ],
    [
      'failing',
      { ...memoryStorage(), get: () => Promise.reject(new Error('no')), set: () => Promise.reject(new Error('no')) },
      ['get', 'set'],
    ],
  ];
  for (const [name, storage, operations] of bad) {
    const one = watchClient(t, { url: im.url });
    const trouble: ImEvent[] = [];
    const cache = createGroupCache(one.client, createGroups(one.client), {
      storage,
      onEvent(event) {
        trouble.push(event);
        throw new Error('the application’s');
      },
    });
    await one.client.login(a, im.userSig(a));
    await until(() => cache.groups.has(group));
    await cache.refresh(group);
    await until(() => trouble.length >= operations.length);
    t.same([...cache.groups.keys()], [group], name);
    t.match(
      trouble,
      operations.map((operation) => ({ type: 'storage-failed', operation })),
    );
    await one.client.logout();
  }
});

t.test('whoever leaves while members are read page by page takes nobody with him', async (t) => {
  const [a, crowd] = [fresh('alice'), Array.from({ length: 209 }, () => fresh('m'))];
  for (let at = 0; at < crowd.length; at += 100) {
    await im.call('im_open_login_svc/multiaccount_import', { Accounts: crowd.slice(at, at + 100) });
  }
  const alice = await login(t, a);
  const group = await alice.groups.create({ type: 'Public', name: 'Tea' });
  const MemberList = crowd.map((Member_Account) => ({ Member_Account }));
  await put('add_group_member', { GroupId: group, MemberList, Silence: 1 });
  const left: string[] = [];
  let leaving: string | undefined;
  const { client, groups } = watchClientWithGroups(t);
  const cache = createGroupCache(client, {
    ...groups,
    async members(id, options) {
      const page = await groups.members(id, options);
      const [first] = leaving === undefined || options?.offset !== 0 ? [] : [leaving];
      leaving = first === undefined ? leaving : undefined;
      if (first !== undefined)
        await put('delete_group_member', { GroupId: id, MemberToDel_Account: [first], Silence: 1 });
      return page;
    },
  });
  cache.onMemberQuit((_, accounts) => left.push(...accounts));
  await client.login(a, im.userSig(a));
  t.equal((await cache.members(group)).length, 210);
  leaving = (await cache.members(group))[5]?.account ?? '';
  const gone = leaving;
  await cache.refresh(group);
  t.same(left, []);
  await cache.refresh(group);
  t.same(left, [gone]);
  t.equal((await cache.members(group)).length, 209);
});

/** A client with groups, and without a cache. */
function watchClientWithGroups(t: Test) {
  const { client } = watchClient(t, { url: im.url, platform: 'Mac', random: Math.random });
  return { client, groups: createGroups(client) };
}
