import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Fault } from '../test/support/fault-server.ts';
import { type MeasuredProcess, startMeasured } from '../test/support/measured-process.ts';
import { type Ask, openAsker, openBare } from './before/asker.ts';
import type { BackendStarted, Heard } from './before/backend.ts';
import { machineClockOffsetMs } from './before/machine-clock.ts';
import { loadLoop, openLoop, quantile } from './before/pace.ts';
import { type Call, type Overhead, type RoundFigures, reportBefore, tookMs } from './before/report.ts';
import type { BenchOptions } from './support/question.ts';

/** Question: is a before-callback decided in its time whatever the backend does, and what does it add to a send? */

/** Where nothing comes that could be used: decided at the deadline. */
const silent: readonly Fault[] = ['unaccepted', 'slow-tls', 'silent', 'slow-head', 'drip-body', 'short-body'];
/** Where there is no time of an answer to count from: the connection fails, or the answer goes on for long or for ever. */
const unheard: readonly Fault[] = [
  'refused',
  'no-tls',
  'bad-certificate',
  'wrong-host',
  'expired',
  'reset-within',
  'endless-body',
  'gzip-bomb',
  'huge-head',
];
/** Calls a second. Failing handshakes and answers of 100 KB are as fast as the backend can. */
const pace = { silent: 125, unheard: 100, answering: 400, overhead: 500 };
/** Of each behaviour before those that count: connections are made, code becomes warm. */
const warmUps = 100;
/** A quarter of the loop's time. */
const load = { busyMs: 3, everyMs: 12 };

export async function benchBefore({ quick, progress }: BenchOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const backend = await startMeasured<BackendStarted>(new URL('before/backend.ts', import.meta.url), {});
  stack.defer(backend.close);
  const { urls, httpsUrl, thinkingUrl, ca } = backend.started;
  const dir = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const caFile = path.join(dir, 'ca.pem');
  await writeFile(caFile, ca);
  const asker = openAsker();
  stack.defer(asker.close);
  const bare = openBare(urls.good);
  stack.defer(bare.close);
  const bareThinking = openBare(thinkingUrl);
  stack.defer(bareThinking.close);

  const rounds = quick ? 2 : 5;
  progress(`overhead: ${rounds} rounds`);
  const own = asker.askerOf(urls.good);
  const overhead = await measureOverhead(backend, { own, bare: bare.ask, calls: quick ? 500 : 2_000, rounds });

  const endLoad = loadLoop(load);
  stack.defer(async () => endLoad());
  const calls = quick ? 100 : 1_000;
  const askerOf = (fault: Fault): Ask =>
    asker.askerOf(urls[fault], urls[fault].startsWith('https:') ? caFile : undefined);
  const measureWarm = async (name: string, ask: Ask, perSec: number): Promise<Call[]> => {
    progress(`${name}: ${calls} calls`);
    await measure(backend, ask, { name, calls: warmUps, perSec });
    return await measure(backend, ask, { name, calls, perSec });
  };

  const answers = new Map<string, Call[]>();
  for (const fault of Object.keys(urls) as Fault[]) {
    if (silent.includes(fault) || unheard.includes(fault)) continue;
    answers.set(fault, await measureWarm(fault, askerOf(fault), pace.answering));
  }
  const overHttps = 'good, over https';
  answers.set(overHttps, await measureWarm(overHttps, asker.askerOf(httpsUrl, caFile), pace.answering));
  const after = 'good, after 1 to 20 ms';
  answers.set(after, await measureWarm(after, asker.askerOf(thinkingUrl), pace.answering));
  const control = new Map<string, Call[]>();
  for (const [name, { ask }] of Object.entries({ good: bare, [after]: bareThinking })) {
    control.set(`${name}; by undici alone`, await measureWarm('undici alone', ask, pace.answering));
  }
  const failures = new Map<string, Call[]>();
  for (const fault of unheard) failures.set(fault, await measureWarm(fault, askerOf(fault), pace.unheard));
  const silences = new Map<string, Call[]>();
  for (const fault of silent) {
    progress(`${fault}: ${calls} calls`);
    const run = { name: fault, calls, perSec: pace.silent, outcome: 'timeout' };
    silences.set(fault, await measure(backend, askerOf(fault), run));
  }
  return reportBefore({ quick, calls, rounds, load, pace, overhead, answers, control, failures, silences });
}

/** Asks so many times, with nothing but the pace between. What is decided otherwise than it must be ends the run. */
async function measure(
  backend: MeasuredProcess<BackendStarted>,
  ask: Ask,
  { name, calls, perSec, outcome }: { name: string; calls: number; perSec: number; outcome?: string },
): Promise<Call[]> {
  const done: Call[] = [];
  await openLoop(calls, perSec, async (n) => {
    const startedMs = performance.now();
    const came = await ask(String(n));
    done[n] = { startedMs: startedMs + machineClockOffsetMs, endedMs: performance.now() + machineClockOffsetMs };
    if (outcome === undefined ? came === 'timeout' : came !== outcome) {
      throw new Error(`${name}: call ${n} came to ${came}${outcome === undefined ? '' : ` instead of ${outcome}`}`);
    }
  });
  const heard = await backend.ask<Heard>({ heard: true });
  return done.map((call, n) => ({ ...call, answeredMs: heard[n] }));
}

/** Ours and the bare POST in turns; a round before does not count. */
async function measureOverhead(
  backend: MeasuredProcess<BackendStarted>,
  { own, bare, calls, rounds }: { own: Ask; bare: Ask; calls: number; rounds: number },
): Promise<Overhead> {
  const round = async (ask: Ask): Promise<RoundFigures> => {
    const run = { name: 'overhead', calls, perSec: pace.overhead, outcome: 'allowed' };
    const took = (await measure(backend, ask, run)).map(tookMs);
    return { p50: quantile(took, 0.5), p99: quantile(took, 0.99) };
  };
  const overhead: { own: RoundFigures[]; bare: RoundFigures[] } = { own: [], bare: [] };
  for (let n = 0; n <= rounds; n += 1) {
    const figures = { bare: await round(bare), own: await round(own) };
    if (n === 0) continue;
    overhead.bare.push(figures.bare);
    overhead.own.push(figures.own);
  }
  return overhead;
}
