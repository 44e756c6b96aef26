/**
 * The load generator of one peer, a process of its own: holds all members of the groups, sends, and checks that each message reaches each
 * of them exactly once, in the same order.
 */
import { parentOptions } from '../../test/support/measured-process.ts';
import type { Scenario } from '../support/chat-contest.ts';
import {
  forEach,
  type Latencies,
  type LoadOptions,
  latenciesOf,
  openAtOnce,
  pace,
  serveLoad,
  stallMs,
} from '../support/chat-load.ts';
import { bareRooms } from './bare-room.ts';
import { createLinkRooms } from './link-room.ts';
import { Room } from './room.ts';
import { memberName, type RoomProtocol, roomName } from './room-terminal.ts';
import { xmppRooms } from './xmpp-room.ts';

/** The count is of deliveries. */
export type GroupScenario = Scenario<Extract<LoadQuestion, { do: 'send' }>>;

/** Latencies are from a message's sending to its receipt by the last member. */
export type LoadQuestion =
  | { do: 'open'; groups: number; members: number }
  /** So that nobody is taken for gone while others are measured. */
  | { do: 'beat' }
  | {
      do: 'send';
      messages: number;
      /** Members of each group that send. */
      senders: number;
      /** Messages a second, of all groups together; absent: each sender has one in flight. */
      perSec?: number;
    };

const { protocol: protocolName, port, app } = parentOptions<LoadOptions>();
const protocols: Record<LoadOptions['protocol'], () => RoomProtocol> = {
  link: () => createLinkRooms(app ?? { sdkAppId: 0, secret: '' }),
  xmpp: () => xmppRooms,
  bare: () => bareRooms,
};
const protocol = protocols[protocolName]();
const rooms: Room[] = [];
let membersEach = 0;
let problem: string | undefined;
/** Counts on over all runs: no service has seen a number before. */
let nextNumber = 1;

async function open(groups: number, members: number): Promise<void> {
  membersEach = members;
  for (let group = 0; group < groups; group += 1) {
    const room = new Room(members, protocol);
    rooms.push(room);
    await forEach(members, openAtOnce, async (index) => {
      const place = { port, account: memberName(group, index, members), room: roomName(group) };
      const terminal = await protocol.connect(place, {
        onFrame: (payload) => room.frame(index, payload),
        onReceived: (number) => room.received(index, number),
        onProblem(reason) {
          problem ??= reason;
          room.run?.fail(reason);
        },
      });
      room.join(index, terminal);
    });
    const accounts = Array.from({ length: members }, (_, index) => memberName(group, index, members));
    await protocol.gather(port, roomName(group), accounts);
  }
}

/** Resolves with how long each message took. */
function send({ messages, senders, perSec }: Extract<LoadQuestion, { do: 'send' }>): Promise<Float64Array> {
  const first = nextNumber;
  nextNumber += messages;
  const sentMs = new Float64Array(messages);
  const tookMs = new Float64Array(messages);
  const missing = new Int32Array(messages).fill(membersEach);
  let sent = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const stalled = setTimeout(
      () => fail(`no message is done for ${stallMs} ms, after ${done} of ${messages}`),
      stallMs,
    );
    let ticking: NodeJS.Timeout | undefined;
    const end = (): void => {
      clearTimeout(stalled);
      clearInterval(ticking);
      for (const room of rooms) room.run = undefined;
    };
    const fail = (reason: string): void => {
      end();
      reject(new Error(reason));
    };
    /** By the members in turns: of each group one, then the next ones. */
    const sendNext = (turn: number): void => {
      if (sent === messages) return;
      const n = sent;
      sent += 1;
      turnOf[n] = turn;
      sentMs[n] = performance.now();
      rooms[turn % rooms.length]?.send(Math.floor(turn / rooms.length) % senders, first + n);
    };
    const turnOf = new Int32Array(messages);
    const run = {
      fail,
      delivered(number: number) {
        const n = number - first;
        if (!(n >= 0 && n < sent)) return fail(`message ${number} came unasked`);
        const left = (missing[n] ?? 0) - 1;
        missing[n] = left;
        if (left !== 0) return;
        tookMs[n] = performance.now() - (sentMs[n] ?? 0);
        done += 1;
        stalled.refresh();
        if (done === messages) {
          end();
          resolve(tookMs);
        } else if (perSec === undefined) sendNext(turnOf[n] ?? 0);
      },
    };
    for (const room of rooms) room.begin(run, senders);
    if (perSec === undefined) {
      for (let turn = 0; turn < senders * rooms.length; turn += 1) sendNext(turn);
      return;
    }
    ticking = pace(perSec, (due) => {
      while (sent < Math.min(due, messages)) sendNext(sent);
    });
  });
}

async function answer(question: LoadQuestion): Promise<Latencies> {
  if (question.do === 'send') return latenciesOf(await send(question));
  if (question.do === 'open') await open(question.groups, question.members);
  else for (const room of rooms) room.beat();
  return { p50Ms: 0, p99Ms: 0 };
}

serveLoad(answer, () => problem);
