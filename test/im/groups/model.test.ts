import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import type { Actor } from '../../../src/im/group-services.ts';
import { createLocalBus } from '../../../src/im/local-bus.ts';
import type { Account } from '../../../src/im/model.ts';
import type { AccountId } from '../../../src/wire/index.ts';
import { makeTestLogger, openTestDatabase, until } from '../../support/database.ts';
import { groupTestApp, groupTestTypeOf, groupTestTypes } from '../../support/group-app.ts';
import { GroupModel } from '../../support/group-model.ts';
import type { GroupView, Op } from '../../support/group-ops.ts';
import { type GroupServer, Killed, openGroupServer } from '../../support/group-server.ts';
import { imAppId, openIm } from '../../support/im.ts';
import { textBody } from '../../support/im-draft.ts';

/**
 * Random operations in several groups at once against the reference model, several of them on one group at the same time, while the process
 * that serves is killed again and again. `MODEL_OPERATIONS` and `MODEL_SEED` for other walks.
 */
const operations = Number(process.env.MODEL_OPERATIONS ?? 20_000);
const seed = Number(process.env.MODEL_SEED ?? 20_261_126);
t.setTimeout(320_000);

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

/** One of the places where groups come and go. */
interface Place {
  readonly index: number;
  readonly random: Random;
  model: GroupModel;
  serial: number;
  /** Of all groups that were here. */
  readonly ids: Set<string>;
  /** What was done since everything agreed, for whoever has to find out why it no longer does. */
  trace: string[];
}

