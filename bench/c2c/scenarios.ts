import type { Scenario } from '../support/chat-contest.ts';
import type { LoadQuestion } from './load.ts';

export interface ChatScenario extends Scenario<LoadQuestion> {
  /** What is counted. */
  unit: 'message' | 'login';
}

/** Of the load generator. */
export const loadScript = new URL('load.ts', import.meta.url);

/** Terminals that have to be open before, see {@link LoadQuestion}. */
export const terminals = { pairs: 256, lonely: 64 };

/** A quick run does so much less of everything. */
const quickDivisor = 6;
const steadyPerSec = 500;
const loginsAtOnce = 16;

export interface Scenarios {
  all: ChatScenario[];
  /** Those with an aim. */
  at64: ChatScenario;
  steady: ChatScenario;
}

export function makeScenarios(quick: boolean): Scenarios {
  const less = (count: number): number => (quick ? Math.ceil(count / quickDivisor) : count);
  const closedLoop = (senders: number, messages: number): ChatScenario =>
    sending(`${senders} senders, each to a receiver that is there, one message in flight a sender`, {
      senders,
      messages: less(messages),
      isAway: false,
    });
  const at16 = closedLoop(16, 3_000);
  const at64 = closedLoop(64, 6_000);
  const at256 = closedLoop(256, 6_000);
  const steady = sending(`${steadyPerSec} messages a second, steadily, by 64 senders`, {
    senders: 64,
    messages: less(6 * steadyPerSec),
    isAway: false,
    perSec: steadyPerSec,
  });
  const away = sending('64 senders, each to a receiver that is away, one message in flight a sender', {
    senders: 64,
    messages: less(4_000),
    isAway: true,
  });
  const logins: ChatScenario = {
    title: `Logins, ${loginsAtOnce} at once`,
    unit: 'login',
    count: less(400),
    question: { do: 'login', logins: less(400), atOnce: loginsAtOnce },
  };
  return { all: [at16, at64, at256, steady, away, logins], at64, steady };
}

function sending(title: string, options: Omit<Extract<LoadQuestion, { do: 'send' }>, 'do'>): ChatScenario {
  return { title, unit: 'message', count: options.messages, question: { do: 'send', ...options } };
}
