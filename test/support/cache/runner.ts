import type { Test } from 'tap';
import type { SessionClaims } from '../../../src/auth/index.ts';
import type { AccountId, TerminalId } from '../../../src/wire/index.ts';
import { openProxied, type Proxied, type ProxiedOptions } from '../proxied.ts';
import { type Message, splitMessages, statusOf, type Wire } from '../wire.ts';
import {
  type Answer,
  type Case,
  countLines,
  expand,
  type FieldExpectations,
  fieldValue,
  type Mode,
  type PlainStep,
  parseMember,
  type Script,
  type SessionName,
  type Setting,
  splitList,
  stepIn,
} from './messages.ts';

/** What the origin said, for the client's answer to be held against. */
interface Given {
  status: number;
  body: string;
  path: string;
}

/** One case under way: what the origin does for its path, and what it has seen there. */
interface Run {
  id: string;
  startMs: number;
  script: Script;
  given: Given[];
  requests: Message[];
  held: (() => void)[];
  /** By path: the number of the answer that a stored response should come from. */
  latest: Map<string, number>;
  /** Requests that the steps account for; another one after the end of the case is a fault. */
  settled: number;
}

const sessions: Record<SessionName, Partial<SessionClaims>> = {
  alice: { terminalId: 'tarqqnwfrcda' as TerminalId, account: 'alice' as AccountId },
  bob: { terminalId: 'tarqqnwfrcdb' as TerminalId, account: 'bob' as AccountId },
  elsewhere: { terminalId: 'tarqqnwfrcdc' as TerminalId, account: 'alice' as AccountId },
  carol: { terminalId: 'tarqqnwfrcda' as TerminalId, account: 'carol' as AccountId },
  guest: { terminalId: 'tarqqnwfrcdd' as TerminalId },
  android: { terminalId: 'tarqqnwfrcde' as TerminalId, account: 'dora' as AccountId, device: { os: 'Android' } },
  ios: { terminalId: 'tarqqnwfrcdf' as TerminalId, account: 'emil' as AccountId, device: { os: 'iOS' } },
};

const settings: Record<Setting, Omit<ProxiedOptions, 'options' | 'access'>> = {
  standard: {},
  sharedRoute: { route: { cacheScope: 'shared' } },
  impatient: { timeouts: { headMs: 150 } },
};

/** Statuses whose responses have no content. */
const isBare = (status: number): boolean => status < 200 || status === 204 || status === 304;

export interface Table {
  run(t: Test, entry: Case, mode: Mode): Promise<void>;
  /** Were there requests to the origin that no step accounts for? Call it when all cases are through. */
  assertQuiet(t: Test): void;
}

/**
 * Runs cases one after the other, against one proxy and one origin for each mode and setting. Time is a number that the
 * steps move; it never goes back.
 */
