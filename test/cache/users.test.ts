import fc from 'fast-check';
import t from 'tap';
import { firstOf, type RawFields } from '../../src/cache/index.ts';
import type { AccountId, TerminalId } from '../../src/wire/index.ts';
import { type Asked, type Asking, type InProcess, openInProcess } from '../support/cache/in-process.ts';
import { openLive, request } from '../support/cache/live.ts';
import { fieldOf, type Message, splitMessages, statusOf, type Wire } from '../support/wire.ts';

/** Two users never see each other's response (C12), in whatever order things happen. */

/** Who asks: signs of a user in the request. Nobody's sign is another's. */
interface User {
  name: string;
  owner?: string;
  fields: RawFields;
}

const users: User[] = [
  { name: '', fields: [] },
  { name: 'a', owner: 'terminal a', fields: [] },
  { name: 'b', owner: 'terminal b', fields: [] },
  { name: 'a elsewhere', owner: 'other a', fields: [] },
  { name: 'no account', owner: 'terminal ', fields: [] },
  { name: 'cookie 1', fields: ['Cookie', 'id=1'] },
  { name: 'cookie 2', fields: ['Cookie', 'id=2'] },
  { name: 'basic 1', fields: ['Authorization', 'Basic 1'] },
  { name: 'basic 2', fields: ['Authorization', 'Basic 2'] },
  { name: 'c with a cookie', owner: 'terminal c', fields: ['Cookie', 'id=3'] },
  { name: 'd with basic', owner: 'terminal d', fields: ['Authorization', 'Basic 3'] },
];

/** What an origin said, and to whom: its answers carry their number in body and fields. */
interface Said {
  user: User;
  target: string;
  /** Open to everybody by its own word. */
  open: boolean;
  /** With must-revalidate, which opens what came for Authorization (RFC 9111 §3.5). */
  mustRevalidate: boolean;
  closed: boolean;
  setsCookie: boolean;
  /** To a HEAD: fields of nobody in particular may go with what is stored for all. */
  head?: true;
}

/** Independent of the code: what the text of a response allows. */
function readOpenness(fields: RawFields): Pick<Said, 'open' | 'mustRevalidate' | 'closed' | 'setsCookie'> {
  const control = (firstOf(fields, 'cache-control') ?? '').toLowerCase().replaceAll(/"[^"]*"/g, '""');
  const understands = control.includes('must-understand');
  return {
    open: /(^|[\s,])(public|s-maxage=\d+)([\s,]|$)/.test(control),
    mustRevalidate: control.includes('must-revalidate'),
    closed: /(^|[\s,])private([\s,]|$)/.test(control) || (control.includes('no-store') && !understands),
    setsCookie: firstOf(fields, 'set-cookie') !== undefined,
  };
}

/** May the answer that was made for one user be seen by another? */
function mayBeSeen(said: Said, by: User, routeShared: boolean): boolean {
  const { user } = said;
  if (user.name === by.name) return true;
  if (said.closed) return false;
  if (said.open || (said.head === true && user.name === '')) return true;
  if (said.setsCookie) return false;
  const authorized = firstOf(user.fields, 'authorization') !== undefined;
  const plain = user.owner === undefined && firstOf(user.fields, 'cookie') === undefined;
  if (authorized && said.mustRevalidate && plain) return true;
  return routeShared && (!authorized || said.mustRevalidate);
}

const controls = [
  'max-age=10',
  'max-age=0',
  'max-age=100, stale-while-revalidate=1000',
  'max-age=5, stale-if-error=1000',
  'private, max-age=100',
  'PRIVATE',
  'no-store',
  'max-age=100, no-cache',
  'must-revalidate, max-age=100',
  'public, max-age=100',
  's-maxage=100',
  's-maxage=x',
  'public, private, max-age=100',
  'private="x-number", max-age=100',
  'must-understand, no-store, max-age=10',
  'publicx, max-age=50',
  'x="public, s-maxage=9", max-age=90',
];

