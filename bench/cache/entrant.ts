import { type Contest, cpuOf, type Peer, type Rounds, runRounds } from '../support/contest.ts';

/** A cache in one or several settings, of which the fastest depends on the size of the bodies. */
export interface Entrant {
  name: string;
  /** Each with the setting as its name. */
  settings: readonly Peer[];
}

/** Starts the program of an entrant, which ends with the stack. */
export type StartEntrant = (file: string, originPort: number, stack: AsyncDisposableStack) => Promise<Entrant>;

export interface Choice {
  /** Under the entrant's name. */
  peer: Peer;
  /** What was tried, the best first; absent where there is no choice. */
  tried?: readonly { setting: string; cpuMicros: number }[];
}

/** Measures the settings of an entrant side by side and takes the one with the lowest median. */
export async function chooseSetting(
  { name, settings }: Entrant,
  { bodyBytes, requests }: Pick<Contest, 'bodyBytes' | 'requests'>,
  rounds: Rounds,
): Promise<Choice> {
  const [only] = settings;
  if (only !== undefined && settings.length === 1) return { peer: { ...only, name } };
  const peers = settings.map((setting) => ({ ...setting, name: `${name} (${setting.name})` }));
  const results = await runRounds([{ bodyBytes, requests, peers }], rounds);
  const tried = settings
    .map((setting, n) => ({
      setting,
      cpuMicros: results.flatMap((result) => cpuOf(result, peers[n] as Peer)?.median ?? [])[0] ?? Number.NaN,
    }))
    .sort((a, b) => a.cpuMicros - b.cpuMicros);
  const [best] = tried;
  if (best === undefined) throw new Error(`${name} has no settings`);
  return {
    peer: { ...best.setting, name },
    tried: tried.map(({ setting, cpuMicros }) => ({ setting: setting.name, cpuMicros })),
  };
}
