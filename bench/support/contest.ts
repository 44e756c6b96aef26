import type { MeasuredProcess } from '../../test/support/measured-process.ts';
import type { Caching } from './exchange-bytes.ts';
import type { LoadOptions, LoadResult } from './load.ts';
import { formatSpread, type Spread, spreadOf } from './spread.ts';

/** One of those compared. */
export interface Peer {
  name: string;
  port: number;
  /** Session tokens that are sent to it, one for each connection; absent: requests without. */
  sessions?: readonly string[];
  /** CPU time of its process so far; absent for none. */
  cpuMicros?: () => Promise<number>;
}

/** The same requests to several peers, in turns. */
export interface Contest {
  bodyBytes: number;
  /** To each peer in a round. */
  requests: number;
  peers: readonly Peer[];
  /** The one of them whose CPU time is 1; absent: no ratios. */
  base?: Peer | undefined;
}

export interface Sample {
  /** For each request. */
  cpuMicros: number | undefined;
  perSec: number;
}

/** Sends the contest's requests to one of its peers. */
export type Measure = (peer: Peer, contest: Contest) => Promise<Sample>;

export interface ContestResult {
  contest: Contest;
  /** In the order of the rounds. */
  samples: ReadonlyMap<Peer, Sample[]>;
}

export const connections = 32;

/** CPU time is that of the peer's own process, so load generator and origin, which share the machine, hardly distort it. */
export function measureBy(load: MeasuredProcess<object>, caching: Caching): Measure {
  return async ({ name, port, sessions = [], cpuMicros }, { bodyBytes, requests }) => {
    const before = await cpuMicros?.();
    const options: LoadOptions = { port, connections, sessions, requests, caching, bodyBytes };
    const result = await load.ask<LoadResult>(options);
    if (result.problem !== undefined) {
      throw new Error(`${name} at ${bodyBytes} bytes gave a wrong answer: ${result.problem}`);
    }
    const after = await cpuMicros?.();
    return {
      cpuMicros: before === undefined || after === undefined ? undefined : (after - before) / requests,
      perSec: (requests * 1_000) / result.elapsedMs,
    };
  };
}

export interface Rounds {
  rounds: number;
  /** How many rounds' requests go before them: compilers, heaps, connections, caches. */
  warmUps: number;
  measure: Measure;
  warmUp: Measure;
  progress(line: string): void;
}

/** Each round runs every peer of every contest once. */
export async function runRounds(contests: readonly Contest[], options: Rounds): Promise<ContestResult[]> {
  const { rounds, warmUps, measure, warmUp, progress } = options;
  progress('warm-up');
  for (const contest of contests) {
    for (const peer of contest.peers) await warmUp(peer, { ...contest, requests: contest.requests * warmUps });
  }
  const results = contests.map((contest) => ({
    contest,
    samples: new Map(contest.peers.map((peer): [Peer, Sample[]] => [peer, []])),
  }));
  for (let round = 1; round <= rounds; round += 1) {
    progress(`round ${round} of ${rounds}`);
    for (const { contest, samples } of results) {
      for (const [peer, taken] of samples) taken.push(await measure(peer, contest));
    }
  }
  return results;
}

/** CPU µs for each request; absent for a peer without a process. */
export function cpuOf({ samples }: ContestResult, peer: Peer): Spread | undefined {
  const cpu = (samples.get(peer) ?? []).flatMap(({ cpuMicros }) => cpuMicros ?? []);
  return cpu.length === 0 ? undefined : spreadOf(cpu);
}

/** Of the peer's CPU time to the base's, round by round, so that a slow phase of the machine stands in both. */
export function ratioOf({ contest, samples }: ContestResult, peer: Peer): Spread | undefined {
  const bases = contest.base === undefined ? [] : (samples.get(contest.base) ?? []);
  const ratios = (samples.get(peer) ?? []).flatMap(({ cpuMicros }, round) => {
    const base = bases[round]?.cpuMicros;
    return cpuMicros === undefined || base === undefined ? [] : cpuMicros / base;
  });
  return ratios.length === 0 ? undefined : spreadOf(ratios);
}

export const kilobytes = (bodyBytes: number): string => `${bodyBytes / 1_024} KB`;

/** One contest as Markdown. */
export function contestTable(result: ContestResult): string[] {
  const { bodyBytes, requests, peers } = result.contest;
  const cell = (spread: Spread | undefined, digits: number): string =>
    spread === undefined ? '' : formatSpread(spread, digits);
  return [
    '',
    `### ${kilobytes(bodyBytes)} bodies, ${requests} requests a round over ${connections} connections`,
    '',
    '| peer | CPU µs/request | ratio | requests/s |',
    '|---|---|---|---|',
    ...peers.map((peer) => {
      const perSec = spreadOf((result.samples.get(peer) ?? []).map((sample) => sample.perSec));
      const cells = [cell(cpuOf(result, peer), 1), cell(ratioOf(result, peer), 2), cell(perSec, 0)];
      return `| ${peer.name} | ${cells.join(' | ')} |`;
    }),
  ];
}

/** Whether the ratios are as low as wanted: `1 KB 1.23 (met), 100 KB 1.70 (NOT met)`. */
export function verdicts(results: readonly ContestResult[], peer: Peer, acceptedRatio: number): string {
  return results
    .map((result) => {
      const median = ratioOf(result, peer)?.median ?? Number.NaN;
      const verdict = median <= acceptedRatio ? 'met' : 'NOT met';
      return `${kilobytes(result.contest.bodyBytes)} ${median.toFixed(2)} (${verdict})`;
    })
    .join(', ');
}