const responseStep = fc.record({
  kind: fc.constant('answer' as const),
  which: fc.nat(20),
  how: fc.constantFrom('whole', 'whole', 'whole', 'whole', 'head', '304', '304', '503', 'fail'),
  control: fc.option(fc.constantFrom(...controls), { freq: 6 }),
  vary: fc.constantFrom('', '', '', 'Accept-Language', 'Cookie', '*'),
  setsCookie: fc.constantFrom(false, false, false, false, true),
  tagged: fc.boolean(),
  tag: fc.nat(5),
});

const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      user: fc.nat(users.length - 1),
      target: fc.constantFrom('/x', '/x', '/x', '/y'),
      language: fc.constantFrom('', '', 'de', 'en'),
      control: fc.constantFrom('', '', '', '', 'no-cache', 'max-stale', 'max-age=0', 'no-store', 'only-if-cached'),
      condition: fc.constantFrom('', '', '', '', '"1"', '"2"', '*'),
      method: fc.constantFrom('GET', 'GET', 'GET', 'GET', 'GET', 'HEAD'),
      said: fc.option(fc.constantFrom(...controls), { freq: 2 }),
    }),
  },
  { weight: 9, arbitrary: responseStep },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(20), cut: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('time' as const), sec: fc.constantFrom(1, 5, 20, 61, 500) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('purge' as const), all: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('post' as const), target: fc.constantFrom('/x', '/y') }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Runs one interleaving at URLs of its own, and looks at all that anybody got. */
