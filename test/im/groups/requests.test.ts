import t from 'tap';
import type { Actor } from '../../../src/im/group-services.ts';
import type { Account } from '../../../src/im/model.ts';
import type { AccountId, ImResult } from '../../../src/wire/index.ts';
import { imAppId, openIm } from '../../support/im.ts';

const origin = { platform: 'RESTAPI', address: '198.51.100.7' } as const;

function must<T>(result: ImResult<T>): T {
  if (!result.ok) throw new Error(`${result.error}: ${result.field ?? ''} ${result.reason ?? ''}`);
  return result.value;
}

t.test('[G15] [G20] whoever becomes a member in any way has nothing open in the group any more', async (t) => {
  const { im } = await openIm(t);
  const { groups } = im;
  const account = (name: string) => im.accounts.ensure(imAppId, name as AccountId);
  const [owner, zed, ann] = await Promise.all([account('owner'), account('zed'), account('ann')]);
  const self = (account: Account): Actor => ({ account, authority: 'self', origin });
  const admin: Actor = { account: await account('admin'), authority: 'administrator', origin };
  const open = { limit: 10 };

  /** What zed has to answer, and the group's owner. */
  const requestsOf = async (groupId: string) =>
    [...(await groups.requests(zed, open)), ...(await groups.requests(owner, open))].filter(
      (one) => one.groupId === groupId,
    );

  const ways: Record<string, { join(groupId: string): Promise<unknown>; left: string[] }> = {
    'the invitation is accepted': {
      async join(groupId) {
        const { key, auth } = (await groups.requests(zed, open)).find((one) => one.groupId === groupId) ?? {};
        must(await groups.answerInvitation(self(zed), { groupId, key: key ?? '', auth: auth ?? '', agrees: true }));
      },
      left: ['invitation agreed zed', 'application gone'],
    },
    'the application is accepted': {
      async join(groupId) {
        const { key, auth } = (await groups.requests(owner, open)).find((one) => one.groupId === groupId) ?? {};
        must(await groups.answerApplication(self(owner), { groupId, key: key ?? '', auth: auth ?? '', agrees: true }));
      },
      left: ['invitation gone', 'application agreed owner'],
    },
    'everybody may walk in': {
      async join(groupId) {
        must(await groups.modify(self(owner), groupId, { applyOption: 'FreeAccess' }));
        t.equal(must(await groups.apply(self(zed), groupId, {})), 'joined');
      },
      left: ['invitation gone', 'application gone'],
    },
    'the backend adds the account': {
      join: (groupId) => groups.add(admin, groupId, [ann.identifier, zed.identifier]),
      left: ['invitation gone', 'application gone'],
    },
    'the backend imports it': {
      join: (groupId) => groups.importMembers(admin, groupId, [{ account: zed.identifier }]),
      left: ['invitation gone', 'application gone'],
    },
  };
  for (const [name, { join, left }] of Object.entries(ways)) {
    const { groupId } = must(await groups.create(self(owner), { type: 'Public', name, members: [] }));
    must(await groups.add(self(owner), groupId, [zed.identifier]));
    must(await groups.apply(self(ann), groupId, {}));
    t.equal(must(await groups.apply(self(zed), groupId, {})), 'waiting', name);
    await join(groupId);
    const found = (await requestsOf(groupId)).filter(({ account }) => account === zed.identifier);
    t.strictSame(
      found.map(({ kind, result, handler }) => [kind, result, handler].filter((one) => one !== undefined).join(' ')),
      left,
      `${name}: nothing is left to answer`,
    );
    for (const { kind, key, auth } of found) {
      const answer = { groupId, key, auth, agrees: false };
      const again = kind === 'invitation' ? groups.answerInvitation(self(zed), answer) : undefined;
      t.match(await (again ?? groups.answerApplication(self(owner), answer)), { error: 'GROUP_REQUEST_HANDLED' });
    }
    const others = (await requestsOf(groupId)).filter(({ account }) => account === ann.identifier);
    t.equal(others[0]?.result, name.includes('adds') ? 'gone' : undefined, `${name}: those of others stay`);
    // Who is out again may ask anew.
    must(await groups.modify(self(owner), groupId, { applyOption: 'NeedPermission' }));
    must(await groups.quit(self(zed), groupId));
    t.equal(must(await groups.apply(self(zed), groupId, {})), 'waiting');
  }
});

t.test(
  '[G20] requests are there for 30 days, from their answer on or, where nobody answers, from the last words',
  async (t) => {
    const { im, db, clock } = await openIm(t);
    const { groups } = im;
    const account = (name: string) => im.accounts.ensure(imAppId, name as AccountId);
    const [owner, zed, ann] = await Promise.all([account('owner'), account('zed'), account('ann')]);
    const self = (account: Account): Actor => ({ account, authority: 'self', origin });
    const { groupId } = must(await groups.create(self(owner), { type: 'Public', name: 'tea' }));
    const daySec = 86_400;
    const after = async (days: number) => {
      clock.advance(days * daySec);
      await im.maintain();
      return (await groups.requests(owner, { limit: 10 })).map(
        ({ account, result = 'open' }) => `${account} ${result}`,
      );
    };

    for (const one of [zed, ann]) must(await groups.apply(self(one), groupId, {}));
    const [ofAnn] = await groups.requests(owner, { limit: 1 });
    t.strictSame(await after(29), ['ann open', 'zed open']);
    const { key = '', auth = '' } = ofAnn ?? {};
    must(await groups.answerApplication(self(owner), { groupId, key, auth, agrees: false }));
    t.strictSame(await after(2), ['ann refused'], 'of zed nobody hears any more');
    must(await groups.apply(self(zed), groupId, {}));
    t.strictSame(await after(27), ['zed open', 'ann refused']);
    must(await groups.apply(self(zed), groupId, { wording: 'please' }));
    t.strictSame(await after(2), ['zed open'], 'who asks again is heard again');
    t.strictSame(await after(29), []);

    await db.pool.query(
      `insert into group_request (sdk_app_id, conversation_id, kind, account_id, auth, created_ms)
     select $1, 1, 1, n, '', 0 from generate_series(1, 2001) n`,
      [imAppId],
    );
    await im.maintain();
    const { rows } = await db.pool.query('select count(*) as count from group_request');
    t.strictSame(rows, [{ count: 0 }], 'however many there are');
  },
);

t.test('[G7] [G20] with a group all that is asked of it, or by it, is gone', async (t) => {
  const { im, db } = await openIm(t);
  const { groups } = im;
  const account = (name: string) => im.accounts.ensure(imAppId, name as AccountId);
  const [owner, zed, ann] = await Promise.all([account('owner'), account('zed'), account('ann')]);
  const self = (account: Account): Actor => ({ account, authority: 'self', origin });
  const { groupId } = must(await groups.create(self(owner), { type: 'Public', name: 'tea' }));
  const other = must(await groups.create(self(owner), { type: 'Public', name: 'coffee' }));
  for (const id of [groupId, other.groupId]) must(await groups.add(self(owner), id, [zed.identifier]));
  must(await groups.apply(self(ann), groupId, {}));
  must(await groups.dismiss(self(owner), groupId));
  t.strictSame(
    (await groups.requests(zed, { limit: 10 })).map(({ groupName, result }) => [groupName, result]),
    [
      ['coffee', undefined],
      ['tea', 'gone'],
    ],
  );
  const { rows } = await db.pool.query('select result from group_request where account_id = $1', [ann.no]);
  t.strictSame(rows, [{ result: 'gone' }]);
});