t.test(
  '[G1][G6][G7][G11][G12][G15][G17][G18][G20][G26][G27][G33][G34][G36][G39] 20,000 random operations, with crashes, agree with the model',
  { timeout: 300_000 },
  async (t) => {
    const { db, dataDir } = await openTestDatabase(t);
    const server = await openGroupServer(t, { dataDir, accounts: names, db: db.pool });
    const random = createRandom(seed);
    const done: Record<string, number> = {};
    let count = 0;
    let killAt = Number.POSITIVE_INFINITY;
    let kills = 0;
    let restarted = Promise.resolve();
    const all = Array.from(
      { length: places },
      (_, index): Place => ({
        ...{ index, random: createRandom(seed * 31 + index * 7_919 + 1), model: new GroupModel(), serial: 0 },
        ...{ ids: new Set(), trace: [] },
      }),
    );

    const passTo = (nowMs: number) => {
      server.nowMs = nowMs;
      for (const { model } of all) model.nowSec = Math.floor(nowMs / 1_000);
    };
    passTo(server.nowMs);

    type Answer = { result: string; told: string[] };
    /** undefined: it was killed; whether it was done is not known. */
    async function attempt(place: Place, op: Op): Promise<Answer | undefined> {
      count += 1;
      done[op.do] = (done[op.do] ?? 0) + 1;
      const asked = server.perform(place.model.id, op);
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
      const names = ops.map((op) => JSON.stringify(op));
      const answers = await Promise.all(ops.map((op) => attempt(place, op)));
      place.trace.push(
        ...names.map((name, index) => `${ops.length > 1 ? '∥ ' : ''}${name} → ${answers[index]?.result}`),
      );
      const [op, answer] = [ops[0] as Op, answers[0]];
      if (op.do === 'create' && answer?.result.startsWith('created ')) op.id = answer.result.slice(8);
      if (ops.length === 1 && answer !== undefined) {
        const wanted = place.model.apply(op, groupTestTypeOf);
        if (answer.result !== wanted) fail(place, `result of ${names[0]}`, answer.result, wanted);
        const told = place.model.told.sort();
        if (!isDeepStrictEqual(answer.told, told)) fail(place, `who was told what of ${names[0]}`, answer.told, told);
      } else {
        await settle(place, ops, answers);
      }
      place.model.told = [];
      place.ids.add(place.model.id);
    }

    /** Several at once, or one whose outcome is not known: some order of them explains results and state. */
    async function settle(place: Place, ops: readonly Op[], answers: readonly (Answer | undefined)[]): Promise<void> {
      const [first] = ops;
      const results = answers.map((answer) => answer?.result);
      if (first?.do === 'create' && first.id === '') first.id = (await idOf(first.name)) ?? '';
      const isLost = results.includes(undefined);
      // Who is a member when a message is stored hears of it. (Of tips whoever is one when they are told; flags and what was lost aside.)
      const isExact = !isLost && !ops.some((op) => op.do === 'flag');
      const wordsOf = (told: readonly string[]) => told.filter((line) => /: [0-9]+ t[0-9]/.test(line)).sort();
      const told = wordsOf(answers.flatMap((answer) => answer?.told ?? []));
      if (isLost) await restarted;
      const explained = histories(ops, results, place.model.isHidden).flatMap((history) => {
        const model = place.model.copy();
        const fits = history.every(([op, result]) => {
          const wanted = model.apply(op, groupTestTypeOf);
          return (
            result === undefined || result === wanted || (model.isHidden && isRefusal(result) && isRefusal(wanted))
          );
        });
        return fits && (!isExact || isDeepStrictEqual(wordsOf(model.told), told)) ? [model] : [];
      });
      const groupId = first?.do === 'create' ? first.id : place.model.id;
      const seen = await server.look(groupId, false);
      const found = explained.find((model) => isDeepStrictEqual(plain(seen), plain(expected(model, groupId, seen))));
      const what = `${isLost ? 'what was left of' : 'some order of'} ${ops.map((op) => JSON.stringify(op)).join(' ∥ ')}`;
      const [likely] = explained;
      const wanted = likely === undefined ? 'no order of them' : plain(expected(likely, groupId, seen));
      if (found === undefined) fail(place, what, plain(seen), wanted);
      else place.model = found;
      // A sender that got no answer says it again.
      for (const [index, op] of ops.entries()) {
        if (results[index] !== undefined || op.do !== 'send' || op.live === true) continue;
        const again = await attempt(place, op);
        place.model.told = [];
        place.trace.push(`again ${JSON.stringify(op)} → ${again?.result}`);
        if (again === undefined) return settle(place, [op], [undefined]);
        const wanted = place.model.apply(op, groupTestTypeOf);
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
      const seen = await server.look(place.model.id, true);
      const wanted = expected(place.model, place.model.id, seen);
      if (isDeepStrictEqual(plain(seen), plain(wanted))) t.pass(`group ${place.index} after ${count} operations`);
      else fail(place, `group ${place.index}`, plain(seen), plain(wanted));
    }

    async function compareAccount(name: string): Promise<void> {
      const view = await server.lookAtAccount(name);
      const groups = all.map(({ model }) => model).filter((model) => sees(model, name));
      const lines = groups.flatMap((model) => {
        const { role = '', flag = '', read = 0, from = 0 } = model.members.get(name) ?? {};
        const floor = Math.max(model.cleared.get(name) ?? 0, model.row.showsEarlier ? 0 : from - 1);
        const last = model
          .readable(name)
          .findLast((seq) => seq > floor && model.isKept(seq) && model.messages[seq - 1]?.gone === '');
        const state = `${model.id} ${flag} ${model.messages.length} ${read} ${model.unread(name)} ${flag === 'Discard' ? undefined : last}`;
        const joined = `${model.id} ${role} ${model.unread(name)}`;
        return [{ state, joined, row: model.row, unread: model.unread(name) }];
      });
      const notices = all.map(({ model }) =>
        model.notices
          .filter(({ who, sec }) => who === name && sec >= model.nowSec - 7 * 86_400)
          .map(({ kind, by }) => `${kind} by ${by}`),
      );
      const total = Math.min(100, notices.flat().length);
      const requests = all.flatMap(({ model, index }) =>
        model.requests
          .filter(({ kind, who, isPast }) =>
            kind === 'invitation'
              ? who === name
              : !isPast && !model.isGone && ['Owner', 'Admin'].includes(model.members.get(name)?.role ?? ''),
          )
          .map(({ kind, who, inviter, result }) => `${index} ${kind} ${who} ${inviter} ${result}`),
      );
      const placeOf = (groupId: string) => all.find(({ ids }) => ids.has(groupId))?.index ?? -1;
      const linesOf = (index: number) => view.notices.filter(([id]) => placeOf(id) === index).map(([, line]) => line);
      const found = {
        joined: view.joined,
        states: view.states,
        unread: view.unread,
        requests: view.requests.map(([id, line]) => `${placeOf(id)} ${line}`).sort(),
        total: view.notices.length,
        unreadNotices: view.unreadNotices,
        notices: all.map(({ index }) => linesOf(index)),
      };
      const wanted = {
        joined: lines
          .filter(({ row }) => row.isInJoinedList)
          .map(({ joined }) => joined)
          .sort(),
        states: lines
          .filter(({ row }) => row.isStored)
          .map(({ state }) => state)
          .sort(),
        unread: lines.reduce((sum, { unread }) => sum + unread, 0),
        requests: requests.sort(),
        total,
        unreadNotices: total,
        // More than are kept: those of all places together.
        notices: notices.map((some, index) => newest(some, linesOf(index).length)),
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
      passTo(server.nowMs + sec * 1_000);
      if (sec > 86_400) await server.maintain();
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
              await delay(2_000);
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
        deadline: AbortSignal.timeout(10_000),
      }),
    }));
    await until(() => waiting === sent.length);
    await Promise.all(sent.map(({ name, meanwhile }) => meanwhile(name)));
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

