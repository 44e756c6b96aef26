import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startMeasured } from '../test/support/measured-process.ts';
import {
  type EntrantKind,
  entrantKinds,
  type Loss,
  measure,
  measureLoss,
  prime,
  type Sample,
  type Service,
  startSender,
} from './push/contest.ts';
import { reportPush } from './push/report.ts';
import type { ServiceAnswer, ServiceOptions, ServiceStarted } from './push/service.ts';
import { startDatabase } from './support/database.ts';
import type { BenchOptions } from './support/question.ts';

/** Question: what does a push over APNs cost with our client, against bare node-apn, and what do both lose when connections go? */

const faults = [
  { fault: 'start', title: 'none: the first on a new connection' },
  { fault: 'goaway', title: 'GOAWAY' },
  { fault: 'silence', title: 'silent connection' },
] as const;

export async function benchPush({ quick, progress }: BenchOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const database = await startDatabase();
  stack.defer(database.close);
  const count = quick ? 2_000 : 20_000;
  const rounds = quick ? 2 : 9;

  const samples: Record<EntrantKind, Sample[]> = { apn: [], our: [] };
  await using speed = new AsyncDisposableStack();
  // A service each: to one, two senders with the same key would change its provider token too often.
  const entrants: { kind: EntrantKind; service: Service; sender: Awaited<ReturnType<typeof startSender>> }[] = [];
  for (const kind of entrantKinds) {
    const service = await startService(speed, path.join(folder, `${kind}-ca.pem`), false);
    const sender = await startSender(kind, service, database.target);
    speed.defer(sender.close);
    await prime(sender);
    entrants.push({ kind, service, sender });
  }
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? 'warm-up' : `round ${round} of ${rounds}`);
    // In turns who is first.
    for (const { kind, service, sender } of round % 2 === 0 ? entrants : entrants.toReversed()) {
      const sample = await measure(service, sender, count);
      if (round > 0) samples[kind].push(sample);
    }
  }
  await speed.disposeAsync();

  const losses = [];
  for (const { fault, title } of faults) {
    const of: Record<EntrantKind, Loss[]> = { apn: [], our: [] };
    for (let round = 0; round < (quick || fault === 'silence' ? 1 : 3); round += 1) {
      for (const kind of entrantKinds) {
        progress(`${title}: ${kind === 'apn' ? 'node-apn' : 'qalgate'}`);
        await using own = new AsyncDisposableStack();
        const service = await startService(own, path.join(folder, 'silent-ca.pem'), fault === 'silence');
        const sender = await startSender(kind, service, database.target);
        own.defer(sender.close);
        of[kind].push(await measureLoss(service, sender, fault));
      }
    }
    losses.push({ title, of });
  }
  return reportPush({ quick, rounds, count, samples, losses });
}

async function startService(stack: AsyncDisposableStack, caFile: string, canSilence: boolean): Promise<Service> {
  const options: ServiceOptions = { caFile, canSilence };
  const { started, ask, close } = await startMeasured<ServiceStarted>(
    new URL('push/service.ts', import.meta.url),
    options,
  );
  stack.defer(close);
  return { started, caFile, ask: (question) => ask<ServiceAnswer>(question) };
}
