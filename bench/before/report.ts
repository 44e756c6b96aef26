import { formatSpread, type Spread, spreadOf } from '../support/spread.ts';
import { dependencyVersion } from '../support/stage.ts';
import { quantile } from './pace.ts';

/** One call, by the machine's clock. */
export interface Call {
  readonly startedMs: number;
  readonly endedMs: number;
  /** When the backend had the whole question, and answered; absent: it heard none. */
  readonly answeredMs?: number | undefined;
}

/** Milliseconds. */
export interface RoundFigures {
  readonly p50: number;
  readonly p99: number;
}

/** By round. */
export interface Overhead {
  readonly own: readonly RoundFigures[];
  readonly bare: readonly RoundFigures[];
}

export interface BeforeResults {
  readonly quick: boolean;
  readonly calls: number;
  readonly rounds: number;
  readonly load: { readonly busyMs: number; readonly everyMs: number };
  readonly pace: {
    readonly silent: number;
    readonly unheard: number;
    readonly answering: number;
    readonly overhead: number;
  };
  readonly overhead: Overhead;
  /** By what the backend does. */
  readonly answers: ReadonlyMap<string, readonly Call[]>;
  /** The same by undici alone. */
  readonly control: ReadonlyMap<string, readonly Call[]>;
  readonly failures: ReadonlyMap<string, readonly Call[]>;
  readonly silences: ReadonlyMap<string, readonly Call[]>;
}

/** Milliseconds. */
const accepted = { earliest: 2_000, latest: 2_025, afterAnswer: 5, overheadP50: 1, overheadP99: 5 };
const shares = [0.5, 0.99, 0.999];

export const tookMs = ({ startedMs, endedMs }: Call): number => endedMs - startedMs;
const afterMs = ({ answeredMs, endedMs }: Call): number => endedMs - (answeredMs ?? Number.NaN);

export function reportBefore(results: BeforeResults): string {
  const { quick, calls, rounds, load, pace, overhead, answers, control, failures, silences } = results;
  return [
    '## before: when is a before-callback decided?',
    '',
    `${calls} calls to each behaviour of a backend, while the event loop that asks is kept busy: ${load.busyMs} ms in every ${load.everyMs}.`,
    ...(quick ? ['**Quick run: shows that it works, not how fast.**'] : []),
    '',
    '### Where the backend is silent: milliseconds from question to decision',
    '',
    ...table(silences, tookMs, { digits: 1, ends: true }),
    '',
    "### Where it answers: milliseconds from the backend's answer to the decision",
    '',
    ...table(new Map([...answers, ...control]), afterMs, { digits: 2, ends: false }),
    '',
    '### Where the connection fails, or the answer goes on for long: milliseconds from question to decision',
    '',
    ...table(failures, tookMs, { digits: 2, ends: false }),
    '',
    `### At ${pace.overhead} a second, on a loop that does nothing else: milliseconds from question to decision`,
    '',
    ...overheadTable(overhead),
    '',
    `Median of ${rounds} rounds (lowest–highest), after a warm-up round.`,
    '',
    ...(quick ? ['No verdict from a quick run.'] : aims(results)),
    '',
    'How it was measured:',
    '',
    '- Asked as the program asks: signature, address guard, deadline, metrics. Traces are thrown away, and circuits are kept from',
    '  opening, which they would do after five silent calls. A call that is decided as it must not be ends the run.',
    '- The backend is a process of its own on the same machine; where nothing else is said it answers in the turn in which the',
    '  question is there. Its behaviours are those of the tests. Both processes read the same clock.',
    `- Open loop: ${pace.silent} a second where it is silent, so that 250 are under way; ${pace.answering} where it answers, ${pace.unheard} where the connection`,
    '  fails or the answer goes on.',
    '- What the busy loop itself costs is in the lines of undici alone, which sends the same POST from the same loop, neither signed',
    '  nor guarded, without a deadline. A line lasts seconds: one pause of the machine shows in its p99, whoever asks.',
  ].join('\n');
}

function table(
  results: ReadonlyMap<string, readonly Call[]>,
  figure: (call: Call) => number,
  { digits, ends }: { digits: number; ends: boolean },
): string[] {
  const columns = [...shares.map((share) => `p${share * 100}`), ...(ends ? ['earliest', 'latest'] : [])];
  const rows = [...results].map(([name, calls]) => {
    const values = calls.map(figure);
    const shown = [
      ...shares.map((share) => quantile(values, share)),
      ...(ends ? [Math.min(...values), Math.max(...values)] : []),
    ];
    return `| ${name} | ${shown.map((value) => value.toFixed(digits)).join(' | ')} |`;
  });
  return [`| the backend | ${columns.join(' | ')} |`, `|---${'|---'.repeat(columns.length)}|`, ...rows];
}

function overheadTable({ own, bare }: Overhead): string[] {
  const row = (name: string, rounds: readonly RoundFigures[]): string =>
    `| ${name} | ${formatSpread(spreadIn(rounds, 'p50'), 2)} | ${formatSpread(spreadIn(rounds, 'p99'), 2)} |`;
  const difference = own.map(({ p50, p99 }, n) => ({
    p50: p50 - (bare[n]?.p50 ?? Number.NaN),
    p99: p99 - (bare[n]?.p99 ?? Number.NaN),
  }));
  return [
    '| | p50 | p99 |',
    '|---|---|---|',
    row('before-call', own),
    row(`undici ${dependencyVersion('undici')} alone, the same POST`, bare),
    row('difference, round by round', difference),
  ];
}

function aims({ overhead, answers, silences }: BeforeResults): string[] {
  const met = (isMet: boolean): string => (isMet ? 'met' : 'NOT met');
  const silent = [...silences.values()].flat().map(tookMs);
  const earliest = Math.min(...silent);
  const latest = quantile(silent, 0.999);
  const after = quantile([...answers.values()].flat().map(afterMs), 0.99);
  const slowest = Math.max(...[...answers.values()].map((calls) => quantile(calls.map(afterMs), 0.99)));
  const p50 = spreadIn(overhead.own, 'p50').median;
  const p99 = spreadIn(overhead.own, 'p99').median;
  return [
    'Aims:',
    '',
    `- silent: decided at ${accepted.earliest} ms at the earliest, and by ${accepted.latest} ms at p99.9: ${earliest.toFixed(1)} and ${latest.toFixed(1)} (${met(earliest >= accepted.earliest && latest <= accepted.latest)})`,
    `- answered: decided within ${accepted.afterAnswer} ms, p99: ${after.toFixed(2)} over all calls (${met(after <= accepted.afterAnswer)}); ${slowest.toFixed(2)} in the line that is slowest`,
    `- a before-call takes less than ${accepted.overheadP50} ms (p50) and ${accepted.overheadP99} ms (p99) besides what the backend takes, which is next to nothing here: ${p50.toFixed(2)} and ${p99.toFixed(2)} (${met(p50 < accepted.overheadP50 && p99 < accepted.overheadP99)})`,
  ];
}

function spreadIn(rounds: readonly RoundFigures[], which: keyof RoundFigures): Spread {
  return spreadOf(rounds.map((round) => round[which]));
}