/** Ways in which it can have gone: every order; what got no answer was done, not done, or in part. */
function histories(
  ops: readonly Op[],
  results: readonly (string | undefined)[],
  isHidden: boolean,
): [Op, string | undefined][][] {
  if (ops.length === 0) return [[]];
  return ops.flatMap((op, index) => {
    const result = results[index];
    const rest = histories(
      ops.filter((_, other) => other !== index),
      results.filter((_, other) => other !== index),
      isHidden,
    );
    const ways: [Op, string | undefined][][] = [[[op, result]]];
    if (result === undefined) {
      ways.push([]);
      if (op.do === 'send' && isHidden) ways.push([[{ by: 'admin', do: 'reveal' }, undefined]]);
      if (op.do === 'recall')
        ways.push(
          ...op.seqs.map((_, length) => [[{ ...op, seqs: op.seqs.slice(0, length) }, undefined] as [Op, undefined]]),
        );
    }
    return ways.flatMap((way) => rest.map((others) => [...way, ...others]));
  });
}

/** Both say no to who is no owner any more of a group that is hidden: which of them depends on when exactly that was seen. */
const isRefusal = (result: string) => result === 'GROUP_UNKNOWN' || result === 'GROUP_FORBIDDEN';
const newest = <T>(list: readonly T[], length: number): T[] => list.slice(Math.max(0, list.length - length));
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const sees = (model: GroupModel, name: string) =>
  !model.isGone && model.members.has(name) && (!model.isHidden || model.owner === name);

type Seen = Awaited<ReturnType<GroupServer['look']>>;

/** What has to be seen of the group, as far as it was looked at. */
function expected(model: GroupModel, groupId: string, { view, notices }: Seen): Seen {
  const noticesOf = (name: string, { length }: readonly string[]) =>
    newest(
      model.notices.filter((one) => one.who === name && one.groupId === groupId),
      length,
    ).map(({ kind, by }) => `${kind} by ${by}`);
  const accounts = view === 'GROUP_UNKNOWN' ? [] : Object.keys(view.accounts);
  return {
    view: model.isGone ? 'GROUP_UNKNOWN' : viewOf(model, accounts),
    notices: Object.fromEntries(Object.entries(notices).map(([name, lines]) => [name, noticesOf(name, lines)])),
  };
}

