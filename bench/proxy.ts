import manifest from '../package.json' with { type: 'json' };
import type { AccessProcessOptions, AccessStarted } from '../test/support/access-process.ts';
import { type MeasuredProcess, startMeasured } from '../test/support/measured-process.ts';
import { findNginx, startNginx } from './proxy/nginx.ts';
import type { PeerKind, PeerOptions } from './proxy/peer.ts';
import type { LoadOptions, LoadResult } from './support/load.ts';
import type { BenchOptions } from './support/question.ts';
import { formatSpread, type Spread, spreadOf } from './support/spread.ts';

/**
 * Question: what does forwarding one request cost the proxy's process, against npm http-proxy and others?
 *
 * Each round runs every peer once, in turns. CPU time is that of the proxy's own process, so the load generator and the
 * origin, which share the machine, distort requests/s but hardly CPU per request.
 */

interface Peer {
  name: string;
  port: number;
  /** CPU time of its process so far; absent for none. */
  cpuMicros?: () => Promise<number>;
}

interface Sample {
  cpuMicros: number | undefined;
  perSec: number;
}

const concurrency = 32;
const sizes = [
  { bodyBytes: 1_024, requests: 12_000, quickRequests: 3_000 },
  { bodyBytes: 102_400, requests: 6_000, quickRequests: 1_500 },
] as const;
const baseline = `http-proxy ${versionOf('http-proxy-classic')}`;
const ours = 'qalgate';
/** What the access service may cost at most, of the baseline's CPU per request. */
const acceptedRatio = 0.6;

/** The installed version of a dependency; ours are exact, aliases (`npm:name@1.2.3`) too. */
function versionOf(name: string): string {
  const { dependencies, devDependencies } = manifest;
  const wanted: Record<string, string> = { ...dependencies, ...devDependencies };
  return wanted[name]?.split('@').at(-1) ?? 'of unknown version';
}

