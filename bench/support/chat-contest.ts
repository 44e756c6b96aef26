import { type MeasuredProcess, startMeasured } from '../../test/support/measured-process.ts';
import type { LoadAnswer, LoadOptions } from './chat-load.ts';
import { type Spread, spreadOf } from './spread.ts';

/** The same messages through several services, in turns, each with a load generator of its own. */

/** CPU time, so far. */
export interface CpuMicros {
  service: number;
  database: number;
}

/** One of those compared, running. */
export interface Peer {
  load: LoadOptions;
  cpuMicros(): Promise<CpuMicros>;
}

/** A way to start one of them. */
export interface Entrant<P extends Peer = Peer> {
  name: string;
  /** @param stack ends what was started */
  start(stack: AsyncDisposableStack): Promise<P>;
}

/** The same work for all of them. */
export interface Scenario<Question> {
  title: string;
  /** Of what the figures are of, in a round: messages, deliveries, logins. */
  count: number;
  /** What the load generator is asked for. */
  question: Question;
}

export interface Sample {
  /** CPU time for each. */
  serviceMicros: number;
  databaseMicros: number;
  perSec: number;
  p50Ms: number;
  p99Ms: number;
}

export interface Named {
  name: string;
}

export interface Player<Question, P extends Peer = Peer> extends Named {
  peer: P;
  ask(question: Question): Promise<LoadAnswer>;
}

export interface ScenarioResult<S = unknown> {
  scenario: S;
  /** By player, in the order of the rounds. */
  samples: ReadonlyMap<Named, Sample[]>;
}

export interface RoundsOptions {
  rounds: number;
  progress(line: string): void;
}

/** @param script of the load generator; @param stack ends it and the peer */
export async function startPlayer<Question extends { do: string }, P extends Peer = Peer>(
  { name, start }: Entrant<P>,
  script: URL,
  stack: AsyncDisposableStack,
): Promise<Player<Question, P>> {
  const peer = await start(stack);
  const load: MeasuredProcess<object> = await startMeasured(script, peer.load);
  stack.defer(load.close);
  return {
    name,
    peer,
    async ask(question) {
      const answer = await load.ask<LoadAnswer>(question);
      if (answer.problem !== undefined) throw new Error(`${name}: ${question.do}: ${answer.problem}`);
      return answer;
    },
  };
}

/**
 * Every scenario with every player in each round, after one that does not count.
 *
 * @param open what a load generator is asked for before @param everyRound and at the beginning of each round
 */
export async function runContest<Question extends { do: string }, S extends Scenario<Question>>(
  {
    entrants,
    script,
    scenarios,
    open,
    everyRound = [],
  }: {
    entrants: readonly Entrant[];
    script: URL;
    scenarios: readonly S[];
    open: Question;
    everyRound?: readonly Question[];
  },
  { rounds, progress }: RoundsOptions,
): Promise<ScenarioResult<S>[]> {
  await using stack = new AsyncDisposableStack();
  const players: Player<Question>[] = [];
  for (const entrant of entrants) {
    progress(`starting ${entrant.name}`);
    const player = await startPlayer<Question>(entrant, script, stack);
    await player.ask(open);
    players.push(player);
  }
  const results = scenarios.map((scenario) => ({
    scenario,
    samples: new Map(players.map((player): [Player<Question>, Sample[]] => [player, []])),
  }));
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? 'warm-up' : `round ${round} of ${rounds}`);
    for (const question of everyRound) for (const player of players) await player.ask(question);
    for (const { scenario, samples } of results) {
      for (const [player, taken] of samples) {
        const sample = await measure(player, scenario);
        if (round > 0) taken.push(sample);
      }
    }
  }
  return results;
}

async function measure<Question>(
  { peer, ask }: Player<Question>,
  { question, count }: Scenario<Question>,
): Promise<Sample> {
  const before = await peer.cpuMicros();
  const { elapsedMs, p50Ms, p99Ms } = await ask(question);
  const after = await peer.cpuMicros();
  return {
    serviceMicros: (after.service - before.service) / count,
    databaseMicros: (after.database - before.database) / count,
    perSec: (count * 1_000) / elapsedMs,
    p50Ms,
    p99Ms,
  };
}

/** Of what one asked for, as runContest gives them. */
export function resultOf<S>(results: readonly ScenarioResult<S>[], scenario: S): ScenarioResult<S> {
  const result = results.find((each) => each.scenario === scenario);
  if (result === undefined) throw new Error('a scenario that was not run');
  return result;
}

export type Figure = (sample: Sample) => number;
/** Service and database. */
export const cpuMicrosIn: Figure = ({ serviceMicros, databaseMicros }) => serviceMicros + databaseMicros;
export const perSecIn: Figure = ({ perSec }) => perSec;

export function spreadIn({ samples }: ScenarioResult, player: Named, figure: Figure): Spread {
  return spreadOf((samples.get(player) ?? []).map(figure));
}

/** Of a figure to the base's, round by round, so that a slow phase of the machine stands in both. */
export function ratioIn({ samples }: ScenarioResult, player: Named, base: Named, figure: Figure): Spread {
  const bases = samples.get(base) ?? [];
  return spreadOf(
    (samples.get(player) ?? []).flatMap((sample, round) => {
      const other = bases[round];
      return other === undefined ? [] : figure(sample) / figure(other);
    }),
  );
}

/** The cheapest of those that match: what others are compared with. */
export function cheapestOf(result: ScenarioResult, isPeer: (name: string) => boolean): Named | undefined {
  const cost = (player: Named): number => spreadIn(result, player, cpuMicrosIn).median;
  return [...result.samples.keys()].filter(({ name }) => isPeer(name)).toSorted((a, b) => cost(a) - cost(b))[0];
}
