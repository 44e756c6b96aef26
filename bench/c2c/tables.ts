import {
  cheapestOf,
  cpuMicrosIn,
  type Figure,
  type Named,
  perSecIn,
  ratioIn,
  type ScenarioResult,
  spreadIn,
} from '../support/chat-contest.ts';
import { formatSpread, type Spread } from '../support/spread.ts';
import type { ChatScenario } from './scenarios.ts';

/** Whether it is the other service, in one or more settings. */
export type IsPeer = (name: string) => boolean;

/** One scenario as Markdown. */
export function scenarioTable(result: ScenarioResult<ChatScenario>, isPeer: IsPeer): string[] {
  const { title, unit, count } = result.scenario;
  const base = cheapestOf(result, isPeer);
  const isMessage = unit === 'message';
  const columns = [`CPU µs/${unit}`, 'service', 'database', 'ratio', `${unit}s/s`, ...(isMessage ? latencies : [])];
  const row = (player: Named): string => {
    const cell = (figure: Figure, digits: number): string => formatSpread(spreadIn(result, player, figure), digits);
    const cells = [
      cell(cpuMicrosIn, 0),
      cell(({ serviceMicros }) => serviceMicros, 0),
      cell(({ databaseMicros }) => databaseMicros, 0),
      base === undefined ? '' : formatSpread(ratioIn(result, player, base, cpuMicrosIn), 2),
      cell(perSecIn, 0),
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
  const base = cheapestOf(result, isPeer);
  if (player === undefined || base === undefined) return 'nothing to compare with';
  return `${verdict(ratioIn(result, player, base, cpuMicrosIn).median, accepted, 2)}, of ${base.name}`;
}
