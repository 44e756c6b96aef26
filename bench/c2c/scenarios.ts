import type { LoadQuestion } from './load.ts';

/** The same work for several peers. */
export interface Scenario {
  title: string;
  unit: 'message' | 'login';
  /** How many of them in a round. */
  count: number;
  /** What the load generator is asked for. */
  question: LoadQuestion;
}

/** Terminals that have to be open before, see {@link LoadQuestion}. */
export const terminals = { pairs: 256, lonely: 64 };

/** A quick run does so much less of everything. */
const quickDivisor = 6;
const steadyPerSec = 500;
const loginsAtOnce = 16;

export interface Scenarios {
  all: Scenario[];
  /** Those with an aim. */
  at64: Scenario;
  steady: Scenario;
}

export function makeScenarios(quick: boolean): Scenarios {
  const less = (count: number): number => (quick ? Math.ceil(count / quickDivisor) : count);
  const closedLoop = (senders: number, messages: number): Scenario =>
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
  const logins: Scenario = {
    title: `Logins, ${loginsAtOnce} at once`,
    unit: 'login',
    count: less(400),
    question: { do: 'login', logins: less(400), atOnce: loginsAtOnce },
  };
  return { all: [at16, at64, at256, steady, away, logins], at64, steady };
}

function sending(title: string, options: Omit<Extract<LoadQuestion, { do: 'send' }>, 'do'>): Scenario {
  return { title, unit: 'message', count: options.messages, question: { do: 'send', ...options } };
}
