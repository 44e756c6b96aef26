import { bare } from './c2c/bare.ts';
import { ejabberdEntrant, ejabberdSettings, findEjabberd } from './c2c/ejabberd.ts';
import { measureIdle } from './c2c/idle.ts';
import type { LoadQuestion } from './c2c/load.ts';
import { type ChatEntrant, mostAccounts } from './c2c/peer.ts';
import { qalgate } from './c2c/qalgate.ts';
import { type ChatScenario, loadScript, makeScenarios, terminals } from './c2c/scenarios.ts';
import { idleTable, ratioVerdict, scenarioTable, verdict } from './c2c/tables.ts';
import { resultOf, runContest } from './support/chat-contest.ts';
import type { BenchOptions } from './support/question.ts';

/** Question: what does a one-to-one message cost that is committed before it is delivered, against ejabberd? */

/** What qalgate may cost at most; the first two of ejabberd's CPU time for each message, service and database together. */
const accepted = { at64: 1 / 3, steady: 0.8, idleKilobytes: 20 };

export async function benchC2c({ quick, progress }: BenchOptions): Promise<string> {
  const theirs = findPeers(progress);
  const entrants = [qalgate, ...theirs, bare];
  const isPeer = (name: string): boolean => theirs.some((entrant) => entrant.name === name);
  const idleTerminals = quick ? 500 : mostAccounts;
  const idleRounds = quick ? 1 : 3;
  const idle = await measureIdle(entrants, { terminals: idleTerminals, rounds: idleRounds, progress });

  const scenarios = makeScenarios(quick);
  const rounds = quick ? 2 : 5;
  const results = await runContest<LoadQuestion, ChatScenario>(
    { entrants, script: loadScript, scenarios: scenarios.all, open: { do: 'open', ...terminals } },
    { rounds, progress },
  );
  const ratio = (scenario: ChatScenario, limit: number): string =>
    ratioVerdict(resultOf(results, scenario), { name: qalgate.name, isPeer, accepted: limit });
  const idleKilobytes = idle.get(qalgate)?.median ?? Number.NaN;
  return [
    '## c2c: what does a one-to-one message cost?',
    '',
    'CPU µs for each message that was committed, accepted and delivered, of the service and of its database: median of',
    `${rounds} rounds (lowest–highest), after a warm-up round. ${
      theirs.length === 0
        ? 'No ratios: ejabberd is not installed.'
        : 'The ratio is to the ejabberd that is cheaper at it, of the same round.'
    }`,
    ...(quick ? ['**Quick run: shows that it works, not how fast.**'] : []),
    ...results.flatMap((result) => scenarioTable(result, isPeer)),
    ...idleTable(idle, idleTerminals),
    '',
    ...(quick
      ? ['No verdict from a quick run.']
      : [
          `Aims for ${qalgate.name}:`,
          '',
          `- at 64 senders at most ${accepted.at64.toFixed(2)} of ejabberd's CPU time: ${ratio(scenarios.at64, accepted.at64)}`,
          `- at 500 messages a second at most ${accepted.steady.toFixed(2)}: ${ratio(scenarios.steady, accepted.steady)}`,
          `- at most ${accepted.idleKilobytes} KB an idle connection: ${verdict(idleKilobytes, accepted.idleKilobytes, 1)}`,
        ]),
    '',
    'How it was measured:',
    '',
    '- Every peer commits a message to a PostgreSQL 18 of its own, as durable as installed, before it delivers it. A message',
    '  counts once the receiver has it and, where the protocol tells, the sender knows that it is accepted; one to a receiver',
    '  that is away, once it is accepted. Texts of 100 characters. Exactly once and in order, or the run ends.',
    '- qalgate: the whole program with its embedded database, everything of messaging switched on (a list of 1000 dirty',
    '  words too), over its link in JSON, without TLS; rate limits on and out of reach. Receivers acknowledge as our SDK does.',
    ...(theirs.length === 0
      ? []
      : [
          '- ejabberd, in both settings: accounts, archive, offline messages and contacts in PostgreSQL, over TCP; XMPP without',
          '  TLS, plain passwords. It tells a sender nothing of a message that it delivers; of one to somebody who is away by',
          '  stream management. As installed it runs a scheduler a core, and they spin while they wait for work.',
        ]),
    `- ${bare.name}: JSON over \`ws\`, one \`INSERT\` for whatever came during the one before; no checks, no accounts, no`,
    '  history that could be read: a floor.',
    '- Login: connection, login, the end of the connection. qalgate: by UserSig; ejabberd: until the presence is sent back.',
    '- Idle: growth of resident memory of the service just started, after a garbage collection (ejabberd: once it is steady);',
    `  ${idleRounds === 1 ? 'one round' : `${idleRounds} rounds`}.`,
    '- The load generators, a process for each peer, share the cores with what they measure: messages/s and latencies say',
    '  what this machine does in all; CPU per message says what the service costs.',
  ].join('\n');
}

function findPeers(progress: BenchOptions['progress']): ChatEntrant[] {
  const ejabberd = findEjabberd();
  if (!('missing' in ejabberd)) {
    return Object.keys(ejabberdSettings).map((setting) => ejabberdEntrant(ejabberd, setting));
  }
  progress(`${ejabberd.missing} is not installed: ejabberd is left out`);
  return [];
}
