import { startPlayer } from '../support/chat-contest.ts';
import { type Spread, spreadOf } from '../support/spread.ts';
import type { LoadQuestion } from './load.ts';
import type { ChatEntrant, ChatPeer } from './peer.ts';
import { loadScript } from './scenarios.ts';

const atOnce = 32;
/** Before the first look: what the first connections of a process load and compile is not theirs. */
const warmUpLogins = 200;

export interface IdleOptions {
  terminals: number;
  rounds: number;
  progress(line: string): void;
}

/** Resident memory, in KB, that each of so many idle connections, logged in, takes of a service. */
export async function measureIdle(
  entrants: readonly ChatEntrant[],
  { terminals, rounds, progress }: IdleOptions,
): Promise<Map<ChatEntrant, Spread>> {
  const taken = new Map(entrants.map((entrant): [ChatEntrant, number[]] => [entrant, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const [entrant, kilobytes] of taken) {
      progress(`${terminals} idle connections, round ${round} of ${rounds}: ${entrant.name}`);
      kilobytes.push((await idleBytes(entrant, terminals)) / 1_024);
    }
  }
  return new Map(entrants.map((entrant) => [entrant, spreadOf(taken.get(entrant) ?? [])]));
}

/** Of one just started: a process that has held many connections keeps room for the next ones. */
async function idleBytes(entrant: ChatEntrant, terminals: number): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const { peer, ask } = await startPlayer<LoadQuestion, ChatPeer>(entrant, loadScript, stack);
  await ask({ do: 'login', logins: warmUpLogins, atOnce });
  const before = await peer.memoryBytes();
  await ask({ do: 'stay', terminals, atOnce });
  const after = await peer.memoryBytes();
  return (after - before) / terminals;
}
