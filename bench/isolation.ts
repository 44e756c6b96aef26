import { startMeasured } from '../test/support/measured-process.ts';
import { quantile } from './before/pace.ts';
import type { BackendAnswer, BackendQuestion, BackendStarted } from './isolation/backend.ts';
import { type BeginQuestion, conversationsOf, type RelayAnswer, type RelayQuestion } from './isolation/events.ts';
import type { RelayOptions } from './isolation/relay.ts';
import { startDatabase } from './support/database.ts';
import { cpuMicrosOf } from './support/process-figures.ts';
import type { BenchOptions } from './support/question.ts';
import { formatSpread, spreadOf } from './support/spread.ts';

/** Question: what do conversations that fail, and an endpoint that hangs, cost the others? */

const concurrency = 64;
const accepted = 0.95;

interface Run {
  perSec: number;
  /** Of relay and PostgreSQL, for each delivery that counts. */
  cpuMicros: number;
  lagMs: { p50: number; p99: number };
  answer: BackendAnswer;
}

export async function benchIsolation({ quick, progress }: BenchOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const backend = await startMeasured<BackendStarted>(new URL('isolation/backend.ts', import.meta.url), {});
  stack.defer(backend.close);
  const database = await startDatabase();
  stack.defer(database.close);
  const relay = await startMeasured<object>(new URL('isolation/relay.ts', import.meta.url), {
    port: backend.started.port,
    database: database.target,
    concurrency,
  } satisfies RelayOptions);
  stack.defer(relay.close);

  const [count, each, rounds] = quick ? [300, 5, 1] : [1_000, 60, 3];
  let run = 0;
  const measure = async (tellsBad: boolean): Promise<Run> => {
    const conversations = conversationsOf(count);
    const events = conversations.filter(({ kind }) => kind === 'healthy').length * each;
    run += 1;
    const begun = await relay.ask<RelayAnswer>({ run } satisfies BeginQuestion);
    if (begun.problem !== undefined) throw new Error(begun.problem);
    const cpuMicros = async (): Promise<number> => (await cpuMicrosOf(relay.pid)) + (await database.cpuMicros());
    const before = await cpuMicros();
    const came = backend.ask<BackendAnswer>({ run, events } satisfies BackendQuestion);
    const sent = await relay.ask<RelayAnswer>({ run, conversations, tellsBad, each } satisfies RelayQuestion);
    if (sent.problem !== undefined) throw new Error(sent.problem);
    const answer = await came;
    if (answer.problem !== undefined) throw new Error(answer.problem);
    const used = (await cpuMicros()) - before;
    const lagMs = { p50: quantile(answer.lagsMs, 0.5), p99: quantile(answer.lagsMs, 0.99) };
    return { perSec: (events * 1_000) / (answer.lastMs - sent.startedMs), cpuMicros: used / events, lagMs, answer };
  };
  const runs: { alone: Run; beside: Run }[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? 'warm-up' : `round ${round} of ${rounds}`);
    // In turns, each first as often as the other.
    const first = await measure(round % 2 === 1);
    const second = await measure(round % 2 === 0);
    if (round > 0) runs.push(round % 2 === 1 ? { beside: first, alone: second } : { alone: first, beside: second });
  }
  const all = conversationsOf(count);
  const healthy = all.filter(({ kind }) => kind === 'healthy').length;
  const failing = all.filter(({ kind }) => kind === 'failing').length;
  const ratio = spreadOf(runs.map(({ alone, beside }) => beside.perSec / alone.perSec));
  const row = (name: string, pick: (one: { alone: Run; beside: Run }) => Run): string => {
    const figure = (read: (one: Run) => number): string =>
      formatSpread(spreadOf(runs.map((one) => read(pick(one)))), 0);
    const cells = [
      figure(({ perSec }) => perSec),
      figure(({ cpuMicros }) => cpuMicros),
      figure(({ lagMs }) => lagMs.p50),
      figure(({ lagMs }) => lagMs.p99),
    ];
    return `| ${name} | ${cells.join(' | ')} |`;
  };
  const most = Math.max(...runs.map(({ beside }) => beside.answer.mostHanging));
  return [
    '## isolation: what do bad conversations and a bad endpoint cost the others?',
    '',
    `${count} conversations of three apps, each app at a URL of its own, ${each} events of each: ${failing} conversations are answered 500`,
    `for ever, and one of the three URLs never answers. Measured are the ${healthy} others: beside them, and where no`,
    `backend wants to hear of the bad ones.`,
    `Median of ${rounds} rounds (lowest–highest), after one that does not count.`,
    ...(quick ? ['**Quick run: shows that it works, not how fast.**'] : []),
    '',
    '| the others | deliveries/s | CPU µs | lag p50, ms | lag p99, ms |',
    '|---|---|---|---|---|',
    row('without the bad ones', ({ alone }) => alone),
    row('beside the bad ones', ({ beside }) => beside),
    '',
    `Ratio of deliveries/s, round by round: ${formatSpread(ratio, 2)}.`,
    ...(quick
      ? ['No verdict from a quick run.']
      : [`Aim: at least ${accepted} (${ratio.median >= accepted ? 'met' : 'NOT met'}).`]),
    '',
    'How it was measured:',
    '',
    `- Events are written as fast as they are told, an event of each conversation in turn, never more than three ahead: those of the bad`,
    '  ones, too. In both runs the same rows are written; without the bad ones theirs are for nobody, so what is compared is what it costs to',
    '  try and to wait, and not what it costs to write. Deliveries/s: from the first that is written to the last that the backend has. The backend checks',
    '  that each comes once, in the order of its conversation. CPU: of relay and PostgreSQL in that time, for each delivery of the others.',
    `- Of each run the URLs are new, so that nobody knows yet which one hangs. It never had more than ${most} POSTs at once; 8 is the bound.`,
    `- ${concurrency} lanes at once, PostgreSQL for everything, defaults otherwise. Relay, backends and PostgreSQL are processes of their own`,
    '  and share the cores.',
  ].join('\n');
}
