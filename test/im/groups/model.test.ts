import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import type { Actor } from '../../../src/im/group-services.ts';
import { createLocalBus } from '../../../src/im/local-bus.ts';
import type { Account } from '../../../src/im/model.ts';
import type { AccountId, GroupTypeRow } from '../../../src/wire/index.ts';
import { makeTestLogger, openTestDatabase, until } from '../../support/database.ts';
import { groupTestApp, groupTestTypeOf, groupTestTypes } from '../../support/group-app.ts';
import { GroupState, groupModel, type Stay } from '../../support/group-model.ts';
import type { GroupView, Op } from '../../support/group-ops.ts';
import { type GroupServer, Killed, openGroupServer } from '../../support/group-server.ts';
import { imAppId, openIm } from '../../support/im.ts';
import { textBody } from '../../support/im-draft.ts';

/**
 * Random operations in several groups at once against the reference model, several of them on one group at the same time, by two processes
 * that serve the same database, while they are killed again and again. `MODEL_OPERATIONS` and `MODEL_SEED` for other walks.
 */
const operations = Number(process.env.MODEL_OPERATIONS ?? 20_000);
const seed = Number(process.env.MODEL_SEED ?? 20_261_126);
t.setTimeout(620_000);

const names = ['ann', 'bea', 'cem', 'dan', 'eve', 'fay', 'gus', 'hal'];
const places = 18;
const origin = { platform: 'Android', address: '' } as const;
const stepsPerRound = 75;

type Random = ReturnType<typeof createRandom>;
function createRandom(start: number) {
  let state = start % 2_147_483_647;
  const next = () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  return {
    chance: (probability: number) => next() < probability,
    below: (limit: number) => Math.floor(next() * limit),
    of: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T,
  };
}

/** One of the places where groups of a type come and go. */
interface Place {
  readonly index: number;
  readonly type: string;
  readonly row: GroupTypeRow;
  readonly random: Random;
  /** Of the group that is here, or was here last. */
  id: string;
  group: GroupState;
  serial: number;
  /** Groups that were here before it. */
  readonly past: { readonly id: string; readonly group: GroupState }[];
  /** What was done since everything agreed, for whoever has to find out why it no longer does. */
  trace: string[];
}

/** The service's clock, Unix seconds. */
let nowSec = 0;
const modelOf = ({ row, group }: Pick<Place, 'row' | 'group'>) => groupModel(group, row, nowSec);

t.test('the reference model has under 200 lines of code', async (t) => {
  const text = readFileSync(new URL('../../support/group-model.ts', import.meta.url), 'utf8');
  const lines = text.split('\n').filter((line) => !/^\s*($|\/\/|\/\*|\*)/.test(line));
  t.ok(lines.length < 200, `${lines.length}`);
});

