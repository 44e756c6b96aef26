import { formatSpread, type Spread, spreadOf } from '../support/spread.ts';
import { dependencyVersion } from '../support/stage.ts';
import { type Sample, type SetResult, totalMicros } from './contest.ts';
import type { Entrant, QueueKind } from './entrants.ts';
import { chunkEvents } from './events.ts';

export interface CallbacksResults {
  readonly quick: boolean;
  readonly rounds: number;
  readonly events: number;
  readonly concurrency: number;
  /** POSTs of ours at once to one URL. */
  readonly perUrl: number;
  readonly hasRedis: boolean;
  readonly results: readonly SetResult[];
}

/** Of plain BullMQ's deliveries a second, at least; and of its CPU time, at most. */
const accepted = { perSec: 0.7, cpu: 1 / 0.7 };
const kindNames: Record<QueueKind, string> = { postgres: 'PostgreSQL', redis: 'Redis' };

export function reportCallbacks(all: CallbacksResults): string {
  const { quick, rounds, events, concurrency, perUrl, hasRedis, results } = all;
  return [
    '## callbacks: what does an after-callback cost?',
    '',
    `${events} events a round, each with a body of its own; CPU µs for each delivery: median of ${rounds} rounds (lowest–highest), after`,
    `a warm-up round. The ratios are to BullMQ ${dependencyVersion('bullmq')} alone, with the same backend, of the same round.`,
    ...(quick ? ['**Quick run: shows that it works, not how fast.**'] : []),
    ...(hasRedis ? [] : ['Without Redis: redis-server is not installed.']),
    ...results.flatMap(table),
    '',
    ...(quick ? ['No verdict from a quick run.'] : aims(results)),
    '',
    'How it was measured:',
    '',
    `- Events come in bursts of ${chunkEvents}, as fast as they can be written down. The writing counts for both, for it is where BullMQ`,
    '  alone gets its body, and we our row: ours are rows of the outbox, a statement a burst, and then wake their lanes; BullMQ',
    '  alone adds a job an event, `addBulk` a burst. What ours tells of was stored before: messages, in a transaction that is none',
    '  of the relay.',
    '- Deliveries/s: from the first event that is written down to the last that the backend has. CPU time: until every row is',
    '  marked and every job gone; of the process that sends, of PostgreSQL with all its processes, of redis-server. The backend,',
    '  a process of its own, is not counted. It answers at once, and checks that each event comes exactly once, from ours in the',
    '  order of its conversation; all send the same bodies to the byte.',
    '- qalgate: outbox, order, signature (Standard Webhooks, one key), address guard, deadlines, metrics, marks of what was',
    `  delivered, all as in the program; ${concurrency} conversations at once, ${perUrl} POSTs at once to one URL, which is the default: it spares`,
    '  a backend, and costs deliveries/s where that takes its time to answer.',
    `- BullMQ alone: a job an event, ${concurrency} at once, the body in the job, \`undici\` with ${concurrency} connections; jobs are removed when they are`,
    '  done. No outbox: an event is lost when its process ends between its transaction and the job. No order, no signature.',
    '- Each has servers of its own with the same settings: PostgreSQL 18 as our program brings it, as durable as installed;',
    '  redis-server with an append-only file, nothing evicted. With Redis, ours has its outbox in PostgreSQL all the same.',
    '- In PostgreSQL our queue does not wait for the disk (`synchronous_commit` off on its own connections), as what it forgets is',
    '  found again in the outbox, which does wait. The jobs of BullMQ alone are all that there is of an event: they wait.',
    '- Backend, senders and servers share the cores: deliveries/s says what this machine does in all; CPU per delivery says what',
    '  one costs.',
  ].join('\n');
}

function table({ set, samples }: SetResult): string[] {
  const columns = ['deliveries/s', 'ratio', 'CPU µs', 'ratio', 'node', 'PostgreSQL', 'redis-server'];
  const rows = [...samples.keys()].map((entrant) => {
    const taken = samples.get(entrant) ?? [];
    const cell = (figure: (sample: Sample) => number): string => formatSpread(spreadOf(taken.map(figure)), 0);
    const ratio = (figure: (sample: Sample) => number): string => {
      const spread = ratioOf({ samples }, entrant, figure);
      return spread === undefined ? '' : formatSpread(spread, 2);
    };
    const cells = [
      cell(({ perSec }) => perSec),
      ratio(({ perSec }) => perSec),
      cell(totalMicros),
      ratio(totalMicros),
      cell(({ cpuMicros }) => cpuMicros.node),
      cell(({ cpuMicros }) => cpuMicros.postgres),
      entrant.queue === 'redis' ? cell(({ cpuMicros }) => cpuMicros.redis) : '',
    ];
    return `| ${entrant.name} | ${cells.join(' | ')} |`;
  });
  return ['', `### ${set.title}`, '', `| | ${columns.join(' | ')} |`, `|---${'|---'.repeat(columns.length)}|`, ...rows];
}

/** To BullMQ alone, round by round, so that a slow phase of the machine stands in both. */
function ratioOf(
  { samples }: Pick<SetResult, 'samples'>,
  entrant: Entrant,
  figure: (sample: Sample) => number,
): Spread | undefined {
  const base = [...samples.keys()].find(({ kind, queue }) => kind === 'plain' && queue === entrant.queue);
  const bases = base === undefined ? [] : (samples.get(base) ?? []);
  const ratios = (samples.get(entrant) ?? []).flatMap((sample, round) => {
    const other = bases[round];
    return other === undefined ? [] : figure(sample) / figure(other);
  });
  return ratios.length === 0 ? undefined : spreadOf(ratios);
}

function aims(results: readonly SetResult[]): string[] {
  const lines = results.flatMap(({ set, samples }) =>
    [...samples.keys()]
      .filter(({ kind }) => kind === 'relay')
      .map((entrant) => {
        const perSec = ratioOf({ samples }, entrant, (sample) => sample.perSec)?.median ?? Number.NaN;
        const cpu = ratioOf({ samples }, entrant, totalMicros)?.median ?? Number.NaN;
        const isMet = perSec >= accepted.perSec && cpu <= accepted.cpu;
        return `- ${kindNames[entrant.queue]}, ${set.title.toLowerCase()}: ${perSec.toFixed(2)} and ${cpu.toFixed(2)} (${isMet ? 'met' : 'NOT met'})`;
      }),
  );
  return [
    `Aims: deliveries/s at least ${accepted.perSec} of BullMQ alone, CPU time of a delivery at most ${accepted.cpu.toFixed(2)} of it:`,
    '',
    ...lines,
  ];
}
