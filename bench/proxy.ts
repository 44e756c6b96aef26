import {
  type Contest,
  connections,
  contestTable,
  measureBy,
  type Peer,
  runRounds,
  verdicts,
} from './support/contest.ts';
import { nginxVersion, startNginx } from './support/nginx.ts';
import { findProgram, versionOf } from './support/program.ts';
import type { BenchOptions } from './support/question.ts';
import { cpuMicrosOf, dependencyVersion, openStage, type Stage } from './support/stage.ts';

/** Question: what does forwarding one request cost the proxy's process, against npm http-proxy and others? */

const sizes = [
  { bodyBytes: 1_024, requests: 12_000, quickRequests: 3_000 },
  { bodyBytes: 102_400, requests: 6_000, quickRequests: 1_500 },
] as const;
const baseline = `http-proxy ${dependencyVersion('http-proxy-classic')}`;
const ours = 'qalgate';
/** What the access service may cost at most, of the baseline's CPU per request. */
const acceptedRatio = 0.6;

export async function benchProxy({ quick, progress }: BenchOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const stage = await openStage(stack, { sessions: connections });
  const { sessions } = stage.access.started;
  const peers = (await startPeers(stage, stack, progress)).map((peer): Peer => ({ ...peer, sessions }));
  const own = peers.find(({ name }) => name === ours) as Peer;
  const base = peers.find(({ name }) => name === baseline);
  const contests: Contest[] = sizes.map(({ bodyBytes, requests, quickRequests }) => ({
    bodyBytes,
    requests: quick ? quickRequests : requests,
    peers,
    base,
  }));
  const measure = measureBy(stage.load, 'never');
  const rounds = quick ? 3 : 7;
  // A short round warms up little: two.
  const results = await runRounds(contests, { rounds, warmUps: quick ? 2 : 1, measure, warmUp: measure, progress });
  return [
    '## proxy: what does forwarding a request cost?',
    '',
    `CPU µs of the proxy's own process for each request: median of ${rounds} rounds (lowest–highest), after a warm-up round.`,
    `The ratio is to ${baseline} of the same round.${quick ? ' **Quick run: shows that it works, not how fast.**' : ''}`,
    ...results.flatMap(contestTable),
    '',
    quick
      ? 'No verdict from a quick run.'
      : `Aim: ${ours} at most ${acceptedRatio} of ${baseline}: ${verdicts(results, own, acceptedRatio)}.`,
    '',
    `- ${ours}: the access service as in production, without the database: a session token on each request (one account and`,
    '  terminal a connection) becomes the whole set of `QAL-*` fields; checks, limits (rate of requests too, never reached),',
    '  time-outs and metrics on; access log off; serial numbers counted in memory, as between two blocks from the database.',
    `- ${baseline} and http-proxy-3: \`proxy.web\` with a keep-alive agent, nothing else; they add and check no header.`,
    '- undici: `Pool.dispatch`, headers passed through unread, pipelining off.',
    '- nginx: one worker, keep-alive both ways, no log, no temporary files; CPU time of the worker.',
    '- no proxy: load generator and origin alone, a ceiling for requests/s. Both share the cores with the proxy, so',
    '  requests/s says what this machine does in all; CPU per request says what the proxy costs.',
    '- Load generator and origin are raw sockets on Node in a process each. Status, length and both ends of every body are',
    '  checked; one wrong answer ends the run.',
  ].join('\n');
}

async function startPeers(
  { access, origin, library }: Stage,
  stack: AsyncDisposableStack,
  progress: BenchOptions['progress'],
): Promise<Peer[]> {
  const peers: Peer[] = [
    { name: ours, port: access.started.port, cpuMicros: cpuMicrosOf(access) },
    await library('http-proxy', baseline),
    await library('http-proxy-3', `http-proxy-3 ${dependencyVersion('http-proxy')}`),
    await library('undici', `undici ${dependencyVersion('undici')} dispatch, no work`),
  ];
  const file = findProgram('nginx');
  if (file === undefined) progress('nginx is not installed: left out');
  else peers.push(...(await startNginxPeers(file, origin.started.port, stack)));
  peers.push({ name: 'no proxy', port: origin.started.port });
  return peers;
}

/** With `proxy_buffering on` and off: which is faster depends on the size. */
async function startNginxPeers(file: string, originPort: number, stack: AsyncDisposableStack): Promise<Peer[]> {
  const { ports, cpuMicros, close } = await startNginx({
    file,
    originPort,
    http: 'proxy_max_temp_file_size 0; proxy_buffers 8 64k; proxy_busy_buffers_size 256k;',
    locations: ['proxy_buffering on; proxy_buffer_size 16k;', 'proxy_buffering off; proxy_buffer_size 64k;'],
    caching: 'never',
  });
  stack.defer(close);
  const version = await versionOf(file, nginxVersion.arg, nginxVersion.pattern);
  return ['on', 'off'].map((buffering, n) => ({
    name: `nginx ${version}, buffering ${buffering}`,
    port: ports[n] ?? 0,
    cpuMicros,
  }));
}