t.test(
  '[G1][G6][G7][G11][G12][G15][G17][G18][G20][G26][G27][G33][G34][G36][G39] 20,000 random operations on two processes, with crashes, agree with the model',
  { timeout: 600_000 },
  async (t) => {
    const { db, dataDir } = await openTestDatabase(t);
    const open = () => openGroupServer(t, { dataDir, accounts: names, db: db.pool });
    const servers = await Promise.all([open(), open()]);
    const random = createRandom(seed);
    const done: Record<string, number> = {};
    let count = 0;
    let killAt = Number.POSITIVE_INFINITY;
    let kills = 0;
    let restarted = Promise.resolve();
    const all = Array.from({ length: places }, (_, index): Place => {
      const type = groupTestTypes[index % groupTestTypes.length] as string;
      return {
        ...{ index, type, row: groupTestTypeOf(type), random: createRandom(seed * 31 + index * 7_919 + 1) },
        ...{ id: '', group: new GroupState(), serial: 0, past: [], trace: [] },
      };
    });

    const passTo = (nowMs: number) => {
      for (const server of servers) server.nowMs = nowMs;
      nowSec = Math.floor(nowMs / 1_000);
    };
    passTo(Date.now());

    type Answer = Awaited<ReturnType<GroupServer['perform']>>;
    /** undefined: it was killed; whether it was done is not known. */
    async function attempt(place: Place, op: Op): Promise<Answer | undefined> {
      count += 1;
      done[op.do] = (done[op.do] ?? 0) + 1;
      const server = place.random.of(servers);
      const asked = server.perform(place.id, op);
      if (count >= killAt) {
        killAt = Number.POSITIVE_INFINITY;
        kills += 1;
        // While it is about to be done, or just after.
        const isDone = random.chance(0.2) ? asked.catch(() => {}) : Promise.resolve();
        restarted = isDone.then(() => server.kill());
      }
      try {
        return await asked;
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        return undefined;
      }
    }

    function fail(place: Place, what: string, found: unknown, wanted: unknown): void {
      if (!t.passing()) return;
      t.comment(`seed ${seed}, place ${place.index}, ${count} operations, ${kills} kills; since all agreed:`);
      for (const line of place.trace.slice(-25)) t.comment(line);
      t.strictSame(found, wanted, what);
    }

    async function step(place: Place): Promise<void> {
      const ops = choose(place);
      if (ops[0]?.do === 'create') makeRoom(place, ops[0].id);
      const names = ops.map((op) => JSON.stringify(op));
      const answers = await Promise.all(ops.map((op) => attempt(place, op)));
      place.trace.push(
        ...names.map((name, index) => `${ops.length > 1 ? '∥ ' : ''}${name} → ${answers[index]?.result}`),
      );
      const [op, answer] = [ops[0] as Op, answers[0]];
      if (ops.length === 1 && answer !== undefined) {
        place.id = answer.groupId ?? place.id;
        const before = place.group.told.length;
        const wanted = modelOf(place).apply(op);
        if (answer.result !== wanted) fail(place, `result of ${names[0]}`, answer.result, wanted);
        await compareTold(place, names[0] ?? '', answer.told, linesOf(place.group.told.slice(before)));
      } else {
        await settle(place, ops, answers);
      }
      forgetTold(place);
    }

    /** The group that was here is past. */
    function makeRoom(place: Place, id: string): void {
      place.past.push({ id: place.id, group: place.group });
      Object.assign(place, { id, group: new GroupState() });
    }

    /** Tips that a process tells after reading who is a member may come late. */
    async function compareTold(place: Place, what: string, told: string[], wanted: string[]): Promise<void> {
      for (let waits = 0; told.length < wanted.length && waits < 50; waits++) {
        await delay(20);
        for (const server of servers) told.push(...(await server.toldOf(place.id)));
      }
      if (!isDeepStrictEqual(told.sort(), wanted)) fail(place, `who was told what of ${what}`, told, wanted);
    }

    /** Several at once, or one whose outcome is not known: some order of them explains results and state. */
    async function settle(place: Place, ops: readonly Op[], answers: readonly (Answer | undefined)[]): Promise<void> {
      const [first] = ops;
      const results = answers.map((answer) => answer?.result);
      if (first?.do === 'create') place.id = answers[0]?.groupId ?? (await idOf(first.profile.name ?? '')) ?? '';
      const isLost = results.includes(undefined);
      // Who is a member when a message is stored hears of it. (Of tips whoever is one when they are told; flags and what was lost aside.)
      const isExact = !isLost && !ops.some((op) => op.do === 'edit' && op.set.flag !== undefined);
      const wordsOf = (told: readonly string[]) => told.filter((line) => /: [0-9]+ t[0-9]/.test(line)).sort();
      const told = wordsOf(answers.flatMap((answer) => answer?.told ?? []));
      if (isLost) await restarted;
      const owner = modelOf(place).owner();
      const inOrder = histories(ops, results, place.group.isHidden);
      const ways = place.group.isHidden
        ? [...inOrder, ...inOrder.flatMap((one) => revealedEarly(one, owner))]
        : inOrder;
      const explained = ways.flatMap((history) => {
        const group = structuredClone(place.group);
        const model = modelOf({ row: place.row, group });
        const fits = history.every(([op, result]) => {
          if (op === 'reveal') group.isHidden = false;
          const wanted = op === 'reveal' ? 'ok' : model.apply(op);
          return (
            result === undefined || result === wanted || (group.isHidden && isRefusal(result) && isRefusal(wanted))
          );
        });
        return fits && (!isExact || isDeepStrictEqual(wordsOf(linesOf(group.told)), told)) ? [group] : [];
      });
      const seen = await place.random.of(servers).look(place.id, false);
      // What was told late of all this is none of what comes next.
      for (const server of servers) await server.toldOf(place.id);
      const expectedOf = (group: GroupState) => plain(expected({ ...place, group }, seen));
      // Of an invitation that was renewed, or was not, only the number of notices tells.
      const surplus = (group: GroupState) => surplusOf({ ...place, group }, seen);
      const found = explained
        .filter((group) => isDeepStrictEqual(plain(seen), expectedOf(group)))
        .sort((a, b) => surplus(a) - surplus(b))[0];
      const what = `${isLost ? 'what was left of' : 'some order of'} ${ops.map((op) => JSON.stringify(op)).join(' ∥ ')}`;
      const [likely] = explained;
      const wanted = likely === undefined ? 'no order of them' : expectedOf(likely);
      if (found === undefined) fail(place, what, plain(seen), wanted);
      else place.group = found;
      // A sender that got no answer says it again.
      for (const [index, op] of ops.entries()) {
        if (results[index] !== undefined || op.do !== 'send' || op.isLive) continue;
        const again = await attempt(place, op);
        forgetTold(place);
        place.trace.push(`again ${JSON.stringify(op)} → ${again?.result}`);
        if (again === undefined) return settle(place, [op], [undefined]);
        const wanted = modelOf(place).apply(op);
        if (again.result !== wanted) fail(place, `result of ${JSON.stringify(op)} again`, again.result, wanted);
      }
    }

    async function idOf(name: string): Promise<string | undefined> {
      const { rows } = await db.pool.query<{ group_id: string }>('select group_id from chat_group where name = $1', [
        name,
      ]);
      return rows[0]?.group_id;
    }

    async function compare(): Promise<void> {
      await Promise.all([...all.map(comparePlace), ...names.map(compareAccount)]);
      for (const place of all) place.trace = [];
    }

    async function comparePlace(place: Place): Promise<void> {
      const seen = await random.of(servers).look(place.id, true);
      const wanted = plain(expected(place, seen));
      if (isDeepStrictEqual(plain(seen), wanted)) t.pass(`group ${place.index} after ${count} operations`);
      else fail(place, `group ${place.index}`, plain(seen), wanted);
    }

    async function compareAccount(name: string): Promise<void> {
      const view = await random.of(servers).lookAtAccount(name);
      const lines = all.filter((place) => sees(place, name)).map((place) => stateOf(place, name));
      const notices = all.map((place) =>
        groupsOf(place).flatMap(({ group }) =>
          noticesOf(group, name)
            .filter(({ sec }) => sec >= nowSec - 7 * 86_400)
            .map(({ text }) => text),
        ),
      );
      const total = Math.min(100, notices.flat().length);
      const requests = all.flatMap((place) =>
        groupsOf(place).flatMap(({ group }) => {
          const isManager =
            !group.isGone && ['Owner', 'Admin'].includes(modelOf({ ...place, group }).member(name)?.role ?? '');
          return group.requests
            .filter(({ kind, who }) => (kind === 'invitation' ? who === name : isManager))
            .map(({ kind, who, inviter, result }) => `${place.index} ${kind} ${who} ${inviter} ${result}`);
        }),
      );
      const placeOf = (groupId: string) =>
        all.find((place) => groupsOf(place).some(({ id }) => id === groupId))?.index ?? -1;
      const noticesAt = (index: number) => view.notices.filter(([id]) => placeOf(id) === index).map(([, line]) => line);
      const found = {
        joined: view.joined,
        states: view.states,
        unread: view.unread,
        requests: view.requests.map(([id, line]) => `${placeOf(id)} ${line}`).sort(),
        total: view.notices.length,
        unreadNotices: view.unreadNotices,
        notices: all.map(({ index }) => noticesAt(index)),
      };
      const wanted = {
        joined: lines.flatMap(({ joined, row }) => (row.isInJoinedList ? [joined] : [])).sort(),
        states: lines.flatMap(({ state, row }) => (row.isStored ? [state] : [])).sort(),
        unread: lines.reduce((sum, { unread }) => sum + unread, 0),
        requests: requests.sort(),
        total,
        unreadNotices: total,
        // More than are kept: those of all places together.
        notices: notices.map((some, index) => newest(some, noticesAt(index).length)),
      };
      if (isDeepStrictEqual(found, wanted)) t.pass(`what ${name} has after ${count} operations`);
      else fail(all[0] as Place, `what ${name} has`, found, wanted);
    }

    while (count < operations && t.passing()) {
      killAt = random.chance(0.7) ? count + 1 + random.below(places * stepsPerRound) : Number.POSITIVE_INFINITY;
      await Promise.all(
        all.map(async (place) => {
          for (let n = 0; n < stepsPerRound && t.passing(); n++) await step(place);
        }),
      );
      await restarted;
      if (!t.passing()) break;
      await compare();
      const sec = random.chance(0.1)
        ? 86_400 + random.below(100_000)
        : random.chance(0.2)
          ? 3_600
          : 5 + random.below(60);
      passTo((nowSec + sec) * 1_000);
      if (sec > 86_400) await random.of(servers).maintain();
    }
    t.comment(`seed ${seed}, ${count} operations, ${kills} kills: ${JSON.stringify(done)}`);
  },
);

