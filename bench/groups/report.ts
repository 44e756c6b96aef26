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
import { formatSpread } from '../support/spread.ts';
import type { BigFigures, BigGroupOptions } from './big-group.ts';
import type { BigAction } from './big-load.ts';
import type { GroupScenario } from './load.ts';

export interface GroupsResults {
  readonly quick: boolean;
  readonly rounds: number;
  /** Names. */
  readonly ours: string;
  readonly bare: string;
  /** Settings of ejabberd; none where it is not installed. */
  readonly theirs: readonly string[];
  /** As much as there is at once, and a message at a time. */
  readonly fanOut: { readonly busy: ScenarioResult<GroupScenario>; readonly alone: ScenarioResult<GroupScenario> };
  readonly durable: ScenarioResult<GroupScenario>;
  readonly big: ReadonlyMap<BigAction, BigFigures>;
  readonly bigOptions: Pick<BigGroupOptions, 'members' | 'online' | 'count' | 'rounds'>;
}

/** Of the bare server's deliveries a second, at least; of ejabberd's CPU time for each, at most. */
const accepted = { fanOut: 3, durable: 0.7 };

export function reportGroups(results: GroupsResults): string {
  const { quick, rounds, ours, bare, theirs, fanOut, durable, big, bigOptions } = results;
  const isBare = (name: string): boolean => name === bare;
  const isTheirs = (name: string): boolean => theirs.includes(name);
  return [
    '## groups: what does a message to a group cost?',
    '',
    'A delivery is a message at one member; the sender’s own answer, or its own message that comes back, is one, too. CPU µs for each, of',
    `the service and of its database: median of ${rounds} rounds (lowest–highest), after a warm-up round.`,
    ...(quick ? ['**Quick run: shows that it works, not how fast.**'] : []),
    ...table(fanOut.busy, isBare),
    ...table(fanOut.alone, isBare),
    ...table(durable, isTheirs),
    ...(theirs.length === 0 ? ['', 'No ratios: ejabberd is not installed.'] : []),
    ...bigTable(big, bigOptions),
    '',
    ...(quick ? ['No verdict from a quick run.'] : aims(results, isBare, isTheirs)),
    '',
    'How it was measured:',
    '',
    '- Every member is online over a connection of its own. A message is done once all members have it; each has to come exactly once, and',
    '  in the same order for all, or the run ends. Texts of 100 characters. The ratios are of the same round; to the ejabberd that is cheaper.',
    `- ${ours}: the whole program with its embedded database, everything of messaging switched on, over its link in JSON, without TLS; Public`,
    '  groups, whose messages are kept and count as unread; rate limits on and out of reach. A message is committed before anybody gets it.',
    '  What is due to a link in one turn of the event loop goes in one write: members share its bytes, which are made once.',
    `- ${bare}: sends the same frame once to each member; one group, no accounts, nothing stored. With one message at a time both pay a write`,
    '  for each delivery, which is most of what it costs; with more ours pays one for several.',
    ...(theirs.length === 0
      ? []
      : [
          '- ejabberd, in both settings: persistent rooms with their archive (XEP-0313) in PostgreSQL, where it, too, stores a message before it',
          '  hands it on; nobody is told of who comes and goes, and nobody is shown old messages. XMPP over TCP, without TLS.',
        ]),
    '- Each has a PostgreSQL 18 of its own, as durable as installed; the bare server none.',
    `- The big group: one thing at a time, from the request to its answer, ${bigOptions.count} in each of ${bigOptions.rounds} rounds; ${bigOptions.online} members are online and get what is`,
    '  sent. Who joins quits again, which is not counted; a list is a page of 100 members, from all over the group.',
    '- The load generators, a process for each peer, share the cores with what they measure: deliveries/s and latencies say what this machine',
    '  does in all; CPU per delivery says what the service costs.',
  ].join('\n');
}

function table(result: ScenarioResult<GroupScenario>, isBase: (name: string) => boolean): string[] {
  const { title, question } = result.scenario;
  const base = cheapestOf(result, isBase);
  const columns = ['deliveries/s', 'ratio', 'CPU µs', 'ratio', 'service', 'database', 'p50 ms', 'p99 ms'];
  const row = (player: Named): string => {
    const cell = (figure: Figure, digits: number): string => formatSpread(spreadIn(result, player, figure), digits);
    const ratio = (figure: Figure): string =>
      base === undefined ? '' : formatSpread(ratioIn(result, player, base, figure), 2);
    const cells = [
      cell(perSecIn, 0),
      ratio(perSecIn),
      cell(cpuMicrosIn, 2),
      ratio(cpuMicrosIn),
      cell(({ serviceMicros }) => serviceMicros, 2),
      cell(({ databaseMicros }) => databaseMicros, 2),
      cell(({ p50Ms }) => p50Ms, 1),
      cell(({ p99Ms }) => p99Ms, 1),
    ];
    return `| ${player.name} | ${cells.join(' | ')} |`;
  };
  return [
    '',
    `### ${title}, ${question.messages} messages a round`,
    '',
    `| peer | ${columns.join(' | ')} |`,
    `|---${'|---'.repeat(columns.length)}|`,
    ...[...result.samples.keys()].map(row),
  ];
}

function bigTable(big: GroupsResults['big'], { members }: GroupsResults['bigOptions']): string[] {
  const rows = [...big].map(
    ([action, { p50, p99 }]) => `| ${action} | ${formatSpread(p50, 1)} | ${formatSpread(p99, 1)} |`,
  );
  return ['', `### A group of ${members} members`, '', '| | p50 ms | p99 ms |', '|---|---|---|', ...rows];
}

function aims(
  { ours, bare, fanOut, durable }: GroupsResults,
  isBare: (name: string) => boolean,
  isTheirs: (name: string) => boolean,
): string[] {
  const median = (
    result: ScenarioResult,
    isBase: (name: string) => boolean,
    figure: Figure,
  ): { value: number; of: string } | undefined => {
    const player = [...result.samples.keys()].find(({ name }) => name === ours);
    const base = cheapestOf(result, isBase);
    if (player === undefined || base === undefined) return undefined;
    return { value: ratioIn(result, player, base, figure).median, of: base.name };
  };
  const perSec = median(fanOut.busy, isBare, perSecIn)?.value ?? Number.NaN;
  const cpu = median(durable, isTheirs, cpuMicrosIn);
  const met = (isMet: boolean): string => (isMet ? 'met' : 'NOT met');
  return [
    `Aims for ${ours}:`,
    '',
    `- to 1000 members at least ${accepted.fanOut} times the deliveries/s of ${bare}, while there is enough to send: ${perSec.toFixed(2)} (${met(perSec >= accepted.fanOut)})`,
    cpu === undefined
      ? `- in durable groups at most ${accepted.durable} of ejabberd's CPU time for each delivery: nothing to compare with`
      : `- in durable groups at most ${accepted.durable} of ejabberd's CPU time for each delivery: ${cpu.value.toFixed(2)} (${met(cpu.value <= accepted.durable)}), of ${cpu.of}`,
  ];
}
