/**
 * The load generator of one peer, a process of its own: holds the terminals, sends, and checks that each message arrives
 * exactly once and in order.
 */
import { parentOptions } from '../../test/support/measured-process.ts';
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
import { bareProtocol } from './bare-terminal.ts';
import { createLinkProtocol } from './link-terminal.ts';
import type { Protocol, Terminal } from './terminal.ts';
import { xmppProtocol } from './xmpp-terminal.ts';

/** Latencies are from a message's sending to its receipt; of those to accounts that are away, to its acceptance. */
export type LoadQuestion =
  /** Opens so many pairs of terminals, a sender and its receiver; those that send to accounts that are away alone. */
  | { do: 'open'; pairs: number; lonely: number }
  | {
      do: 'send';
      /** How many of the pairs, or of the lonely ones. */
      senders: number;
      messages: number;
      isAway: boolean;
      /** Messages a second, of all together; absent: each sender has one in flight. */
      perSec?: number;
    }
  /** Logs in and out again, accounts of a set of their own. */
  | { do: 'login'; logins: number; atOnce: number }
  /** Logs in and stays. */
  | { do: 'stay'; terminals: number; atOnce: number };

const { protocol: protocolName, port, app } = parentOptions<LoadOptions>();
const protocols: Record<LoadOptions['protocol'], () => Protocol> = {
  link: () => createLinkProtocol(app ?? { sdkAppId: 0, secret: '' }),
  xmpp: () => xmppProtocol,
  bare: () => bareProtocol,
};
const protocol = protocols[protocolName]();

/** The run at hand; what is told outside of one is wrong. */
let run: { accepted(number: number): void; received(number: number): void; fail(reason: string): void } | undefined;
let problem: string | undefined;
const senders: Terminal[] = [];
const lonely: Terminal[] = [];
const staying: Terminal[] = [];
/** Counts on over all runs: no service has seen a number before. */
let nextNumber = 1;

function connect(account: string, needsAccept = false): Promise<Terminal> {
  return protocol.connect(
    { port, account, needsAccept },
    {
      onAccepted: (number) => run?.accepted(number),
      onReceived: (number) => run?.received(number),
      onProblem(reason) {
        problem ??= reason;
        run?.fail(reason);
      },
    },
  );
}

async function open(pairs: number, lonelyOnes: number): Promise<void> {
  await forEach(pairs, openAtOnce, async (n) => {
    await connect(`receiver${n}`);
    senders[n] = await connect(`sender${n}`);
  });
  await forEach(lonelyOnes, openAtOnce, async (n) => {
    // Once, so that the account exists wherever a login makes it.
    await (await connect(`away${n}`)).close();
    lonely[n] = await connect(`lonely${n}`, true);
  });
}

interface Sending {
  terminals: readonly Terminal[];
  to: string;
  messages: number;
  perSec: number | undefined;
  needs: { accept: boolean; receipt: boolean };
}

/** Resolves with how long each message took. */
function send({ terminals, to, messages, perSec, needs }: Sending): Promise<Float64Array> {
  const first = nextNumber;
  nextNumber += messages;
  const sentMs = new Float64Array(messages);
  const tookMs = new Float64Array(messages);
  const senderOf = new Uint16Array(messages);
  /** What of each is still to come. */
  const missing = new Uint8Array(messages).fill(Number(needs.accept) + Number(needs.receipt));
  const isAccepted = new Uint8Array(messages);
  const latest = new Int32Array(terminals.length).fill(-1);
  let sent = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const stalled = setTimeout(() => fail(`${done} of ${messages} messages in ${stallMs} ms`), stallMs);
    let ticking: NodeJS.Timeout | undefined;
    const end = (): void => {
      clearTimeout(stalled);
      clearInterval(ticking);
      run = undefined;
    };
    const fail = (reason: string): void => {
      end();
      reject(new Error(reason));
    };
    const sendNext = (sender: number): void => {
      if (sent === messages) return;
      const n = sent;
      sent += 1;
      senderOf[n] = sender;
      sentMs[n] = performance.now();
      terminals[sender]?.send(`${to}${sender}`, first + n);
    };
    const count = (n: number): void => {
      missing[n] = (missing[n] ?? 0) - 1;
      if (missing[n] !== 0) return;
      done += 1;
      if (done === messages) {
        end();
        resolve(tookMs);
      } else if (perSec === undefined) sendNext(senderOf[n] ?? 0);
    };
    run = {
      fail,
      accepted(number) {
        const n = number - first;
        if (!needs.accept) return;
        if (!(n >= 0 && n < sent) || isAccepted[n] === 1) return fail(`message ${number} was accepted unasked`);
        isAccepted[n] = 1;
        if (!needs.receipt) tookMs[n] = performance.now() - (sentMs[n] ?? 0);
        count(n);
      },
      received(number) {
        const n = number - first;
        if (!(n >= 0 && n < sent)) return fail(`message ${number} came unasked`);
        const sender = senderOf[n] ?? 0;
        if (n <= (latest[sender] ?? -1)) return fail(`message ${number} came again, or out of order`);
        latest[sender] = n;
        tookMs[n] = performance.now() - (sentMs[n] ?? 0);
        count(n);
      },
    };
    if (perSec === undefined) {
      for (const sender of terminals.keys()) sendNext(sender);
      return;
    }
    ticking = pace(perSec, (due) => {
      while (sent < Math.min(due, messages)) sendNext(sent % terminals.length);
    });
  });
}

async function answer(question: LoadQuestion): Promise<Latencies> {
  const none = { p50Ms: 0, p99Ms: 0 };
  switch (question.do) {
    case 'open':
      await open(question.pairs, question.lonely);
      return none;
    case 'login':
      await forEach(question.logins, question.atOnce, async (n) => (await connect(`login${n}`)).close());
      return none;
    case 'stay':
      await forEach(question.terminals, question.atOnce, async (n) => {
        staying[n] = await connect(`idle${n}`);
      });
      return none;
    case 'send': {
      const { senders: count, messages, isAway, perSec } = question;
      const tookMs = await send({
        terminals: (isAway ? lonely : senders).slice(0, count),
        to: isAway ? 'away' : 'receiver',
        messages,
        perSec,
        needs: { accept: isAway || protocol.alwaysAccepts, receipt: !isAway },
      });
      return latenciesOf(tookMs);
    }
  }
}

serveLoad(answer, () => problem);