t.test(
  '[G17] [G27] [G7] [K1] what became forbidden while a message waits 2 seconds in the before-callback stays unsaid',
  async (t) => {
    const { db } = await openTestDatabase(t);
    const told: string[] = [];
    let waiting = 0;
    const changed = Promise.withResolvers<void>();
    const bus = createLocalBus({ logger: makeTestLogger().logger });
    const { im } = await openIm(t, {
      database: { db },
      app: groupTestApp().im,
      deps: {
        bus,
        ports: {
          beforeGroup: {
            wants: (_, command) => command === 'Group.CallbackBeforeSendMsg',
            async ask() {
              waiting += 1;
              // And longer, where the machine takes longer for what happens meanwhile.
              await Promise.all([delay(2_000), changed.promise]);
              return { kind: 'allow', outcome: 'allowed' };
            },
          },
        },
      },
    });
    bus.subscribe((_, event) => {
      if (event.kind === 'group-message' && event.message.extra !== '{"tip":true}') told.push(event.groupId);
    });
    const account = (name: string) => im.accounts.ensure(imAppId, name as AccountId);
    const [admin, ann, bea, cem] = await Promise.all([
      account('admin'),
      account('ann'),
      account('bea'),
      account('cem'),
    ]);
    const self = (account: Account): Actor => ({ account, authority: 'self', origin });
    const boss: Actor = { account: admin, authority: 'administrator', origin };
    const { groups, groupMessages } = im;
    const who = [bea.identifier];
    const cases: Record<string, { meanwhile: (groupId: string) => Promise<unknown>; wanted: object }> = {
      removed: {
        meanwhile: (id) => groups.remove(self(ann), id, who),
        wanted: { ok: false, error: 'GROUP_FORBIDDEN' },
      },
      gone: { meanwhile: (id) => groups.quit(self(bea), id), wanted: { ok: false, error: 'GROUP_FORBIDDEN' } },
      muted: { meanwhile: (id) => groups.mute(self(ann), id, who, 600), wanted: { ok: false, error: 'GROUP_MUTED' } },
      'all muted': {
        meanwhile: (id) => groups.modify(self(ann), id, { isMuted: true }),
        wanted: { ok: false, error: 'GROUP_MUTED' },
      },
      dismissed: { meanwhile: (id) => groups.dismiss(self(ann), id), wanted: { ok: false, error: 'GROUP_UNKNOWN' } },
      'dismissed and made anew': {
        async meanwhile(id) {
          await groups.dismiss(self(ann), id);
          await groups.create(boss, {
            type: 'Public',
            name: 'anew',
            groupId: id,
            owner: ann.identifier,
            members: [{ account: bea.identifier }],
          });
        },
        wanted: { ok: false, error: 'GROUP_UNKNOWN' },
      },
      'removed and taken in again': {
        async meanwhile(id) {
          await groups.remove(self(ann), id, who);
          await groups.add(boss, id, who);
        },
        wanted: { ok: true, value: { seq: 3 } },
      },
      'no longer an admin, all muted': {
        async meanwhile(id) {
          await groups.modifyMember(boss, id, bea.identifier, { role: 'Member' });
          await groups.modify(boss, id, { isMuted: true });
        },
        wanted: { ok: false, error: 'GROUP_MUTED' },
      },
      'joined by another': {
        meanwhile: (id) => groups.add(boss, id, [cem.identifier]),
        wanted: { ok: true, value: { seq: 2 } },
      },
    };
    for (const name of Object.keys(cases)) {
      const members = [{ account: bea.identifier, ...(name.includes('admin') ? { isAdmin: true } : {}) }];
      const made = await groups.create(boss, { type: 'Public', name, groupId: name, owner: ann.identifier, members });
      t.ok(made.ok, name);
    }
    const sent = Object.entries(cases).map(([name, { meanwhile, wanted }]) => ({
      ...{ name, meanwhile, wanted },
      sending: groupMessages.send({
        ...{ actor: self(bea), from: bea, groupId: name },
        draft: { body: textBody('hello'), random: 1, priority: 'Normal', isOnlineOnly: false },
        deadline: AbortSignal.timeout(60_000),
      }),
    }));
    await until(() => waiting === sent.length);
    await Promise.all(sent.map(({ name, meanwhile }) => meanwhile(name)));
    changed.resolve();
    for (const { name, sending, wanted } of sent) {
      const result = await sending;
      t.match(result, wanted, name);
      const history = await groupMessages.history(boss, name, { limit: 100 });
      const texts = history.ok ? history.value.messages.filter(({ message }) => message?.body.includes('hello')) : [];
      t.equal(texts.length, result.ok ? 1 : 0, `${name}: in the history`);
      const seqs = history.ok ? history.value.messages.map(({ seq }) => seq) : [];
      t.strictSame(
        seqs,
        seqs.map((_, index) => seqs.length - index),
        `${name}: no seq is missing`,
      );
      t.equal(told.filter((groupId) => groupId === name).length > 0, result.ok, `${name}: told`);
    }
  },
);

