import { type Choice, chooseSetting, type Entrant, type StartEntrant } from './cache/entrant.ts';
import { startHaproxyCache } from './cache/haproxy.ts';
import { startNginxCache } from './cache/nginx.ts';
import { startVarnishCache } from './cache/varnish.ts';
import {
  connections,
  contestTable,
  kilobytes,
  type Measure,
  measureBy,
  type Peer,
  runRounds,
  verdicts,
} from './support/contest.ts';
import type { OriginCount } from './support/origin.ts';
import { findProgram } from './support/program.ts';
import type { BenchOptions } from './support/question.ts';
import { cpuMicrosOf, dependencyVersion, openStage, type Stage } from './support/stage.ts';

/** Question: what does answering one request from its memory cost a cache, against nginx and others? */

const sizes = [
  { bodyBytes: 1_024, requests: 24_000, quickRequests: 3_000 },
  { bodyBytes: 102_400, requests: 12_000, quickRequests: 1_500 },
] as const;
/** What the access service may cost at most, of nginx's CPU per request. */
const acceptedRatio = 1.6;
/** Of the requests of a measured round, how many may reach the origin: none should. With more the peer does not cache. */
const acceptedMisses = 8;

const settingsHead = 'Where a setting decides, the best for the size, found in a trial before (CPU µs/request there):';
/** Of many settings tried, how many are told apart. */
const shownSettings = 4;

const programs: Record<string, StartEntrant> = {
  nginx: startNginxCache,
  haproxy: startHaproxyCache,
  varnishd: startVarnishCache,
};

export async function benchCache({ quick, progress }: BenchOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const stage = await openStage(stack, { sessions: connections, cache: 'qal' });
  const { own, others, nginx } = await startAll(stage, stack, progress);
  const noProxy: Peer = { name: 'no proxy', port: stage.origin.started.port };
  const fill = measureBy(stage.load, 'cacheable');
  const hits = hitsOnly(stage, fill);

  const contests = [];
  const settings: string[] = [];
  for (const { bodyBytes, requests, quickRequests } of sizes) {
    const contest = { bodyBytes, requests: quick ? quickRequests : requests };
    const chosen = new Map<Entrant, Peer>();
    for (const entrant of others) {
      const choice = await chooseSetting(
        entrant,
        { bodyBytes, requests: contest.requests / (quick ? 3 : 6) },
        { rounds: quick ? 1 : 5, warmUps: 1, measure: hits, warmUp: fill, progress: () => {} },
      );
      chosen.set(entrant, choice.peer);
      if (choice.tried === undefined) continue;
      progress(`${entrant.name} at ${kilobytes(bodyBytes)}: ${choice.tried[0]?.setting}`);
      settings.push(settingLine(entrant, bodyBytes, choice.tried));
    }
    const base = nginx && chosen.get(nginx);
    contests.push({ ...contest, peers: [...own, ...chosen.values(), noProxy], base });
  }

  const rounds = quick ? 3 : 11;
  // A short round warms up little: two.
  const warmUps = quick ? 2 : 1;
  const results = await runRounds(contests, { rounds, warmUps, measure: hits, warmUp: fill, progress });
  const aim = own.map((peer) => `${peer.name}: ${verdicts(results, peer, acceptedRatio)}`).join('; ');
  return [
    '## cache: what does a cache hit cost?',
    '',
    `CPU µs of the cache's own process for each request: median of ${rounds} rounds (lowest–highest), after a warm-up round that`,
    `fills the caches. ${nginx === undefined ? 'No ratios: nginx is not installed.' : `The ratio is to ${nginx.name} of the same round.`}`,
    ...(quick ? ['**Quick run: shows that it works, not how fast.**'] : []),
    ...results.flatMap(contestTable),
    '',
    quick || nginx === undefined
      ? `No verdict ${quick ? 'from a quick run' : 'without nginx'}.`
      : `Aim: at most ${acceptedRatio} of ${nginx.name}. ${aim}.`,
    '',
    ...(settings.length === 0 ? [] : [settingsHead, '', ...settings, '']),
    '- Every answer is a hit, of one resource for each size, `Cache-Control: public, max-age=3600`: the origin counts, and the',
    `  run ends when more than ${acceptedMisses} of a round's requests reach it.`,
    '- qalgate: the access service as in production, without the database: checks, limits (rate of requests too, never',
    '  reached), time-outs and metrics on; access log off. With sessions: a token on each request (one account and terminal',
    '  a connection), checked; the answer is `public`, so all get the same.',
    '- nginx: `proxy_cache`, one worker, whose CPU time counts; keep-alive, no log. HAProxy: `cache`, one thread. Varnish:',
    '  `-s malloc`, CPU time of all threads of its child. Requests without a session.',
    '- undici: `interceptors.cache()` with its store in memory, on `Pool.dispatch` behind `http.Server`. Likewise.',
    '- no proxy: load generator and origin alone, a ceiling for requests/s. The load generator shares the cores with the',
    '  cache and is what limits a fast one: CPU per request says what the cache costs.',
    '- Load generator and origin are raw sockets on Node in a process each. Status, length and both ends of every body are',
    '  checked; one wrong answer ends the run.',
  ].join('\n');
}

function settingLine({ name }: Entrant, bodyBytes: number, tried: NonNullable<Choice['tried']>): string {
  const shown = tried.map(({ setting, cpuMicros }) => `${setting} ${cpuMicros.toFixed(1)}`);
  const left = shown.length - shownSettings;
  const others = left > 0 ? [...shown.slice(1, shownSettings), `${left} more, to ${shown.at(-1)}`] : shown.slice(1);
  return `- ${name} at ${kilobytes(bodyBytes)}: **${shown[0]}**; ${others.join('; ')}`;
}

async function startAll(stage: Stage, stack: AsyncDisposableStack, progress: BenchOptions['progress']) {
  const { port, sessions } = stage.access.started;
  const access = { port, cpuMicros: cpuMicrosOf(stage.access) };
  const own: Peer[] = [
    { name: 'qalgate', ...access },
    { name: 'qalgate, with sessions', ...access, sessions },
  ];
  const others: Entrant[] = [];
  for (const [program, start] of Object.entries(programs)) {
    const file = findProgram(program);
    if (file === undefined) progress(`${program} is not installed: left out`);
    else others.push(await start(file, stage.origin.started.port, stack));
  }
  const nginx = others.find(({ name }) => name.startsWith('nginx '));
  const undici = `undici ${dependencyVersion('undici')} cache interceptor`;
  others.push({ name: undici, settings: [await stage.library('undici-cache', undici)] });
  return { own, others, nginx };
}

/** A peer that forwards is measured as a proxy, and would look like a slow cache: that ends the run. */
function hitsOnly({ origin }: Stage, measure: Measure): Measure {
  return async (peer, contest) => {
    const before = await origin.ask<OriginCount>({});
    const sample = await measure(peer, contest);
    const after = await origin.ask<OriginCount>({});
    const misses = after.requests - before.requests;
    if (peer.port !== origin.started.port && misses > acceptedMisses) {
      throw new Error(
        `${peer.name} at ${contest.bodyBytes} bytes does not answer from its cache: ${misses} of ${contest.requests} requests reached the origin`,
      );
    }
    return sample;
  };
}
