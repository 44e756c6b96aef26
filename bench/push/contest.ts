import { type MeasuredProcess, startMeasured } from '../../test/support/measured-process.ts';
import type { BenchDatabase } from '../support/database.ts';
import { cpuMicrosOf } from '../support/process-figures.ts';
import type { SenderAnswer, SenderOptions, SenderQuestion } from './sender.ts';
import type { ServiceAnswer, ServiceQuestion, ServiceStarted } from './service.ts';

export type EntrantKind = 'apn' | 'our';
export const entrantKinds: readonly EntrantKind[] = ['apn', 'our'];

export interface Service {
  started: ServiceStarted;
  caFile: string;
  ask(question: ServiceQuestion): Promise<ServiceAnswer>;
}

export interface Sample {
  perSec: number;
  cpuMicros: number;
}

/** What is left of the pushes of one fault. */
export interface Loss {
  /** Of those around the fault: not shown, shown once, more often. */
  never: number;
  once: number;
  twice: number;
  /** Of those sent after it. */
  afterNever: number;
  afterTotal: number;
  /** Until everything was over. */
  tookMs: number;
  reason: string;
}

/** Pushes in flight at once, over the one connection. */
export const atOnce = 200;
const warmUp = 1_000;
let nextDevice = 1;

/** Devices that nobody has pushed to yet. */
function devices(count: number): number {
  nextDevice += count;
  return nextDevice - count;
}

export async function startSender(
  kind: EntrantKind,
  { started, caFile }: Service,
  database: BenchDatabase['target'],
): Promise<MeasuredProcess<object>> {
  const options: SenderOptions & { database: BenchDatabase['target'] } = { ...started, caFile, database };
  return await startMeasured(new URL(`${kind}-sender.ts`, import.meta.url), options);
}

/** Before the first good answer APNs takes one push at a time of a connection. */
export async function prime(sender: MeasuredProcess<object>): Promise<void> {
  await sender.ask<SenderAnswer>({ first: devices(1), count: 1, atOnce: 1, again: false } satisfies SenderQuestion);
  const more: SenderQuestion = { first: devices(warmUp), count: warmUp, atOnce, again: false };
  await sender.ask<SenderAnswer>(more);
}

/** Sends so many, and makes sure that each was shown once. */
export async function measure(service: Service, sender: MeasuredProcess<object>, count: number): Promise<Sample> {
  const first = devices(count);
  const before = await cpuMicrosOf(sender.pid);
  const { tookMs, failed, reason } = await sender.ask<SenderAnswer>({
    first,
    count,
    atOnce,
    again: false,
  } satisfies SenderQuestion);
  const cpuMicros = (await cpuMicrosOf(sender.pid)) - before;
  if (failed > 0) throw new Error(`${failed} of ${count} failed: ${reason}`);
  const { once } = await service.ask({ do: 'shown', first, count });
  if (once !== count) throw new Error(`${once} of ${count} are shown once`);
  return { perSec: (count * 1_000) / tookMs, cpuMicros: cpuMicros / count };
}

/** {@link atOnce} pushes around a fault, and what is left of them; then as many more. */
export async function measureLoss(
  service: Service,
  sender: MeasuredProcess<object>,
  fault: 'start' | 'goaway' | 'silence',
): Promise<Loss> {
  const ask = (first: number, count: number, again: boolean): Promise<SenderAnswer> =>
    sender.ask<SenderAnswer>({ first, count, atOnce, again } satisfies SenderQuestion);
  if (fault !== 'start') await prime(sender);
  if (fault === 'silence') await service.ask({ do: 'silence' });
  if (fault === 'goaway') await service.ask({ do: 'hold' });
  const first = devices(atOnce);
  const startedMs = performance.now();
  const sent = ask(first, atOnce, true);
  if (fault === 'goaway') await sayFarewell(service);
  const { reason } = await sent;
  const afterFirst = devices(atOnce);
  const after = await ask(afterFirst, atOnce, true);
  const tookMs = performance.now() - startedMs;
  const { never, once, twice } = await service.ask({ do: 'shown', first, count: atOnce });
  const shownAfter = await service.ask({ do: 'shown', first: afterFirst, count: atOnce });
  return {
    never,
    once,
    twice,
    afterNever: shownAfter.never,
    afterTotal: atOnce,
    tookMs,
    reason: reason === '' ? after.reason : reason,
  };
}

/** With half of what is in flight as the last that is looked at. */
async function sayFarewell(service: Service): Promise<void> {
  while ((await service.ask({ do: 'figures' })).inFlight < atOnce) await new Promise((go) => setTimeout(go, 5));
  await service.ask({ do: 'goaway', answered: atOnce / 2 });
  // Those are answered a moment later, as by a service that goes in peace.
  await new Promise((resolve) => setTimeout(resolve, 100));
  await service.ask({ do: 'let-go' });
}
