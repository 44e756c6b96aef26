import { ejabberdSettings, findEjabberd } from './c2c/ejabberd.ts';
import { measureBigGroup } from './groups/big-group.ts';
import { bare, ejabberdRooms, qalgate } from './groups/entrants.ts';
import type { GroupScenario, LoadQuestion } from './groups/load.ts';
import { reportGroups } from './groups/report.ts';
import { type Entrant, resultOf, runContest, type ScenarioResult } from './support/chat-contest.ts';
import type { BenchOptions } from './support/question.ts';

/** Question: what does a message to a group cost, against a bare fan-out and against ejabberd's rooms? */

/** A quick run does so much less of everything. */
const quickDivisor = 8;
const fanOutMembers = 1_000;
const durable = { groups: 20, members: 100, senders: 5, perSec: 200 };
const big = { members: 10_000, online: 200 };

export async function benchGroups({ quick, progress }: BenchOptions): Promise<string> {
  const less = (count: number): number => (quick ? Math.ceil(count / quickDivisor) : count);
  const rounds = quick ? 2 : 5;
  const options = { rounds, progress };
  const fanOutScenario = (senders: number, messages: number): GroupScenario => ({
    title: `One group of ${fanOutMembers} members, ${senders === 1 ? 'one message at a time' : `${senders} senders with a message in flight each`}`,
    count: less(messages) * fanOutMembers,
    question: { do: 'send', messages: less(messages), senders },
  });
  const busy = fanOutScenario(32, 960);
  const alone = fanOutScenario(1, 200);
  const steady: GroupScenario = {
    title: `${durable.groups} groups of ${durable.members} members, ${durable.perSec} messages a second in all`,
    count: less(5 * durable.perSec) * durable.members,
    question: { do: 'send', messages: less(5 * durable.perSec), senders: durable.senders, perSec: durable.perSec },
  };

  progress(`fan-out to ${fanOutMembers} members`);
  const fanOutResults = await measure([qalgate, bare], { groups: 1, members: fanOutMembers }, [busy, alone], options);
  const theirs = findPeers(progress);
  progress(`${durable.groups} groups of ${durable.members} members`);
  const durableResults = await measure([qalgate, ...theirs], durable, [steady], options);
  const bigOptions = { ...big, count: quick ? 20 : 200, rounds };
  const bigFigures = await measureBigGroup({ ...bigOptions, progress });
  return reportGroups({
    quick,
    rounds,
    ours: qalgate.name,
    bare: bare.name,
    theirs: theirs.map(({ name }) => name),
    fanOut: { busy: resultOf(fanOutResults, busy), alone: resultOf(fanOutResults, alone) },
    durable: resultOf(durableResults, steady),
    big: bigFigures,
    bigOptions,
  });
}

function findPeers(progress: BenchOptions['progress']): Entrant[] {
  const ejabberd = findEjabberd();
  if (!('missing' in ejabberd)) {
    const members = durable.groups * durable.members;
    return Object.keys(ejabberdSettings).map((setting) => ejabberdRooms(ejabberd, setting, members));
  }
  progress(`${ejabberd.missing} is not installed: ejabberd is left out`);
  return [];
}

function measure(
  entrants: readonly Entrant[],
  { groups, members }: { groups: number; members: number },
  scenarios: readonly GroupScenario[],
  options: { rounds: number; progress: BenchOptions['progress'] },
): Promise<ScenarioResult<GroupScenario>[]> {
  return runContest<LoadQuestion, GroupScenario>(
    {
      entrants,
      script: new URL('groups/load.ts', import.meta.url),
      scenarios,
      open: { do: 'open', groups, members },
      everyRound: [{ do: 'beat' }],
    },
    options,
  );
}
