import type { MeasuredProcess } from '../../test/support/measured-process.ts';
import type { BackendAnswer, BackendQuestion, BackendStarted } from './backend.ts';
import type { CpuMicros, Entrant } from './entrants.ts';
import type { EventSet } from './events.ts';

export interface Sample {
  /** For each delivery. */
  cpuMicros: CpuMicros;
  perSec: number;
}

export interface SetResult {
  set: EventSet;
  /** In the order of the rounds. */
  samples: ReadonlyMap<Entrant, Sample[]>;
}

export const totalMicros = ({ cpuMicros: { node, postgres, redis } }: Sample): number => node + postgres + redis;

/** Each round has every entrant tell of every set once, after one that does not count. */
export async function runRounds(
  backend: MeasuredProcess<BackendStarted>,
  {
    entrants,
    sets,
    rounds,
    progress,
  }: { entrants: Entrant[]; sets: EventSet[]; rounds: number; progress(line: string): void },
): Promise<SetResult[]> {
  const results = sets.map((set) => ({
    set,
    samples: new Map(entrants.map((entrant): [Entrant, Sample[]] => [entrant, []])),
  }));
  /** All send the same: bytes of the bodies of each set. */
  const bodyBytes = new Map<EventSet, number>();
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? 'warm-up' : `round ${round} of ${rounds}`);
    for (const { set, samples } of results) {
      for (const [entrant, taken] of samples) {
        const { sample, bytes } = await measure(backend, entrant, set);
        if (bytes !== (bodyBytes.get(set) ?? bytes))
          throw new Error(`${entrant.name} sent other bodies than the others`);
        bodyBytes.set(set, bytes);
        if (round > 0) taken.push(sample);
      }
    }
  }
  return results;
}

async function measure(
  backend: MeasuredProcess<BackendStarted>,
  entrant: Entrant,
  set: EventSet,
): Promise<{ sample: Sample; bytes: number }> {
  const { events } = set;
  const before = await entrant.cpuMicros();
  const came = backend.ask<BackendAnswer>({ events, inOrder: entrant.kind === 'relay' } satisfies BackendQuestion);
  const [{ startedMs }, { problem, lastMs, bodyBytes }] = await Promise.all([entrant.ask({ do: 'send', set }), came]);
  if (problem !== undefined) throw new Error(`${entrant.name}: ${problem}`);
  await entrant.ask({ do: 'settle' });
  const after = await entrant.cpuMicros();
  const each = (part: keyof CpuMicros): number => (after[part] - before[part]) / events;
  return {
    sample: {
      cpuMicros: { node: each('node'), postgres: each('postgres'), redis: each('redis') },
      perSec: (events * 1_000) / (lastMs - startedMs),
    },
    bytes: bodyBytes,
  };
}
