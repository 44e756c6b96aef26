import fc from 'fast-check';
import t from 'tap';
import { createAudience } from '../../src/im/audience/audience.ts';
import { countReceivers, nextReceivers, type Selection, selectionSettings } from '../../src/im/audience/select.ts';
import { maxMarkBytes, parseCondition, type Term, type Terms, tagSlot } from '../../src/im/audience/terms.ts';
import type { Account, AccountNo } from '../../src/im/model.ts';
import { utf8Bytes } from '../../src/wire/index.ts';
import { openTestDatabase } from '../support/database.ts';

t.setTimeout(120_000);

const { db } = await openTestDatabase(t);
const audience = createAudience({ db });
const selecting = db.another({ max: 2, statementMs: 10_000, settings: selectionSettings });
t.teardown(() => selecting.close());
const [app, otherApp] = [1_400_000_000, 1_400_000_001];
const everybody: Terms = { and: [], or: [] };

/** What an account has, and whether it counts at all. */
interface Modelled {
  readonly account: Account;
  readonly marks: Term[];
  isOnline: boolean;
  isDeleted: boolean;
}

async function makeAccounts(sdkAppId: number, count: number): Promise<Modelled[]> {
  const { rows } = await db.pool.query<{ id: AccountNo; identifier: string }>(
    `insert into account (sdk_app_id, identifier, created_ms) select $1, 'a' || i || '-' || gen_random_uuid(), 0 from generate_series(1, $2::int) i
     returning id, identifier`,
    [sdkAppId, count],
  );
  return rows.map(({ id, identifier }) => ({
    account: { no: id, sdkAppId, identifier: identifier as Account['identifier'] },
    marks: [],
    isOnline: false,
    isDeleted: false,
  }));
}

const hasTerm = ({ marks }: Modelled, { slot, value }: Term) =>
  marks.some((mark) => mark.slot === slot && mark.value === value);

/** The same as the database should find, plainly. */
function expected(all: readonly Modelled[], { sdkAppId, terms, isOnline, sender, through }: Selection): AccountNo[] {
  return all
    .filter(
      (one) =>
        one.account.sdkAppId === sdkAppId &&
        !one.isDeleted &&
        one.account.no !== sender &&
        one.account.no <= through &&
        (!isOnline || one.isOnline) &&
        terms.and.every((term) => hasTerm(one, term)) &&
        (terms.or.length === 0 || terms.or.some((term) => hasTerm(one, term))),
    )
    .map(({ account }) => account.no);
}

async function selected(selection: Selection, limit: number): Promise<AccountNo[]> {
  const found: AccountNo[] = [];
  for (let after = 0; after < selection.through; ) {
    const { accounts, next } = await nextReceivers(selecting, selection, { after, limit });
    if (next <= after || accounts.length > limit) throw new Error(`from ${after} to ${next}`);
    found.push(...accounts);
    after = next;
  }
  return found;
}