export async function benchProxy({ quick, progress }: BenchOptions): Promise<string> {
  const closers: (() => Promise<void>)[] = [];
  try {
    const { peers, load, sessions } = await startAll(closers, progress);
    const rounds = quick ? 3 : 7;
    const samples = new Map<string, Sample[]>();
    // Round 0 warms up: compilers, heaps, connections. A short round takes two.
    const warmUps = quick ? 2 : 1;
    for (let round = 0; round <= rounds; round += 1) {
      progress(round === 0 ? 'warm-up' : `round ${round} of ${rounds}`);
      for (const { bodyBytes, requests, quickRequests } of sizes) {
        for (const peer of peers) {
          const options = { sessions, requests: quick ? quickRequests : requests, bodyBytes };
          if (round === 0) {
            await measure(peer, load, { ...options, requests: options.requests * warmUps });
            continue;
          }
          const sample = await measure(peer, load, options);
          const key = keyOf(peer.name, bodyBytes);
          samples.set(key, [...(samples.get(key) ?? []), sample]);
        }
      }
    }
    return report(peers, samples, { quick, rounds });
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

async function startAll(closers: (() => Promise<void>)[], progress: BenchOptions['progress']) {
  const start = async <S>(script: string, options: object): Promise<MeasuredProcess<S>> => {
    const started = await startMeasured<S>(new URL(script, import.meta.url), options);
    closers.push(started.close);
    return started;
  };
  const origin = await start<{ port: number }>('support/origin.ts', {});
  const originUrl = `http://127.0.0.1:${origin.started.port}`;
  const load = await start<object>('support/load.ts', {});
  const access = await start<AccessStarted>('../test/support/access-process.ts', {
    upstream: [originUrl],
    sessions: concurrency,
    idleTimeoutMs: 60_000,
  } satisfies AccessProcessOptions);
  const cpuOf = (process: MeasuredProcess<unknown>) => async () => (await process.usage()).cpuMicros;
  const library = async (kind: PeerKind, name: string): Promise<Peer> => {
    const peer = await start<{ port: number }>('proxy/peer.ts', { kind, origin: originUrl } satisfies PeerOptions);
    return { name, port: peer.started.port, cpuMicros: cpuOf(peer) };
  };
  const peers: Peer[] = [
    { name: ours, port: access.started.port, cpuMicros: cpuOf(access) },
    await library('http-proxy', baseline),
    await library('http-proxy-3', `http-proxy-3 ${versionOf('http-proxy')}`),
    await library('undici', `undici ${versionOf('undici')} dispatch, no work`),
  ];
  const program = findNginx();
  if (program === undefined) progress('nginx is not installed: left out');
  else {
    const nginx = await startNginx(program, origin.started.port);
    closers.push(nginx.close);
    const { ports, version, cpuMicros } = nginx;
    peers.push({ name: `nginx ${version}, buffering on`, port: ports.buffered, cpuMicros });
    peers.push({ name: `nginx ${version}, buffering off`, port: ports.unbuffered, cpuMicros });
  }
  peers.push({ name: 'no proxy', port: origin.started.port });
  return { peers, load, sessions: access.started.sessions };
}

async function measure(peer: Peer, load: MeasuredProcess<object>, options: Omit<LoadOptions, 'port'>): Promise<Sample> {
  const before = await peer.cpuMicros?.();
  const result = await load.ask<LoadResult>({ ...options, port: peer.port } satisfies LoadOptions);
  if (result.problem !== undefined) {
    throw new Error(`${peer.name} at ${options.bodyBytes} bytes gave a wrong answer: ${result.problem}`);
  }
  const after = await peer.cpuMicros?.();
  return {
    cpuMicros: before === undefined || after === undefined ? undefined : (after - before) / options.requests,
    perSec: (options.requests * 1_000) / result.elapsedMs,
  };
}

const keyOf = (name: string, bodyBytes: number): string => `${name} ${bodyBytes}`;

function report(
  peers: readonly Peer[],
  samples: ReadonlyMap<string, Sample[]>,
  { quick, rounds }: { quick: boolean; rounds: number },
): string {
  const lines = [
    '## proxy: what does forwarding a request cost?',
    '',
    `CPU µs of the proxy's own process for each request: median of ${rounds} rounds (lowest–highest), after a warm-up round.`,
    `The ratio is to ${baseline} of the same round.${quick ? ' **Quick run: shows that it works, not how fast.**' : ''}`,
  ];
  for (const { bodyBytes, requests, quickRequests } of sizes) {
    lines.push(
      '',
      `### ${bodyBytes / 1_024} KB bodies, ${quick ? quickRequests : requests} requests a round over ${concurrency} connections`,
      '',
      '| peer | CPU µs/request | ratio | requests/s |',
      '|---|---|---|---|',
    );
    for (const { name } of peers) {
      const own = samples.get(keyOf(name, bodyBytes)) ?? [];
      const cpu = own.flatMap(({ cpuMicros }) => cpuMicros ?? []);
      const perSec = formatSpread(spreadOf(own.map((sample) => sample.perSec)), 0);
      const cells =
        cpu.length === 0 ? ['', ''] : [formatSpread(spreadOf(cpu), 1), formatSpread(ratioOf(name, bodyBytes), 2)];
      lines.push(`| ${name} | ${cells.join(' | ')} | ${perSec} |`);
    }
  }
  const verdicts = sizes.map(({ bodyBytes }) => {
    const { median } = ratioOf(ours, bodyBytes);
    return `${bodyBytes / 1_024} KB ${median.toFixed(2)} (${median <= acceptedRatio ? 'met' : 'NOT met'})`;
  });
  lines.push(
    '',
    quick
      ? 'No verdict from a quick run.'
      : `Aim: ${ours} at most ${acceptedRatio} of ${baseline}: ${verdicts.join(', ')}.`,
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
  );
  return lines.join('\n');

  /** Round by round, so that a slow phase of the machine stands in both. */
  function ratioOf(name: string, bodyBytes: number): Spread {
    const base = samples.get(keyOf(baseline, bodyBytes)) ?? [];
    const own = samples.get(keyOf(name, bodyBytes)) ?? [];
    return spreadOf(own.map(({ cpuMicros = 0 }, round) => cpuMicros / (base[round]?.cpuMicros ?? Number.NaN)));
  }
}