/** What is done, or a part of it that a crash may leave: a hidden group shows itself before the words of its owner are stored. */
type Deed = readonly [what: Op | 'reveal', result: string | undefined];

/** Ways in which it can have gone: every order; what got no answer was done, not done, or in part. */
function histories(ops: readonly Op[], results: readonly (string | undefined)[], isHidden: boolean): Deed[][] {
  if (ops.length === 0) return [[]];
  return ops.flatMap((op, index) => {
    const result = results[index];
    const rest = histories(
      ops.filter((_, other) => other !== index),
      results.filter((_, other) => other !== index),
      isHidden,
    );
    const ways: Deed[][] = [[[op, result]]];
    if (result === undefined) {
      ways.push([]);
      if (op.do === 'send' && isHidden) ways.push([['reveal', undefined]]);
      if (op.do === 'recall') {
        ways.push(...op.seqs.map((_, length): Deed[] => [[{ ...op, seqs: op.seqs.slice(0, length) }, undefined]]));
      }
    }
    return ways.flatMap((way) => rest.map((others) => [...way, ...others]));
  });
}

/** The same, with others in between: a hidden group shows itself in a transaction before that of the words of its owner. */
function revealedEarly(history: readonly Deed[], owner: string): Deed[][] {
  const at = history.findIndex(([op]) => op !== 'reveal' && op.do === 'send' && op.from === owner);
  return Array.from({ length: Math.max(0, at) }, (_, place) => history.toSpliced(place, 0, ['reveal', undefined]));
}