export function createTable(t: Test): Table {
  let nowMs = Date.UTC(2026, 9, 1, 12);
  const places = new Map<string, Promise<Place>>();
  const finished: { title: string; run: Run; uncounted: boolean }[] = [];

  interface Place {
    proxied: Proxied;
    runs: Map<string, Run>;
  }

  function placeOf(mode: Mode, setting: Setting): Promise<Place> {
    const key = `${mode} ${setting}`;
    let place = places.get(key);
    if (place === undefined) {
      place = openPlace(mode, setting);
      places.set(key, place);
    }
    return place;
  }

  async function openPlace(mode: Mode, setting: Setting): Promise<Place> {
    const runs = new Map<string, Run>();
    const proxied = await openProxied(
      t,
      {
        onRequest(wire, request) {
          const target = request.start.split(' ')[1] ?? '';
          const run = runs.get(/^\/([\w-]+)/.exec(target)?.[1] ?? '');
          if (run !== undefined) answerAs(run, wire, request, target);
          else wire.socket.destroy();
        },
      },
      { ...settings[setting], access: { cache: mode }, options: { clock: () => nowMs } },
    );
    return { proxied, runs };
  }

  const write = (run: Run, text: string): string => expand(text, { startMs: run.startMs, nowMs });

  function answerAs(run: Run, wire: Wire, request: Message, target: string): void {
    run.requests.push(request);
    const { script } = run;
    const path = target.slice(run.id.length + 1);
    if (script === 'hang' || script === 'close') {
      run.given.push({ status: 0, body: '', path });
      if (script === 'close') wire.socket.destroy();
      return;
    }
    const answer: Answer =
      typeof script === 'function' ? script(request) : 'slice' in script ? { fields: script } : script;
    nowMs += (answer.takesSec ?? 0) * 1_000;
    const isHead = request.start.startsWith('HEAD ');
    const status = Number((answer.status ?? '200').slice(0, 3));
    const body = isBare(status) ? '' : (answer.body ?? `${run.id} answer ${run.given.length + 1}`);
    run.given.push({ status, body: isHead ? '' : body, path });
    const send = (): void => {
      if (answer.interim !== undefined) wire.send(answer.interim);
      if (answer.raw !== undefined) {
        wire.send(write(run, answer.raw));
        wire.socket.end();
        return;
      }
      wire.send(write(run, responseHead(answer, status, body)) + (isHead ? '' : framed(answer, body)));
      if (answer.framing === 'close') wire.socket.end();
    };
    if (answer.hold) run.held.push(send);
    else send();
  }

  async function runStep(t: Test, place: Place, run: Run, step: PlainStep, says: string, client: Client) {
    nowMs += (step.after ?? 0) * 1_000;
    if (step.origin !== undefined) run.script = step.origin;
    if (step.release) for (const send of run.held.splice(0)) send();
    const before = run.requests.length;
    const bytes = requestBytes(run, step);
    const path = step.path ?? '';
    const isHead = step.method === 'HEAD';
    let answer = await client.exchange(bytes, isHead);
    if (step.poll) {
      for (let i = 0; i < 400 && findFault(answer, run, step, path) !== undefined; i += 1) {
        // What happens in the background takes a few turns of the loop; the origin is on the same one.
        await new Promise((resolve) => setTimeout(resolve, i < 20 ? 1 : 20));
        answer = await client.exchange(bytes, isHead);
      }
    }
    if (step.refresh) {
      await place.proxied.origin.until('the refresh in the background', () => run.requests.length > before);
    }
    const asked = run.requests.length - before;
    const [atLeast, atMost] = expectedRequests(step);
    t.ok(
      asked >= atLeast && asked <= atMost,
      `${says} the origin was asked ${asked} times, of ${atLeast} to ${atMost}`,
    );
    if (step.from === 'origin' && (step.method ?? 'GET') === 'GET') noteLatest(run, path, run.given.length);

    assertAnswer(t, says, answer, run, step, path);
    const seen = run.requests[run.requests.length - 1];
    if (step.saw !== undefined && seen !== undefined) assertFields(t, `${says} the origin saw`, seen, run, step.saw);
    if (step.sawMethod !== undefined) t.equal(seen?.start.split(' ')[0], step.sawMethod, `${says} method upstream`);
    if (step.refresh && run.given.at(-1)?.status === 200) noteLatest(run, path, run.given.length);
    run.settled = run.requests.length;
  }

  function noteLatest(run: Run, path: string, number: number): void {
    const given = run.given[number - 1];
    if (given === undefined || given.status === 304 || given.status === 206 || given.status === 0) return;
    run.latest.set(path, number);
  }

  function requestBytes(run: Run, step: PlainStep): string {
    const host = step.host ?? 'cache.test';
    const method = step.method ?? 'GET';
    const target = `${step.absolute ? `http://${host}` : ''}/${run.id}${step.path ?? ''}`;
    const lines = (step.send ?? []).map((line) => `${write(run, line)}\r\n`);
    if (step.session !== undefined) lines.push(`QAL-Session: ${sessionToken(step.session)}\r\n`);
    const needsLength = step.upload !== undefined || !/^(?:GET|HEAD|OPTIONS|TRACE)$/.test(method);
    if (needsLength) lines.push(`Content-Length: ${step.upload?.length ?? 0}\r\n`);
    return `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines.join('')}\r\n${step.upload ?? ''}`;
  }

  let tokenOf: (claims: Partial<SessionClaims>) => string = () => '';
  function sessionToken(name: SessionName): string {
    return tokenOf({ ...sessions[name], issuedAtMs: nowMs, expiresAtMs: nowMs + 900_000 });
  }

  /** The origin's answer that the client should get. */
  function sourceOf(run: Run, step: PlainStep, path: string): Given | undefined {
    const number = step.answer ?? (step.from === 'origin' ? run.given.length : run.latest.get(path));
    return number === undefined ? undefined : run.given[number - 1];
  }

  /** What is wrong with status, body and Age; undefined: nothing. */
  function findFault(answer: Message | undefined, run: Run, step: PlainStep, path: string): string | undefined {
    if (step.from === 'cut') return answer === undefined ? undefined : `a whole answer came: ${answer.start}`;
    if (answer === undefined) return 'the connection was cut before the answer was complete';
    const source = sourceOf(run, step, path);
    const statuses = [step.status ?? source?.status ?? 0].flat();
    if (!statuses.includes(statusOf(answer))) return `status is ${statusOf(answer)}, not ${statuses.join(' or ')}`;
    if (step.newerThan !== undefined) {
      const newer = run.given.slice(step.newerThan).some(({ body }) => body === answer.body);
      if (!newer) return `the body is ${JSON.stringify(answer.body)}, of no answer after ${step.newerThan}`;
    } else if (step.body !== undefined || step.status === undefined) {
      const body = step.body ?? (step.method === 'HEAD' ? '' : (source?.body ?? ''));
      const isRight = typeof body === 'string' ? answer.body === body : body.test(answer.body);
      if (!isRight) return `the body is ${JSON.stringify(answer.body)}, not ${body}`;
    }
    const age = fieldValue(answer, 'Age');
    const needsAge = step.from === 'cache' && step.age === undefined && statusOf(answer) !== 416;
    if (needsAge && !/^\d+$/.test(age ?? '')) return `Age is ${age}, no number`;
    if (step.age !== undefined && age !== step.age?.toString()) return `Age is ${age}, not ${step.age}`;
    return undefined;
  }

  function assertAnswer(t: Test, says: string, answer: Message | undefined, run: Run, step: PlainStep, path: string) {
    const fault = findFault(answer, run, step, path);
    t.equal(fault, undefined, `${says} the right answer came`);
    if (answer === undefined) return;
    assertFields(t, `${says} the answer`, answer, run, step.fields ?? {});
    if (step.from !== 'origin') t.ok(countLines(answer, 'Age') <= 1, `${says} Age stands once at most`);
    t.ok(countLines(answer, 'Date') === 1, `${says} Date stands once`);
    assertCacheStatus(t, says, answer, step);
  }

  function assertFields(t: Test, whose: string, message: Message, run: Run, expected: FieldExpectations): void {
    for (const [name, value] of Object.entries(expected)) {
      const actual = fieldValue(message, name);
      if (value === null) t.equal(actual, undefined, `${whose}: no ${name}`);
      else if (typeof value === 'string') t.equal(actual, write(run, value), `${whose}: ${name}`);
      else t.match(actual ?? '', value, `${whose}: ${name}`);
    }
  }

  return {
    async run(t, entry, mode) {
      const place = await placeOf(mode, entry.setting ?? 'standard');
      tokenOf = place.proxied.access.session;
      nowMs = Math.ceil(nowMs / 1_000) * 1_000 + 1_000;
      const run: Run = {
        id: entry.id,
        startMs: nowMs,
        script: [],
        given: [],
        requests: [],
        held: [],
        latest: new Map(),
        settled: 0,
      };
      place.runs.set(entry.id, run);
      const steps = entry.steps.map((step) => stepIn(mode, step));
      const uncounted = steps.some(({ asked }) => typeof asked === 'object');
      finished.push({ title: titleOf(entry, mode), run, uncounted });
      const client = createClient(place.proxied);
      try {
        for (const [i, step] of steps.entries()) {
          const says = `step ${i + 1}:`;
          if (!uncounted) t.equal(run.requests.length, run.settled, `${says} nothing was asked in between`);
          await runStep(t, place, run, step, says, client);
        }
      } finally {
        for (const send of run.held.splice(0)) send();
        client.close();
      }
    },
    assertQuiet(t) {
      const loud = finished.filter(({ run, uncounted }) => !uncounted && run.requests.length !== run.settled);
      t.strictSame(
        loud.map(({ title }) => title),
        [],
      );
    },
  };
}