function interleave(
  one: InProcess,
  round: number,
  steps: readonly Step[],
  routeShared: boolean,
  seen: { others: number },
): void {
  const url = (target: string): string => `/${round}${target}`;
  const asking: { user: User; target: string; asking: Asking }[] = [];
  const said = new Map<number, Said>();
  const numberOfTag = new Map<string, number>();
  const firstAsked = one.asked.length;
  const askedOf = (): Asked[] => one.asked.slice(firstAsked);
  const answered = new Set<Asked>();
  const half = new Set<Asked>();
  let count = 0;

  const check = (client: User, target: string, text: string | undefined, what: string): void => {
    if (text === undefined) return;
    for (const digits of text.match(/\d+/g) ?? []) {
      const of = said.get(Number(digits));
      if (of === undefined) throw new Error(`${what} ${digits} that nobody sent`);
      if (of.target !== target) throw new Error(`${what} of another URL`);
      if (of.user.name !== client.name) seen.others += 1;
      if (!mayBeSeen(of, client, routeShared)) {
        throw new Error(`${what} of ${JSON.stringify(of)} came to ${client.name}`);
      }
    }
  };
  const checkAll = (): void => {
    for (const { user, target, asking: one } of asking) {
      if (one.state !== 'answered' && one.state !== 'taken') continue;
      check(user, target, one.body, 'a body');
      check(user, target, firstOf(one.raw, 'x-number'), 'a field');
    }
  };

  for (const each of steps) {
    switch (each.kind) {
      case 'ask': {
        const user = users[each.user] as User;
        const fields = [
          ...user.fields,
          ...(each.language === '' ? [] : ['Accept-Language', each.language]),
          ...(each.control === '' ? [] : ['Cache-Control', each.control]),
          ...(each.condition === '' ? [] : ['If-None-Match', each.condition]),
        ];
        const target = url(each.target);
        const owner = user.owner === undefined ? {} : { owner: user.owner };
        const asked = { target, fields, routeShared, method: each.method, ...owner };
        const client = one.ask(asked);
        asking.push({ user, target, asking: client });
        if (client.state !== 'forwarded' || each.method !== 'HEAD') break;
        // The answer to a HEAD may confirm what is stored, and bring fields.
        count += 1;
        const answer = ['X-Number', String(count), ...(each.said === null ? [] : ['Cache-Control', each.said])];
        said.set(count, { user, target, head: true, ...readOpenness(answer) });
        one.observe(asked, 200, answer);
        break;
      }
      case 'answer': {
        const open = askedOf().filter((asked) => !answered.has(asked) && !asked.destroyed);
        const asked = open[each.which % Math.max(1, open.length)];
        if (asked === undefined) break;
        answered.add(asked);
        if (each.how === 'fail') {
          asked.fail();
          break;
        }
        count += 1;
        const number = count;
        const user = users.find(
          ({ owner, fields }) =>
            owner === asked.owner &&
            fields.every((text) => asked.fields.includes(text)) &&
            fields.length === asked.fields.filter((name) => name === 'Cookie' || name === 'Authorization').length * 2,
        ) as User;
        const confirmed = each.how === '304' ? asked.etags[each.tag % Math.max(1, asked.etags.length)] : undefined;
        const tag = confirmed ?? `"${number}"`;
        const fields = [
          'X-Number',
          String(number),
          ...(each.control === null ? [] : ['Cache-Control', each.control]),
          ...(each.vary === '' ? [] : ['Vary', each.vary]),
          ...(each.setsCookie ? ['Set-Cookie', 'a=b'] : []),
          ...(each.tagged || confirmed !== undefined ? ['ETag', tag] : []),
        ];
        const own = { user, target: asked.target, ...readOpenness(fields) };
        const before = said.get(numberOfTag.get(tag) ?? -1);
        if (confirmed !== undefined && before !== undefined) {
          // The stored fields stay where the 304 does not name them; what it says holds for the stored body, too.
          if (each.control === null)
            Object.assign(own, { open: before.open, mustRevalidate: before.mustRevalidate, closed: before.closed });
          if (own.setsCookie && !readOpenness(fields).open) own.open = false;
          // A cookie stays with what is stored only where the answer that set it was open.
          own.setsCookie ||= before.setsCookie && before.open;
          before.open ||= own.open && !own.closed;
          before.mustRevalidate ||= own.mustRevalidate;
        }
        said.set(number, own);
        if (confirmed === undefined) numberOfTag.set(tag, number);
        if (each.how === 'head') {
          asked.head(fields);
          asked.body(`${number} `);
          half.add(asked);
        } else if (each.how === '304') asked.answer('', fields, 304);
        else asked.answer(String(number), fields, each.how === '503' ? 503 : 200);
        break;
      }
      case 'end': {
        const [asked] = [...half];
        if (asked === undefined) break;
        half.delete(asked);
        if (each.cut) asked.fail();
        else asked.end();
        break;
      }
      case 'time':
        one.time.nowMs += each.sec * 1_000;
        break;
      case 'leave':
        asking[each.which % Math.max(1, asking.length)]?.asking.leave();
        break;
      case 'purge':
        if (each.all) one.cache.distrust();
        else one.cache.purge({ sdkAppId: 1 as never, by: 'prefix', url: `http://a${url('/')}` });
        break;
      case 'post':
        one.observe({ method: 'POST', target: url(each.target) }, 200, []);
    }
    checkAll();
  }
  // Nobody may wait for ever: when the origin has answered everything, everybody has something.
  for (let i = 0; i < 100; i += 1) {
    const open = askedOf().filter((asked) => !answered.has(asked) && !asked.destroyed);
    if (open.length === 0) break;
    for (const asked of open) {
      answered.add(asked);
      asked.fail();
    }
  }
  for (const asked of half) asked.end();
  checkAll();
  const left = new Set(
    steps.flatMap((each) => (each.kind === 'leave' ? [each.which % Math.max(1, asking.length)] : [])),
  );
  for (const [i, { asking: one }] of asking.entries()) {
    if (one.state === 'waiting' && !left.has(i) && steps.every(({ kind }) => kind !== 'leave'))
      throw new Error('somebody still waits');
  }
  for (const { asking: one } of asking) one.leave();
}

t.test('[C12] no user sees what was another one’s, in 10,000 interleavings', async (t) => {
  const seen = { others: 0 };
  let round = 0;
  const places = (['qal', 'rfc9111'] as const).flatMap((mode) =>
    [false, true].map((routeShared) => ({ mode, routeShared, one: openInProcess(mode) })),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 8, maxLength: 40, size: 'max' }), fc.nat(3), (steps, at) => {
      const place = places[at] as (typeof places)[number];
      round += 1;
      if (round % 200 === 0) place.one = openInProcess(place.mode);
      interleave(place.one, round, steps, place.routeShared, seen);
    }),
    { numRuns: 10_000 },
  );
  t.ok(seen.others > 1_000, `${seen.others} answers were shared between users`);
  for (const { one } of places) {
    t.equal(await one.metric('qalgate_cache_fetches'), 0, 'nothing goes on');
    t.equal(await one.metric('qalgate_cache_filling_bytes'), 0);
  }
});

