import { formatSpread, type Spread } from '../support/spread.ts';
import { cpuMicrosIn, type Player, ratioIn, type Sample, type ScenarioResult, spreadIn } from './contest.ts';

/** The other service, in one or more settings. */
export type IsPeer = (player: { name: string }) => boolean;

/** The cheapest of the peers in that scenario: its CPU time is 1. */
export function baseOf(result: ScenarioResult, isPeer: IsPeer): Player | undefined {
  const cost = (player: Player): number => spreadIn(result, player, cpuMicrosIn).median;
  return [...result.samples.keys()].filter(isPeer).toSorted((a, b) => cost(a) - cost(b))[0];
}

/** One scenario as Markdown. */
export function scenarioTable(result: ScenarioResult, isPeer: IsPeer): string[] {
  const { title, unit, count } = result.scenario;
  const base = baseOf(result, isPeer);
  const isMessage = unit === 'message';
  const columns = [`CPU µs/${unit}`, 'service', 'database', 'ratio', `${unit}s/s`, ...(isMessage ? latencies : [])];
  const row = (player: Player): string => {
    const cell = (figure: (sample: Sample) => number, digits: number): string =>
      formatSpread(spreadIn(result, player, figure), digits);
    const cells = [
      cell(cpuMicrosIn, 0),
      cell(({ serviceMicros }) => serviceMicros, 0),
      cell(({ databaseMicros }) => databaseMicros, 0),
      base === undefined ? '' : formatSpread(ratioIn(result, player, base), 2),
      cell(({ perSec }) => perSec, 0),
      ...(isMessage ? [cell(({ p50Ms }) => p50Ms, 1), cell(({ p99Ms }) => p99Ms, 1)] : []),
    ];
    return `| ${player.name} | ${cells.join(' | ')} |`;
  };
  return [
    '',
    `### ${title}, ${count} a round`,
    '',
    `| peer | ${columns.join(' | ')} |`,
    `|---${'|---'.repeat(columns.length)}|`,
    ...[...result.samples.keys()].map(row),
  ];
}

const latencies = ['p50 ms', 'p99 ms'];

/** Idle connections as Markdown. */
export function idleTable(idle: ReadonlyMap<{ name: string }, Spread>, terminals: number): string[] {
  return [
    '',
    `### ${terminals} idle connections`,
    '',
    '| peer | KB a connection |',
    '|---|---|',
    ...[...idle].map(([{ name }, kilobytes]) => `| ${name} | ${formatSpread(kilobytes, 1)} |`),
  ];
}

/** Whether a figure is as low as wanted: `0.21 (met)`. */
export function verdict(figure: number, accepted: number, digits: number): string {
  return `${figure.toFixed(digits)} (${figure <= accepted ? 'met' : 'NOT met'})`;
}

/** Whether the named player's CPU time is as low as wanted, of the cheapest peer's. */
export function ratioVerdict(
  result: ScenarioResult,
  { name, isPeer, accepted }: { name: string; isPeer: IsPeer; accepted: number },
): string {
  const player = [...result.samples.keys()].find((each) => each.name === name);
  const base = baseOf(result, isPeer);
  if (player === undefined || base === undefined) return 'nothing to compare with';
  return `${verdict(ratioIn(result, player, base).median, accepted, 2)}, of ${base.name}`;
}
