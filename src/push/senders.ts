import { isDeepStrictEqual } from 'node:util';
import type { AppSettings } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import type { Sender } from './provider.ts';
import { type Lane, laneId } from './queue/lane.ts';

/** The clients of all apps' services: made when they are first needed, and anew when an app's credentials change. */
export interface Senders {
  /** Undefined: the app has no such service (any more). */
  get(lane: Lane): Sender | undefined;
  /** Closes those whose settings have changed or are gone; they are made anew when they are needed. */
  refresh(): void;
  /** For operators. */
  list(): { lane: Lane; sender: Sender }[];
  close(): Promise<void>;
}

type Settings = NonNullable<AppSettings['push'][Lane['channel']]>;

/** Clients at once; of more apps those that were not used for longest are closed, and made again when they are needed. */
const maxSenders = 1_000;

export function createSenders(deps: {
  apps: { get(sdkAppId: SdkAppId): AppSettings | undefined };
  make: { [channel in Lane['channel']]: (settings: NonNullable<AppSettings['push'][channel]>) => Sender };
  /** Credentials have changed: what an app's service refused before it may take now. */
  onChange(lane: Lane): void;
}): Senders {
  const { apps, make, onChange } = deps;
  const senders = new Map<string, { lane: Lane; settings: Settings; sender: Sender }>();
  const closing = new Set<Promise<void>>();

  function end(id: string): void {
    const known = senders.get(id);
    senders.delete(id);
    if (known === undefined) return;
    // What it has under way ends first.
    const closed = known.sender.close().finally(() => closing.delete(closed));
    closing.add(closed);
  }

  const settingsOf = ({ sdkAppId, channel }: Lane): Settings | undefined => apps.get(sdkAppId)?.push[channel];
  // Settings that did not change are the same object.
  const isSame = (one: Settings, other: Settings | undefined): boolean =>
    one === other || isDeepStrictEqual(one, other);

  function refreshOne(id: string): void {
    const known = senders.get(id);
    if (known === undefined || isSame(known.settings, settingsOf(known.lane))) return;
    end(id);
    onChange(known.lane);
  }

  return {
    get(lane) {
      const id = laneId(lane);
      refreshOne(id);
      const known = senders.get(id);
      if (known !== undefined) {
        senders.delete(id);
        senders.set(id, known);
        return known.sender;
      }
      const settings = settingsOf(lane);
      if (settings === undefined) return undefined;
      const [oldest] = senders.keys();
      if (senders.size >= maxSenders && oldest !== undefined) end(oldest);
      const sender = (make[lane.channel] as (settings: Settings) => Sender)(settings);
      senders.set(id, { lane, settings, sender });
      return sender;
    },
    refresh() {
      for (const id of [...senders.keys()]) refreshOne(id);
    },
    list: () => [...senders.values()].map(({ lane, sender }) => ({ lane, sender })),
    async close() {
      for (const id of [...senders.keys()]) end(id);
      await Promise.all(closing);
    },
  };
}