export function titleOf(entry: Case, mode: Mode): string {
  return `${entry.id} (${mode}) ${entry.section}: ${entry.name}`;
}

function responseHead(answer: Answer, status: number, body: string): string {
  const lines = [...(answer.fields ?? [])];
  const has = (name: string): boolean => lines.some((line) => line.toLowerCase().startsWith(`${name}:`));
  if (!has('date') && !answer.noDate) lines.unshift('Date: {now}');
  if (!isBare(status)) {
    if (!has('content-type')) lines.push('Content-Type: text/plain');
    if (answer.framing === 'chunked') lines.push('Transfer-Encoding: chunked');
    else if (answer.framing !== 'close') lines.push(`Content-Length: ${body.length}`);
  }
  if (answer.framing === 'close') lines.push('Connection: close');
  return `HTTP/1.1 ${answer.status ?? '200 OK'}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
}

function framed(answer: Answer, body: string): string {
  if (answer.framing !== 'chunked') return body;
  return `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
}

function expectedRequests(step: PlainStep): readonly [number, number] {
  if (typeof step.asked === 'number') return [step.asked, step.asked];
  if (step.asked !== undefined) return step.asked;
  const count = (step.from === 'cache' || step.from === 'proxy' ? 0 : 1) + (step.refresh ? 1 : 0);
  return [count, count];
}