/** What the administrator, and those accounts, have to find of the group. */
function viewOf(model: GroupModel, accounts: readonly string[]): GroupView {
  const { name, owner, applyOption, maxMembers, isMuted, isHidden, row, messages, nowSec } = model;
  const line = (seq: number) => {
    const { from, text, card, gone } = messages[seq - 1] as (typeof messages)[number];
    return `${seq} ${from} ${gone === '' ? `${text}${card}` : gone}`;
  };
  const history = (who: string) => (row.isStored ? model.readable(who).filter((seq) => model.isKept(seq)) : []);
  const refusalOf = (who: string) =>
    isHidden && who !== owner ? 'GROUP_UNKNOWN' : model.members.has(who) ? undefined : 'GROUP_FORBIDDEN';
  const members = [...model.members].sort(([a], [b]) => (a < b ? -1 : 1));
  const accountView = (who: string): GroupView['accounts'][string] => {
    const cleared = model.cleared.get(who) ?? 0;
    const isDiscarding = model.members.get(who)?.flag === 'Discard';
    const seqs = history(who).filter((seq) => !isDiscarding && seq > cleared && messages[seq - 1]?.gone !== 'blanked');
    return {
      history: refusalOf(who) ?? history(who).map(line),
      sync: refusalOf(who) ?? { seqs, through: messages.length },
      unread: sees(model, who) ? model.unread(who) : 0,
    };
  };
  return {
    ...{
      name,
      owner,
      applyOption,
      maxMembers,
      isMuted,
      isHidden,
      memberCount: members.length,
      lastSeq: messages.length,
    },
    members: members.map(([name, { role, from, read, flag, card, joined, sent }]) => ({
      name,
      from,
      role,
      flag,
      card,
      joined,
      sent,
      read,
    })),
    past: model.past
      .filter(([, from, to]) => to >= from)
      .map(([name, from, to]) => `${name} ${from}-${to}`)
      .sort(),
    listed:
      row.listedMembers === 0 ? 'GROUP_FORBIDDEN' : members.map(([name, { role, read }]) => `${name} ${role} ${read}`),
    muted: row.canMute
      ? [...model.mutes]
          .filter(([, until]) => until > nowSec)
          .map(([name, until]) => `${name} ${until}`)
          .sort()
      : 'GROUP_FORBIDDEN',
    requests: model.requests.filter(({ isPast }) => !isPast).map(({ kind, who, result }) => `${kind} ${who} ${result}`),
    messages: history('admin').map(line),
    accounts: Object.fromEntries(accounts.map((who) => [who, accountView(who)])),
  };
}

/** What is done next: mostly one thing, or a few at once that get in each other's way. */
function choose(place: Place): Op[] {
  const { model, random } = place;
  if (model.isGone) return [createGroup(place)];
  if (random.chance(0.08)) return race(place);
  const op = chooseOne(place);
  return [op];
}

function createGroup(place: Place): Op {
  const { random } = place;
  const type = groupTestTypes[place.index % groupTestTypes.length] as string;
  const row = groupTestTypeOf(type);
  const number = `${place.index}-${++place.serial}`;
  const isByAdmin = !row.hasOwner || random.chance(0.5);
  const owner = random.of(names);
  const hasOwner = row.hasOwner && (!isByAdmin || random.chance(0.8));
  const members = names.filter((name) => name !== owner && row.hasInitialMembers && random.chance(0.3)).slice(0, 4);
  return {
    ...{ do: 'create', name: `name ${number}`, type, members, maxMembers: 5 + random.below(4) },
    by: isByAdmin ? 'admin' : owner,
    // The same one again after a group was dismissed.
    id: isByAdmin ? `place-${place.index}` : '',
    applyOption: random.of(['FreeAccess', 'FreeAccess', 'NeedPermission', 'DisableApply']),
    ...(hasOwner ? { owner } : {}),
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
    role: 4,
    flag: 6,
    card: 3,
    mute: 5,
    modify: 4,
  },
  ...{ read: 10, setUnread: 2, recall: 6, blank: 1, dismiss: 0.5 },
};
const kinds = Object.entries(weights).flatMap(([kind, weight]) => Array<string>(weight * 2).fill(kind));

