/** Counts things that are held, by address: at most `perKey` for one (0: no limit), `total` for all. */
export interface HeldCounter {
  /** Not ok: over that limit, and nothing was counted. Without a key only the total counts. */
  take(key: string | undefined): 'ok' | 'total' | 'key';
  give(key: string | undefined): void;
  readonly size: number;
}

export function createHeldCounter(total: number, perKey: number): HeldCounter {
  const held = new Map<string, number>();
  let size = 0;
  return {
    take(key) {
      if (size >= total) return 'total';
      if (key === undefined) {
        size += 1;
        return 'ok';
      }
      const count = held.get(key) ?? 0;
      if (perKey > 0 && count >= perKey) return 'key';
      held.set(key, count + 1);
      size += 1;
      return 'ok';
    },
    give(key) {
      if (key === undefined) {
        size -= 1;
        return;
      }
      const count = held.get(key);
      if (count === undefined) return;
      size -= 1;
      if (count === 1) held.delete(key);
      else held.set(key, count - 1);
    },
    get size() {
      return size;
    },
  };
}
