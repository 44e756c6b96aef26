import { LRUCache } from 'lru-cache';

/** What a device shows in one place. */
export interface Shown {
  readonly key: string;
  /** How many pushes have been shown here, one in the place of the other. */
  readonly times: number;
}

export interface RecordOptions<Arrival> {
  /** Arrivals and devices that are kept, and what is kept of each; beyond it the oldest go. */
  readonly maxArrivals: number;
  readonly maxDevices: number;
  readonly maxShown: number;
  readonly onArrival: ((arrival: Arrival) => void) | undefined;
}

/** What a sandbox got, and what devices show of it. */
export function createRecord<Arrival, What extends Shown>(options: RecordOptions<Arrival>) {
  const { maxArrivals, maxDevices, maxShown, onArrival } = options;
  const arrivals: Arrival[] = [];
  const devices = new LRUCache<string, Map<string, What>>({ max: maxDevices });
  let received = 0;
  return {
    arrivals: arrivals as readonly Arrival[],
    /** All so far, those that are no longer kept too. */
    get received() {
      return received;
    },
    keep(arrival: Arrival): void {
      received += 1;
      arrivals.push(arrival);
      // In blocks: one at a time would move all the others each time.
      if (arrivals.length >= maxArrivals * 2) arrivals.splice(0, arrivals.length - maxArrivals);
      onArrival?.(arrival);
    },
    /** In the place of what had its key; the newest is the last. */
    show(token: string, what: Omit<What, 'times'>): void {
      const shown = devices.get(token) ?? new Map<string, What>();
      devices.set(token, shown);
      const { key } = what;
      const times = (shown.get(key)?.times ?? 0) + 1;
      shown.delete(key);
      shown.set(key, { ...what, times } as What);
      if (shown.size > maxShown) shown.delete(shown.keys().next().value as string);
    },
    shown: (token: string): readonly What[] => [...(devices.get(token)?.values() ?? [])],
  };
}
