import { type MeasuredProcess, startMeasured } from '../../test/support/measured-process.ts';
import { type Spread, spreadOf } from '../support/spread.ts';
import type { LoadAnswer, LoadOptions, LoadQuestion } from './load.ts';
import type { ChatEntrant, ChatPeer } from './peer.ts';
import type { Scenario } from './scenarios.ts';

export interface Sample {
  /** CPU time for each message or login. */
  serviceMicros: number;
  databaseMicros: number;
  perSec: number;
  p50Ms: number;
  p99Ms: number;
}

/** A peer with the load generator that is its own. */
export interface Player {
  name: string;
  peer: ChatPeer;
  ask(question: LoadQuestion): Promise<LoadAnswer>;
}

export interface ScenarioResult {
  scenario: Scenario;
  /** In the order of the rounds. */
  samples: ReadonlyMap<Player, Sample[]>;
}

/** @param stack ends peer and load generator */
export async function startPlayer({ name, start }: ChatEntrant, stack: AsyncDisposableStack): Promise<Player> {
  const peer = await start(stack);
  const load: MeasuredProcess<object> = await startMeasured(
    new URL('load.ts', import.meta.url),
    peer.load satisfies LoadOptions,
  );
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

async function measure({ peer, ask }: Player, { question, count }: Scenario): Promise<Sample> {
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
    for (const { scenario, samples } of results) {
      for (const [player, taken] of samples) {
        const sample = await measure(player, scenario);
        if (round > 0) taken.push(sample);
      }
    }
  }
  return results;
}

/** Of one figure of a player's samples. */
export function spreadIn({ samples }: ScenarioResult, player: Player, figure: (sample: Sample) => number): Spread {
  return spreadOf((samples.get(player) ?? []).map(figure));
}

export const cpuMicrosIn = ({ serviceMicros, databaseMicros }: Sample): number => serviceMicros + databaseMicros;

/** Of CPU time, service and database, to the base's, round by round, so that a slow phase of the machine stands in both. */
export function ratioIn({ samples }: ScenarioResult, player: Player, base: Player): Spread {
  const bases = samples.get(base) ?? [];
  return spreadOf(
    (samples.get(player) ?? []).flatMap((sample, round) => {
      const other = bases[round];
      return other === undefined ? [] : cpuMicrosIn(sample) / cpuMicrosIn(other);
    }),
  );
}