/** Both say no to who is no owner any more of a group that is hidden: which of them depends on when exactly that was seen. */
const isRefusal = (result: string) => result === 'GROUP_UNKNOWN' || result === 'GROUP_FORBIDDEN';
const newest = <T>(list: readonly T[], length: number): T[] => list.slice(Math.max(0, list.length - length));
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** All groups of a place, the oldest first. */
const groupsOf = ({ past, id, group }: Place) => [...past, { id, group }];
const linesOf = (told: GroupState['told']) => told.map(({ who, text }) => `${who}: ${text}`).sort();
const noticesOf = ({ told }: GroupState, name: string) =>
  told
    .filter(({ who, text }) => who === name && text.startsWith('notice '))
    .map(({ text, sec }) => ({ text: text.slice(7), sec }));
/** What was told is compared once; notices stay. */
function forgetTold({ group }: Place): void {
  group.told = group.told.filter(({ text }) => text.startsWith('notice '));
}

function sees(place: Place, name: string): boolean {
  const { member, owner } = modelOf(place);
  const { isGone, isHidden } = place.group;
  return !isGone && member(name) !== undefined && (!isHidden || owner() === name);
}

/** Up to where what was said is not told again to the account. */
function clearedOf({ stays }: GroupState, name: string): number {
  return Math.max(0, ...stays.filter(({ who }) => who === name).map(({ cleared = 0 }) => cleared));
}