t.test('[C12] the same through the live proxy, on shared connections', async (t) => {
  const said = new Map<string, Said>();
  const held: (() => void)[] = [];
  let random = 12_345;
  const next = (below: number): number => {
    random = (random * 48_271) % 2_147_483_647;
    return random % below;
  };
  let count = 0;
  const live = await openLive(t, {
    onRequest(wire, message) {
      count += 1;
      const number = String(count);
      const control = controls[next(controls.length)] as string;
      const account = fieldOf(message, 'QAL-Account');
      const name = account ?? fieldOf(message, 'Cookie') ?? fieldOf(message, 'Authorization') ?? '';
      const fields = [
        'Cache-Control',
        control,
        ...(next(6) === 0 ? ['Set-Cookie', 'a=b'] : []),
        ...(next(6) === 0 ? ['Vary', 'Accept-Language'] : []),
      ];
      const user = {
        name,
        ...(account === undefined ? {} : { owner: account }),
        fields: ['cookie', 'authorization'].flatMap((field) => {
          const value = fieldOf(message, field);
          return value === undefined ? [] : [field, value];
        }),
      };
      said.set(number, { user, target: message.start.split(' ')[1] ?? '', ...readOpenness(fields) });
      let lines = '';
      for (let i = 0; i < fields.length; i += 2) lines += `${fields[i]}: ${fields[i + 1]}\r\n`;
      const body = `${number}${' '.repeat(next(2) * 5_000)}`;
      held.push(() => {
        if (next(20) === 0) wire.socket.destroy();
        else
          wire.send(`HTTP/1.1 200 OK\r\n${lines}X-Number: ${number}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      });
    },
  });
  const token = (account: string): string =>
    `QAL-Session: ${live.access.session({ terminalId: 'tarqqnwfrcda' as TerminalId, account: account as AccountId, expiresAtMs: live.time.nowMs + 9e8 })}\r\n`;
  const people: [name: string, fields: string][] = [
    ['', ''],
    ['a', token('a')],
    ['b', token('b')],
    ['id=1', 'Cookie: id=1\r\n'],
    ['id=2', 'Cookie: id=2\r\n'],
    ['Basic 1', 'Authorization: Basic 1\r\n'],
  ];
  const wires = (await live.clients(12)).map((wire) => ({
    wire,
    asked: [] as [name: string, target: string][],
    read: 0,
  }));
  let shared = 0;
  const check = (one: (typeof wires)[number]): void => {
    const messages: Message[] = splitMessages(one.wire.received.slice(one.read));
    for (const message of messages) {
      one.read += message.raw.length;
      const [name = '', target = ''] = one.asked.shift() ?? [];
      if (statusOf(message) !== 200) continue;
      const number = message.body.trim();
      const of = said.get(number);
      // The field may be kept back, by `private="x-number"`; another one's may not come.
      if (of?.target !== target || (fieldOf(message, 'X-Number') ?? number) !== number) t.fail(`answer ${number}`);
      if (of === undefined) continue;
      const by = { name, fields: [] };
      if (of.user.name !== name) shared += 1;
      if (!mayBeSeen(of, by, false)) t.fail(`${name} got ${JSON.stringify(of)}`);
    }
  };
  for (let i = 0; i < 600; i += 1) {
    const one = wires[next(wires.length)] as (typeof wires)[number];
    const [name, fields] = people[next(people.length)] as (typeof people)[number];
    const target = `/${next(5)}`;
    if (one.wire.ended === 'no' && one.asked.length < 8) {
      one.asked.push([name, target]);
      one.wire.send(request(target, `${fields}${next(3) === 0 ? 'Accept-Language: de\r\n' : ''}`));
    }
    if (next(3) === 0) await new Promise(setImmediate);
    if (next(2) === 0) held.splice(next(held.length + 1), 1)[0]?.();
    if (next(10) === 0) live.time.nowMs += next(70) * 1_000;
    for (const each of wires) check(each);
  }
  const rest = (wire: Wire): boolean => wire.ended !== 'no';
  while (wires.some((one) => one.asked.length > 0 && !rest(one.wire))) {
    for (const answer of held.splice(0)) answer();
    await new Promise(setImmediate);
    for (const each of wires) check(each);
  }
  t.ok(shared > 20, `${shared} answers were shared`);
});

t.test(
  '[C12] a cookie that a 304 or a HEAD sets goes to nobody else, unless that says itself that it is for all',
  async (t) => {
    for (const opens of [false, true]) {
      const one = openInProcess();
      const nth = (i: number): Asked => one.asked[i] as Asked;
      one.ask({ owner: 'a' });
      nth(0).answer('for all', ['Cache-Control', 'public, max-age=10', 'ETag', '"1"']);
      one.time.nowMs += 20_000;
      const leader = one.ask({ owner: 'b' });
      const follower = one.ask({ owner: 'c' });
      const fields = ['ETag', '"1"', 'Set-Cookie', 'of=b', ...(opens ? ['Cache-Control', 'public, max-age=10'] : [])];
      nth(1).answer('', fields, 304);
      t.strictSame([leader.body, firstOf(leader.raw, 'set-cookie')], ['for all', 'of=b']);
      t.equal(follower.state, opens ? 'answered' : 'waiting');
      t.equal(firstOf(follower.raw, 'set-cookie'), opens ? 'of=b' : undefined);
      if (!opens) nth(2).answer('for all', ['Cache-Control', 'public, max-age=10', 'ETag', '"1"']);
      t.equal(firstOf(one.ask({ owner: 'd' }).raw, 'set-cookie'), opens ? 'of=b' : undefined);
      one.observe({ method: 'HEAD' }, 200, ['ETag', '"1"', 'Set-Cookie', 'of=e']);
      t.not(firstOf(one.ask({ owner: 'd' }).raw, 'set-cookie'), 'of=e');
    }
  },
);

t.test('[C12] [C3] what a 304 tells one user refreshes what all get, and tells them nothing of him', async (t) => {
  const one = openInProcess();
  const nth = (i: number): Asked => one.asked[i] as Asked;
  const first = ['Cache-Control', 'public, max-age=10', 'ETag', '"1"', 'X-User', 'nobody'];
  one.ask({ owner: 'a' });
  nth(0).answer('for all', first);
  one.time.nowMs += 20_000;
  one.ask({ owner: 'b' });
  nth(1).answer('', ['ETag', '"1"', 'X-User', 'b', 'X-Balance-Of-B', '7'], 304);
  const other = one.ask({ owner: 'c' });
  t.equal(one.asked.length, 2, 'it is fresh again');
  t.equal(firstOf(other.raw, 'x-user'), 'nobody');
  t.equal(firstOf(other.raw, 'x-balance-of-b'), undefined);

  one.time.nowMs += 20_000;
  one.ask({ owner: 'b' });
  nth(2).answer('', [...first.slice(0, 4), 'X-User', 'all'], 304);
  t.equal(firstOf(one.ask({ owner: 'c' }).raw, 'x-user'), 'all', 'unless it says itself that it is for all');
});

t.test('[C12] a HEAD that does not say that it is for all takes from all what was', async (t) => {
  const one = openInProcess();
  one.ask();
  one.asked.at(-1)?.answer('for all', ['Cache-Control', 'public, max-age=60']);
  t.equal(one.ask({ fields: ['Cookie', 'a=b'] }).body, 'for all');
  one.observe({ method: 'HEAD' }, 200, ['Cache-Control', 'max-age=60']);
  t.equal(one.ask({ fields: ['Cookie', 'a=b'] }).state, 'waiting');
  t.equal(one.ask().state, 'waiting');
});

t.test('[C12] who shows a sign of himself is not answered with what was stored for those who show none', async (t) => {
  const one = openInProcess();
  one.ask();
  one.asked.at(-1)?.answer('anonymous', ['Cache-Control', 'max-age=60']);
  t.equal(one.ask().body, 'anonymous');
  one.ask({ owner: 'alice' });
  one.asked.at(-1)?.answer("alice's", ['Cache-Control', 'max-age=60']);
  t.equal(one.ask({ owner: 'alice' }).body, "alice's");
  for (const who of [{ fields: ['Cookie', 'a=b'] }, { fields: ['Authorization', 'x'] }, { owner: 'bob' }])
    t.equal(one.ask(who).state, 'waiting', JSON.stringify(who));
});