/** RFC 9211: our member is the last; it says either hit, or why the request went on. */
function assertCacheStatus(t: Test, says: string, answer: Message, step: PlainStep): void {
  const members = splitList(fieldValue(answer, 'Cache-Status') ?? '', ',');
  const { cache, parameters } = parseMember(members.at(-1) ?? '');
  const text = `in Cache-Status: ${members.join(', ')}`;
  // Whether a 416 of the cache is "based upon a stored response" (RFC 9211 §2) is left open.
  if (statusOf(answer) === 416 && cache !== 'qalgate') return;
  if (step.cs !== undefined || step.from === 'cache' || step.from === 'revalidated' || step.from === 'fallback') {
    t.equal(cache, 'qalgate', `${says} our member is the last ${text}`);
  }
  if (cache !== 'qalgate') return;
  if (step.from === 'cache') {
    t.equal(parameters.get('hit'), 'true', `${says} hit ${text}`);
    t.notOk(parameters.has('fwd'), `${says} no fwd ${text}`);
  } else if (step.from !== 'proxy') {
    t.notOk(parameters.has('hit'), `${says} no hit ${text}`);
    t.ok(parameters.has('fwd'), `${says} fwd ${text}`);
  }
  for (const wanted of splitList(step.cs ?? '', ';')) {
    const [name = '', value = 'true'] = wanted.split('=');
    if (name.startsWith('!')) t.notOk(parameters.has(name.slice(1)), `${says} ${wanted} ${text}`);
    else t.equal(parameters.get(name), value, `${says} ${wanted} ${text}`);
  }
}

interface Client {
  /** Sends a request and waits for its final response; undefined: the connection was cut before that was complete. */
  exchange(bytes: string, noBody: boolean): Promise<Message | undefined>;
  close(): void;
}

/** One connection, opened anew when it has ended. */
function createClient(proxied: Proxied): Client {
  let wire: Wire | undefined;
  return {
    async exchange(bytes, noBody) {
      if (wire === undefined || wire.ended !== 'no') wire = await proxied.client();
      const current = wire;
      const skip = current.received.length;
      const final = (): Message | undefined =>
        splitMessages(current.received.slice(skip), { noBody, ended: current.ended === 'end' }).find(
          (message) => statusOf(message) >= 200,
        );
      current.send(bytes);
      await current.until('the answer', () => final() !== undefined || current.ended !== 'no');
      return final();
    },
    close() {
      wire?.socket.destroy();
    },
  };
}