/** Lines of an account's lists about the group, which it sees. */
function stateOf(place: Place, name: string) {
  const { row, id, group } = place;
  const model = modelOf(place);
  const self = model.member(name) as Stay;
  const unread = model.unread(self);
  const floor = Math.max(clearedOf(group, name), row.showsEarlier ? 0 : self.from - 1);
  const last = model.readable(name).findLast(({ seq, gone }) => seq > floor && gone === '');
  const seen = self.flag === 'Discard' ? undefined : last?.seq;
  return {
    ...{ row, unread, joined: `${id} ${self.role} ${unread}` },
    state: `${id} ${self.flag} ${group.messages.length} ${self.read} ${unread} ${seen}`,
  };
}

type Seen = Awaited<ReturnType<GroupServer['look']>>;

/** What has to be seen of the group, as far as it was looked at. */
function expected(place: Place, { view, notices }: Seen): Seen {
  const all = groupsOf(place).filter(({ id }) => id === place.id);
  const newestOf = (name: string, { length }: readonly string[]) =>
    newest(
      all.flatMap(({ group }) => noticesOf(group, name)),
      length,
    ).map(({ text }) => text);
  const accounts = view === 'GROUP_UNKNOWN' ? [] : Object.keys(view.accounts);
  return {
    view: place.group.isGone ? 'GROUP_UNKNOWN' : viewOf(place, accounts),
    notices: Object.fromEntries(Object.entries(notices).map(([name, lines]) => [name, newestOf(name, lines)])),
  };
}

/** How many notices more than were seen there should be: of accounts that have too many, the oldest are gone. */
function surplusOf(place: Place, { notices }: Seen): number {
  const all = groupsOf(place).filter(({ id }) => id === place.id);
  return Object.entries(notices).reduce(
    (sum, [name, lines]) =>
      sum + all.reduce((count, { group }) => count + noticesOf(group, name).length, -lines.length),
    0,
  );
}

/** What the administrator, and those accounts, have to find of the group. */
function viewOf(place: Place, accounts: readonly string[]): GroupView {
  const { row, group } = place;
  const model = modelOf(place);
  const { profile, isHidden, messages, stays, requests, mutes } = group;
  type Message = (typeof messages)[number];
  const line = ({ seq, from, text, card, gone }: Message) => `${seq} ${from} ${gone === '' ? `${text}${card}` : gone}`;
  const refusalOf = (who: string) =>
    isHidden && who !== model.owner() ? 'GROUP_UNKNOWN' : model.member(who) ? undefined : 'GROUP_FORBIDDEN';
  const members = model.members().sort((a, b) => (a.who < b.who ? -1 : 1));
  const accountView = (who: string): GroupView['accounts'][string] => {
    const self = model.member(who);
    const seqs = model
      .readable(who)
      .filter(({ seq, gone }) => self?.flag !== 'Discard' && seq > clearedOf(group, who) && gone !== 'blanked')
      .map(({ seq }) => seq);
    return {
      history: refusalOf(who) ?? model.readable(who).map(line),
      sync: refusalOf(who) ?? { seqs, through: messages.length },
      unread: self !== undefined && sees(place, who) ? model.unread(self) : 0,
    };
  };
  return {
    ...{ profile, owner: model.owner(), isHidden, memberCount: members.length, lastSeq: messages.length },
    members: members.map(({ to: _, cleared: __, ...member }) => member),
    past: stays
      .filter(({ from, to }) => to !== Number.POSITIVE_INFINITY && to >= from)
      .map(({ who, from, to }) => `${who} ${from}-${to}`)
      .sort(),
    listed:
      row.listedMembers === 0 ? 'GROUP_FORBIDDEN' : members.map(({ who, role, read }) => `${who} ${role} ${read}`),
    muted: row.canMute
      ? [...mutes]
          .filter(([, until]) => until > nowSec)
          .map(([name, until]) => `${name} ${until}`)
          .sort()
      : 'GROUP_FORBIDDEN',
    requests: requests.map(({ kind, who, result }) => `${kind} ${who} ${result}`).sort(),
    messages: model.readable('admin').map(line),
    accounts: Object.fromEntries(accounts.map((who) => [who, accountView(who)])),
  };
}

