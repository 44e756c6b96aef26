import manifest from '../../package.json' with { type: 'json' };
import type { AccessProcessOptions, AccessStarted } from '../../test/support/access-process.ts';
import { type MeasuredProcess, startMeasured } from '../../test/support/measured-process.ts';
import type { Peer } from './contest.ts';
import type { LibraryKind, LibraryOptions } from './library-peer.ts';

/** What every comparison of proxies is made with: origin, load generator, ourselves, in a process each. */
export interface Stage {
  origin: MeasuredProcess<{ port: number }>;
  load: MeasuredProcess<object>;
  access: MeasuredProcess<AccessStarted>;
  /** Starts a library on `http.Server` before the origin. */
  library(kind: LibraryKind, name: string): Promise<Peer>;
}

/** @param stack ends the processes */
export async function openStage(
  stack: AsyncDisposableStack,
  options: Omit<AccessProcessOptions, 'upstream' | 'idleTimeoutMs'>,
): Promise<Stage> {
  const start = async <S>(script: string, options: object): Promise<MeasuredProcess<S>> => {
    const started = await startMeasured<S>(new URL(script, import.meta.url), options);
    stack.defer(started.close);
    return started;
  };
  const origin = await start<{ port: number }>('origin.ts', {});
  const originUrl = `http://127.0.0.1:${origin.started.port}`;
  return {
    origin,
    load: await start<object>('load.ts', {}),
    access: await start<AccessStarted>('../../test/support/access-process.ts', {
      upstream: [originUrl],
      idleTimeoutMs: 60_000,
      ...options,
    } satisfies AccessProcessOptions),
    async library(kind, name) {
      const options: LibraryOptions = { kind, origin: originUrl };
      const library = await start<{ port: number }>('library-peer.ts', options);
      return { name, port: library.started.port, cpuMicros: cpuMicrosOf(library) };
    },
  };
}

export const cpuMicrosOf = (process: MeasuredProcess<unknown>) => async (): Promise<number> =>
  (await process.usage()).cpuMicros;

/** The version of a dependency; ours are exact, aliases (`npm:name@1.2.3`) too. */
export function dependencyVersion(name: string): string {
  const { dependencies, devDependencies } = manifest;
  const wanted: Record<string, string> = { ...dependencies, ...devDependencies };
  return wanted[name]?.split('@').at(-1) ?? 'of unknown version';
}
