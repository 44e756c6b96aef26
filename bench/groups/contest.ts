import { type MeasuredProcess, startMeasured } from '../../test/support/measured-process.ts';
import { type Spread, spreadOf } from '../support/spread.ts';
import type { GroupEntrant, GroupPeer } from './entrants.ts';
import type { LoadAnswer, LoadQuestion } from './load.ts';

/** The same work for several peers. */
export interface Scenario {
  title: string;
  /** That each message reaches. */
  members: number;
  question: Extract<LoadQuestion, { do: 'send' }>;
}

export interface Sample {
  /** CPU time for each delivery. */
  serviceMicros: number;
  databaseMicros: number;
  /** Deliveries. */
  perSec: number;
  p50Ms: number;
  p99Ms: number;
}

/** A peer with the load generator that is its own. */
export interface Player {
  name: string;
  peer: GroupPeer;
  ask(question: LoadQuestion): Promise<LoadAnswer>;
}

export interface ScenarioResult {
  scenario: Scenario;
  /** In the order of the rounds. */
  samples: ReadonlyMap<Player, Sample[]>;
}

/** @param stack ends peer and load generator */
export async function startPlayer({ name, start }: GroupEntrant, stack: AsyncDisposableStack): Promise<Player> {
  const peer = await start(stack);
  const load: MeasuredProcess<object> = await startMeasured(new URL('load.ts', import.meta.url), peer.load);
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

async function measure({ peer, ask }: Player, { question, members }: Scenario): Promise<Sample> {
  const deliveries = question.messages * members;
  const before = await peer.cpuMicros();
  const { elapsedMs, p50Ms, p99Ms } = await ask(question);
  const after = await peer.cpuMicros();
  return {
    serviceMicros: (after.service - before.service) / deliveries,
    databaseMicros: (after.database - before.database) / deliveries,
    perSec: (deliveries * 1_000) / elapsedMs,
    p50Ms,
    p99Ms,
  };
}

/** Each round runs every scenario with every player once, after one that does not count. */
export async function runRounds(
  scenarios: readonly Scenario[],
  players: readonly Player[],
  { rounds, progress }: { rounds: number; progress(line: string): void },
): Promise<ScenarioResult[]> {
  const results = scenarios.map((scenario) => ({
    scenario,
    samples: new Map(players.map((player): [Player, Sample[]] => [player, []])),
  }));
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? 'warm-up' : `round ${round} of ${rounds}`);
    for (const player of players) await player.ask({ do: 'beat' });
    for (const { scenario, samples } of results) {
      for (const [player, taken] of samples) {
        const sample = await measure(player, scenario);
        if (round > 0) taken.push(sample);
      }
    }
  }
  return results;
}

export type Figure = (sample: Sample) => number;
export const cpuMicrosIn: Figure = ({ serviceMicros, databaseMicros }) => serviceMicros + databaseMicros;
export const perSecIn: Figure = ({ perSec }) => perSec;

export function spreadIn({ samples }: ScenarioResult, player: Player, figure: Figure): Spread {
  return spreadOf((samples.get(player) ?? []).map(figure));
}

/** Of a figure to the base's, round by round, so that a slow phase of the machine stands in both. */
export function ratioIn({ samples }: ScenarioResult, player: Player, base: Player, figure: Figure): Spread {
  const bases = samples.get(base) ?? [];
  return spreadOf(
    (samples.get(player) ?? []).flatMap((sample, round) => {
      const other = bases[round];
      return other === undefined ? [] : figure(sample) / figure(other);
    }),
  );
}

/** The cheapest of those that match. */
export function cheapestOf(result: ScenarioResult, isPeer: (name: string) => boolean): Player | undefined {
  const cost = (player: Player): number => spreadIn(result, player, cpuMicrosIn).median;
  return [...result.samples.keys()].filter(({ name }) => isPeer(name)).toSorted((a, b) => cost(a) - cost(b))[0];
}