/** What is done next: mostly one thing, or a few at once that get in each other's way. */
function choose(place: Place): Op[] {
  place.serial += 1;
  if (place.group.isGone) return [createGroup(place)];
  const ops = place.random.chance(0.08) ? race(place) : [chooseOne(place)];
  // Whoever owned a hidden group when he asked does what a member may, also if it is handed on before it is his turn.
  return place.group.isHidden && ops.some((op) => op.do === 'transfer') ? ops.slice(0, 1) : ops;
}

function createGroup({ index, type, row, random, serial }: Place): Op {
  const isByAdmin = !row.hasOwner || random.chance(0.5);
  const owner = random.of(names);
  const hasOwner = row.hasOwner && (!isByAdmin || random.chance(0.8));
  const applyOption = random.of(['FreeAccess', 'FreeAccess', 'NeedPermission', 'DisableApply'] as const);
  return {
    ...{ do: 'create', type, by: isByAdmin ? 'admin' : owner, owners: hasOwner ? [owner] : [] },
    id: isByAdmin ? `place-${index}` : '',
    profile: { name: `name ${index}-${serial}`, isMuted: false, maxMembers: 5 + random.below(4), applyOption },
    members: names.filter((name) => name !== owner && row.hasInitialMembers && random.chance(0.3)).slice(0, 4),
  };
}

/** Things that are done about as often as their number says. */
const weights = {
  ...{
    send: 30,
    add: 7,
    remove: 4,
    quit: 4,
    apply: 9,
    answer: 9,
    transfer: 2,
    edit: 13,
    mute: 5,
    modify: 4,
  },
  ...{ read: 10, setUnread: 2, recall: 6, blank: 1, dismiss: 0.5 },
};
const kinds = Object.entries(weights).flatMap(([kind, weight]) => Array<string>(weight * 2).fill(kind));