function chooseOne(place: Place, kind: string = place.random.of(kinds)): Op {
  const { model, random } = place;
  const members = [...model.members.keys()];
  const member = members.length > 0 && random.chance(0.85) ? random.of(members) : random.of(names);
  const manager = model.owner !== '' && random.chance(0.5) ? model.owner : random.chance(0.3) ? 'admin' : member;
  const who = members.length > 0 && random.chance(0.8) ? random.of(members) : random.of(names);
  const some = [...new Set([random.of(names), ...(random.chance(0.4) ? [random.of(names), who] : [])])];
  switch (kind) {
    case 'send': {
      const text = `t${place.index}-${++place.serial}`;
      if (random.chance(0.1))
        return { do: 'send', by: 'admin', text, ...(random.chance(0.5) ? { as: random.of(names) } : {}) };
      return { do: 'send', by: member, text, ...(random.chance(0.05) ? { live: true } : {}) };
    }
    case 'add':
      return { do: 'add', by: manager, whom: some };
    case 'remove':
      return { do: 'remove', by: manager, whom: random.chance(0.7) ? [who] : some };
    case 'quit':
      return { do: 'quit', by: member };
    case 'apply':
      return { do: 'apply', by: random.of(names) };
    case 'answer': {
      // Where nobody is asked there is nothing to answer.
      const open = model.requests.filter(({ result, isPast }) => !isPast && (result === '' || random.chance(0.1)));
      const request = random.of(open);
      if (request === undefined) return { do: 'apply', by: random.of(names) };
      const { kind, who } = request;
      const by = kind === 'application' ? manager : random.chance(0.9) ? who : member;
      return { do: 'answer', kind, who, by, agrees: random.chance(0.7) };
    }
    case 'transfer':
      return { do: 'transfer', by: manager, who };
    case 'role':
      return { do: 'role', by: manager, who, role: random.of(['Admin', 'Member']) };
    case 'flag':
      return {
        do: 'flag',
        by: random.chance(0.8) ? who : manager,
        who,
        flag: random.of(['AcceptAndNotify', 'AcceptNotNotify', 'Discard']),
      };
    case 'card':
      return { do: 'card', by: random.chance(0.5) ? who : manager, who, card: random.of(['', ' as A', ' as B']) };
    case 'mute':
      return { do: 'mute', by: manager, whom: random.chance(0.7) ? [who] : some, sec: random.of([0, 30, 600]) };
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
      return { do: 'read', by: member, seq: 1 + random.below(model.messages.length + 2) };
    case 'setUnread':
      return { do: 'setUnread', by: 'admin', who, count: 1 + random.below(8) };
    case 'recall': {
      const last = model.messages.length;
      const recent = Array.from({ length: 8 }, (_, n) => last + 1 - n).filter((seq) => seq > last || model.isKept(seq));
      const by = random.chance(0.3) ? 'admin' : member;
      const own = recent.filter((seq) => model.messages[seq - 1]?.from === by);
      return { do: 'recall', by, seqs: own.length > 0 && random.chance(0.7) ? own.slice(0, 3) : [random.of(recent)] };
    }
    case 'blank':
      return { do: 'blank', by: 'admin', who };
    default:
      return { do: 'dismiss', by: manager };
  }
}

/** Two or three at once. */
function race(place: Place): Op[] {
  const { model, random } = place;
  const members = [...model.members.keys()];
  const who = members.length > 0 ? random.of(members) : random.of(names);
  const boss = model.owner === '' ? 'admin' : model.owner;
  const outsiders = names.filter((name) => !model.members.has(name));
  const send = chooseOne(place, 'send');
  const say: Op = { do: 'send', by: who, text: `t${place.index}-${++place.serial}` };
  const races: Op[][] = [
    // The last place.
    outsiders.slice(0, 3).map((by) => ({ do: 'apply', by })),
    [
      { do: 'add', by: 'admin', whom: [random.of(names)] },
      { do: 'apply', by: random.of(names) },
    ],
    [{ do: 'transfer', by: boss, who }, { do: 'quit', by: who }, chooseOne(place, 'role')],
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
    [say, { do: 'recall', by: 'admin', seqs: [model.messages.length + 1] }, { do: 'blank', by: 'admin', who }],
    [say, { do: 'read', by: random.of(names), seq: model.messages.length + 1 }, send],
    [chooseOne(place), chooseOne(place), chooseOne(place)],
  ];
  if (random.chance(0.3)) races.push([{ do: 'dismiss', by: 'admin' }, say, chooseOne(place, 'add')]);
  const ops = random.of(races);
  return ops.length === 0 ? [send, say] : ops;
}