t.test(
  '[B6] the accounts that a condition finds are those of a plain model, each once, whatever is looked at at once',
  async (t) => {
    const all = [
      ...(await makeAccounts(app, 60)),
      ...(await makeAccounts(otherApp, 10)),
      ...(await makeAccounts(app, 30)),
    ];
    // Seldom, often, and of nobody.
    const tags = ['gold', 'north', 'south', 'one', 'none'];
    const values = ['x', 'y', 'z'];
    const terms: Term[] = [
      ...tags.map((value) => ({ slot: tagSlot, value })),
      ...[0, 9].flatMap((slot) => values.map((value) => ({ slot, value }))),
    ];
    let seed = 20;
    const random = (): number => {
      seed = (seed * 16_807) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    for (const [i, one] of all.entries()) {
      const own = tags.filter((tag, at) => tag !== 'none' && (tag === 'one' ? i === 70 : random() < 0.8 - at * 0.2));
      if (own.length > 0) await audience.addTags([[one.account, own]]);
      for (const value of own) one.marks.push({ slot: tagSlot, value });
      for (const slot of [0, 9]) {
        const value = values[Math.floor(random() * 5)];
        if (value === undefined) continue;
        await audience.setValues([[one.account, new Map([[slot, value]])]]);
        one.marks.push({ slot, value });
      }
      if (random() < 0.1) {
        one.isDeleted = true;
        await db.pool.query('update account set deleted_ms = 1 where id = $1', [one.account.no]);
      }
      if (random() < 0.4) {
        one.isOnline = true;
        // Two terminals are one account.
        await db.pool.query(
          `insert into terminal (account_id, platform, generation, state, node_id, last_there_ms)
         select $1, platform, 1, 'online', 'n', 0 from unnest(array['iOS', 'Web']) platform`,
          [one.account.no],
        );
      } else if (random() < 0.5) {
        await db.pool.query(
          `insert into terminal (account_id, platform, generation, state, last_there_ms) values ($1, 'iOS', 1, 'push-online', 0)`,
          [one.account.no],
        );
      }
    }
    const last = Math.max(...all.map(({ account }) => account.no));
    const anyTerms = (list: readonly Term[]) =>
      fc.record({ and: fc.subarray([...list], { maxLength: 4 }), or: fc.subarray([...list], { maxLength: 4 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.constant(everybody),
          anyTerms(terms.filter(({ slot }) => slot === tagSlot)),
          anyTerms(terms.filter(({ slot }) => slot !== tagSlot)),
        ),
        fc.boolean(),
        fc.constantFrom(undefined, ...all.slice(0, 5).map(({ account }) => account.no)),
        fc.constantFrom(last, last + 100, all[50]?.account.no ?? 0, 0),
        fc.constantFrom(1, 2, 7, 500),
        fc.constantFrom(app, otherApp),
        async (terms, isOnline, sender, through, limit, sdkAppId) => {
          const selection: Selection = { sdkAppId, terms, isOnline, sender, through };
          const wanted = expected(all, selection);
          const found = await selected(selection, limit);
          const count = await countReceivers(selecting, selection);
          return JSON.stringify(found) === JSON.stringify(wanted) && count === wanted.length;
        },
      ),
      { numRuns: 300 },
    );
    t.pass('300 conditions');
  },
);

t.test('[B6] a condition is understood wholly or refused', async (t) => {
  const slots = new Map([
    ['city', 1],
    ['constructor', 2],
  ]);
  t.strictSame(parseCondition(undefined, slots), { ok: true, value: everybody });
  t.strictSame(parseCondition({ AttrsAnd: { constructor: 'x' }, AttrsOr: { city: 'Oslo' } }, slots), {
    ok: true,
    value: { and: [{ slot: 2, value: 'x' }], or: [{ slot: 1, value: 'Oslo' }] },
  });
  t.match(parseCondition(JSON.parse('{"AttrsAnd":{"__proto__":"x"}}'), slots), {
    ok: false,
    error: 'ATTRIBUTE_UNKNOWN',
  });
  t.match(parseCondition(JSON.parse('{"__proto__":["x"]}'), slots), { ok: false, error: 'PUSH_CONDITION' });
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true }), (condition) => {
      const read = parseCondition(condition, slots);
      if (!read.ok) return read.field?.startsWith('Condition') === true && typeof read.reason === 'string';
      // Only what is absent means everybody.
      return condition === undefined || read.value.and.length + read.value.or.length > 0;
    }),
    { numRuns: 2_000 },
  );
  const tag = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(fc.uniqueArray(tag, { minLength: 1, maxLength: 10 }), (tags) => {
      const read = parseCondition({ TagsOr: tags }, slots);
      const fits = tags.every((one) => utf8Bytes(one) <= maxMarkBytes && one.isWellFormed() && !one.includes('\0'));
      return read.ok === fits && (!read.ok || read.value.or.length === tags.length);
    }),
    { numRuns: 1_000 },
  );
});

t.test('[B6] marks of several calls at once, and of accounts that are gone', async (t) => {
  const [one, two] = (await makeAccounts(app, 2)) as [Modelled, Modelled];
  const both = [one.account, two.account];
  const tag = (i: number) => `t${i}`;
  // In both orders: calls that lock the same accounts wait, and end.
  const adds = await Promise.all(
    Array.from({ length: 24 }, (_, i) => {
      const entries = both.map(
        (account) => [account, [tag(i * 5), tag(i * 5 + 1), tag(i * 5 + 2), tag(i * 5 + 3), tag(i * 5 + 4)]] as const,
      );
      return audience.addTags(i % 2 === 0 ? entries : entries.toReversed());
    }),
  );
  t.equal(adds.filter(({ ok }) => ok).length, 20, 'a hundred tags, and no more');
  const held = await audience.tags(both);
  t.equal(held.get(one.account.no)?.length, 100);
  t.strictSame(held.get(one.account.no), held.get(two.account.no), 'a call is done wholly or not at all');

  const named = await Promise.all([
    audience.nameAttributes(otherApp, new Map([[0, 'same']])),
    audience.nameAttributes(otherApp, new Map([[1, 'same']])),
  ]);
  t.equal(named.filter(({ ok }) => ok).length, 1, 'two slots never get the same name');
  t.equal((await audience.attributes(otherApp)).size, 1);
  t.equal((await audience.attributes(app)).size, 0, 'of another app they are others');

  await audience.setValues([[one.account, new Map([[3, 'x']])]]);
  await audience.removeAllTags([one.account]);
  const { rows: left } = await db.pool.query('select slot from audience_mark where account_id = $1', [one.account.no]);
  t.strictSame(left, [{ slot: 3 }]);
  t.equal((await audience.tags([two.account])).get(two.account.no)?.length, 100);

  // A call that found the account before it was deleted leaves nothing behind that deletion.
  await db.pool.query('delete from audience_mark where account_id = $1', [one.account.no]);
  await db.pool.query('update account set deleted_ms = 1 where id = $1', [one.account.no]);
  await audience.setValues([[one.account, new Map([[3, 'x']])]]);
  await audience.addTags([[one.account, ['late']]]);
  const { rows: late } = await db.pool.query('select from audience_mark where account_id = $1', [one.account.no]);
  t.equal(late.length, 0);
});
