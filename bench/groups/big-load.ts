/**
 * A big group from the outside, by a process of its own: makes it over REST, then joins, lists and sends over links, one thing at a time,
 * and tells how long each took.
 */
import { parentOptions, serveParent } from '../../test/support/measured-process.ts';
import { loginOf } from '../c2c/link-terminal.ts';
import { textOf } from '../c2c/terminal.ts';
import { closeWebSocket, onFrames, openWebSocket } from '../c2c/web-socket.ts';
import type { LinkApp } from '../support/chat-load.ts';
import { callRest } from './rest-call.ts';

export interface BigLoadOptions {
  port: number;
  app: LinkApp;
}

export type BigAction = 'join' | 'list' | 'send';

export type BigQuestion =
  /** Accounts that are members; so many of them are online. */
  { do: 'open'; members: number; online: number } | { do: BigAction; count: number };

/** Milliseconds that each took; else what was wrong. */
export type BigAnswer = { tookMs: number[] } | { problem: string };

const { port, app } = parentOptions<BigLoadOptions>();
const group = 'big';
/** Of the app's own. */
const groupType = 'BenchRoom';
const conversation = `group:${group}`;
const guest = 'guest';
const perImport = 100;
const perCall = 500;
const listed = 100;
const openAtOnce = 32;
let memberCount = 0;
let nextNumber = 1;

interface Frame {
  id?: number;
  ok?: Record<string, unknown>;
  error?: { name: string; reason: string };
  on?: string;
  name?: string;
}

interface BigTerminal {
  ask(request: object): Promise<Record<string, unknown>>;
  close(): Promise<void>;
}

const online: BigTerminal[] = [];
const memberOf = (n: number): string => `big${n}`;
const rest = (command: string, body: object) => callRest({ port, app }, command, body);

async function connect(account: string): Promise<BigTerminal> {
  const socket = await openWebSocket(`ws://127.0.0.1:${port}/im/v1/link`);
  const asked = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  let lastId = 0;
  const fail = (reason: string): void => {
    for (const { reject } of asked.values()) reject(new Error(`${account}: ${reason}`));
    asked.clear();
  };
  onFrames<Frame>(socket, ({ id, ok, error, on, name }) => {
    if (on === 'bye') return fail(`the service says bye: ${name}`);
    if (id === undefined) return;
    const answer = asked.get(id);
    asked.delete(id);
    if (error === undefined) answer?.resolve(ok ?? {});
    else answer?.reject(new Error(`${account}: ${error.name}: ${error.reason}`));
  });
  socket.on('error', (error) => fail(error.message));
  socket.on('close', () => fail('the connection was closed'));
  const ask = (request: object): Promise<Record<string, unknown>> => {
    lastId += 1;
    const answer = Promise.withResolvers<Record<string, unknown>>();
    asked.set(lastId, answer);
    socket.send(JSON.stringify({ id: lastId, ...request }));
    return answer.promise;
  };
  await ask(loginOf(app, account));
  return { ask, close: () => closeWebSocket(socket) };
}

async function open(members: number, onlineCount: number): Promise<void> {
  memberCount = members;
  const names = Array.from({ length: members }, (_, n) => memberOf(n));
  for (let from = 0; from < members; from += perImport) {
    await rest('im_open_login_svc/multiaccount_import', { Accounts: names.slice(from, from + perImport) });
  }
  const room = { GroupId: group, Name: group, Type: groupType, Owner_Account: names[0] };
  await rest('group_open_http_svc/create_group', room);
  for (let from = 1; from < members; from += perCall) {
    const MemberList = names.slice(from, from + perCall).map((name) => ({ Member_Account: name }));
    await rest('group_open_http_svc/add_group_member', { GroupId: group, Silence: 1, MemberList });
  }
  for (let from = 0; from < onlineCount; from += openAtOnce) {
    const some = names.slice(from, Math.min(from + openAtOnce, onlineCount));
    online.push(...(await Promise.all(some.map(connect))));
  }
}

/** In turns, so that it is not always the same one. */
const anyone = (turn: number): BigTerminal => {
  const terminal = online[turn % online.length];
  if (terminal === undefined) throw new Error('nobody is online');
  return terminal;
};

/** What is timed, between what goes before and after. */
async function timed(
  count: number,
  work: (turn: number) => Promise<unknown>,
  after = async () => {},
): Promise<number[]> {
  const tookMs: number[] = [];
  for (let turn = 0; turn < count; turn += 1) {
    const startedMs = performance.now();
    await work(turn);
    tookMs.push(performance.now() - startedMs);
    await after();
  }
  return tookMs;
}

const actions: Record<BigAction, (count: number) => Promise<number[]>> = {
  async join(count) {
    const terminal = await connect(guest);
    const join = async (): Promise<void> => {
      const { result } = await terminal.ask({ do: 'applyToGroup', group });
      if (result !== 'joined') throw new Error(`${guest} is ${result}`);
    };
    const tookMs = await timed(count, join, async () => {
      await terminal.ask({ do: 'quitGroup', group });
    });
    await terminal.close();
    return tookMs;
  },
  list: (count) =>
    timed(count, async (turn) => {
      // Pages from all over the group.
      const offset = (turn * 37 * listed) % memberCount;
      const { total, members } = await anyone(turn).ask({ do: 'groupMembers', group, offset, limit: listed });
      const wanted = Math.min(listed, memberCount - offset);
      if (total !== memberCount || (members as unknown[]).length !== wanted) throw new Error(`a list of ${total}`);
    }),
  send: (count) =>
    timed(count, async (turn) => {
      nextNumber += 1;
      const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: textOf(nextNumber) } }];
      const { seq } = await anyone(turn).ask({ do: 'send', conversation, clientId: `m${nextNumber}`, body });
      if (seq === undefined) throw new Error('a message was dropped');
    }),
};

async function answer(question: BigQuestion): Promise<number[]> {
  if (question.do !== 'open') return await actions[question.do](question.count);
  await open(question.members, question.online);
  return [];
}

serveParent({}, async (question): Promise<BigAnswer> => {
  try {
    return { tookMs: await answer(question as BigQuestion) };
  } catch (error) {
    return { problem: (error as Error).message };
  }
});