function chooseOne(place: Place, kind: string = place.random.of(kinds)): Op {
  const { group, random } = place;
  const model = modelOf(place);
  const owner = model.owner();
  const members = model.members().map(({ who }) => who);
  // Of a hidden group there is nobody else who does anything.
  const some = group.isHidden && random.chance(0.5) ? [owner] : members;
  const member = some.length > 0 && random.chance(0.85) ? random.of(some) : random.of(names);
  const manager = owner !== '' && random.chance(0.5) ? owner : random.chance(0.3) ? 'admin' : member;
  const who = members.length > 0 && random.chance(0.8) ? random.of(members) : random.of(names);
  const whom = [...new Set([random.of(names), ...(random.chance(0.4) ? [random.of(names), who] : [])])];
  switch (kind) {
    case 'send': {
      const text = `t${place.index}-${++place.serial}`;
      if (!random.chance(0.1)) return { do: 'send', by: member, from: member, text, isLive: random.chance(0.05) };
      return { do: 'send', by: 'admin', from: random.of(['admin', random.of(names)]), text, isLive: false };
    }
    case 'add':
      return { do: 'add', by: manager, whom };
    case 'remove':
      return { do: 'remove', by: manager, whom: random.chance(0.7) ? [who] : whom };
    case 'quit':
      return { do: 'quit', by: member };
    case 'apply':
      return { do: 'apply', by: random.of(names) };
    case 'answer': {
      // Where nobody is asked there is nothing to answer.
      const open = group.requests.filter(({ result }) => result === '' || random.chance(0.1));
      const request = random.of(open);
      if (request === undefined) return { do: 'apply', by: random.of(names) };
      const { kind, who } = request;
      const by = kind === 'application' ? manager : random.chance(0.9) ? who : member;
      return { do: 'answer', kind, who, by, agrees: random.chance(0.7) };
    }
    case 'transfer':
      return { do: 'transfer', by: manager, who };
    case 'edit': {
      const set = random.of([
        { role: random.of(['Admin', 'Member'] as const) },
        { flag: random.of(['AcceptAndNotify', 'AcceptNotNotify', 'Discard'] as const) },
        { card: random.of(['', ' as A', ' as B']) },
      ]);
      return { do: 'edit', by: 'role' in set || random.chance(0.3) ? manager : who, who, set };
    }
    case 'mute':
      return { do: 'mute', by: manager, whom: random.chance(0.7) ? [who] : whom, sec: random.of([0, 30, 600]) };
    case 'modify': {
      const name = { name: `name ${place.index}-${++place.serial}` };
      const fields = random.of([
        name,
        { isMuted: random.chance(0.3) },
        { applyOption: random.of(['FreeAccess', 'NeedPermission'] as const) },
      ]);
      return { do: 'modify', by: random.chance(0.5) ? manager : member, fields };
    }
    case 'read':
      return { do: 'read', by: member, seq: 1 + random.below(group.messages.length + 2) };
    case 'setUnread':
      return { do: 'setUnread', by: 'admin', who, count: 1 + random.below(8) };
    case 'recall': {
      const by = random.chance(0.3) ? 'admin' : member;
      const recent = newest(model.readable('admin'), 7);
      const own = recent.filter(({ from }) => from === by).map(({ seq }) => seq);
      const seqs = [...recent.map(({ seq }) => seq), group.messages.length + 1];
      return { do: 'recall', by, seqs: own.length > 0 && random.chance(0.7) ? newest(own, 3) : [random.of(seqs)] };
    }
    case 'blank':
      return { do: 'blank', by: 'admin', who };
    default:
      return { do: 'dismiss', by: manager };
  }
}

/** Two or three at once. */
function race(place: Place): Op[] {
  const { group, random } = place;
  const model = modelOf(place);
  const members = model.members().map(({ who }) => who);
  const who = members.length > 0 ? random.of(members) : random.of(names);
  const boss = model.owner() === '' ? 'admin' : model.owner();
  const outsiders = names.filter((name) => !members.includes(name));
  const send = chooseOne(place, 'send');
  const say: Op = { do: 'send', by: who, from: who, text: `t${place.index}-${++place.serial}`, isLive: false };
  const next = group.messages.length + 1;
  const races: Op[][] = [
    // The last place.
    outsiders.slice(0, 3).map((by) => ({ do: 'apply', by })),
    [
      { do: 'add', by: 'admin', whom: [random.of(names)] },
      { do: 'apply', by: random.of(names) },
    ],
    [{ do: 'transfer', by: boss, who }, { do: 'quit', by: who }, chooseOne(place, 'edit')],
    [{ do: 'transfer', by: boss, who }, { do: 'quit', by: boss }, say],
    [{ do: 'mute', by: boss, whom: [who], sec: 30 }, say, send],
    [{ do: 'remove', by: boss, whom: [who] }, say, send],
    [
      { do: 'modify', by: boss, fields: { isMuted: true } },
      say,
      { do: 'modify', by: boss, fields: { isMuted: false } },
    ],
    // The same twice.
    [send, send],
    [say, { do: 'recall', by: 'admin', seqs: [next] }, { do: 'blank', by: 'admin', who }],
    [say, { do: 'read', by: random.of(names), seq: next }, send],
    [chooseOne(place), chooseOne(place), chooseOne(place)],
  ];
  if (random.chance(0.3)) races.push([{ do: 'dismiss', by: 'admin' }, say, chooseOne(place, 'add')]);
  const ops = random.of(races);
  return ops.length === 0 ? [send, say] : ops;
}
