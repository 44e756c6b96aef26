import { startMeasured } from '../../test/support/measured-process.ts';
import { quantile } from '../before/pace.ts';
import { startQalgate } from '../c2c/qalgate.ts';
import { type Spread, spreadOf } from '../support/spread.ts';
import type { BigAction, BigAnswer, BigLoadOptions, BigQuestion } from './big-load.ts';
import { groupSettings } from './entrants.ts';

const bigActions: readonly BigAction[] = ['join', 'list', 'send'];

export interface BigGroupOptions {
  members: number;
  online: number;
  /** Of each action, in a round. */
  count: number;
  rounds: number;
  progress(line: string): void;
}

/** Of a round's milliseconds. */
export interface BigFigures {
  p50: Spread;
  p99: Spread;
}

/** How long it takes to join a big group, to list a page of its members, and to send to it; of ours alone. */
export async function measureBigGroup(options: BigGroupOptions): Promise<Map<BigAction, BigFigures>> {
  const { members, online, count, rounds, progress } = options;
  await using stack = new AsyncDisposableStack();
  progress(`a group of ${members} members`);
  // One that joins finds room, and is let in.
  const groupTypes = [{ name: 'BenchRoom', base: 'ChatRoom', maxMembers: members + 1 }];
  const { port, app } = await startQalgate(stack, { ...groupSettings, groupTypes });
  const loadOptions: BigLoadOptions = { port, app };
  const load = await startMeasured<object>(new URL('big-load.ts', import.meta.url), loadOptions);
  stack.defer(load.close);
  const ask = async (question: BigQuestion): Promise<number[]> => {
    const answer = await load.ask<BigAnswer>(question);
    if ('problem' in answer) throw new Error(`a group of ${members} members: ${question.do}: ${answer.problem}`);
    return answer.tookMs;
  };
  await ask({ do: 'open', members, online });
  const taken = new Map(bigActions.map((action): [BigAction, number[][]] => [action, []]));
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? 'warm-up' : `round ${round} of ${rounds}`);
    for (const [action, samples] of taken) {
      const tookMs = await ask({ do: action, count });
      if (round > 0) samples.push(tookMs);
    }
  }
  return new Map(
    [...taken].map(([action, samples]): [BigAction, BigFigures] => {
      const of = (share: number): Spread => spreadOf(samples.map((tookMs) => quantile(tookMs, share)));
      return [action, { p50: of(0.5), p99: of(0.99) }];
    }),
  );
}
