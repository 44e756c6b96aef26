/** Has the work for a key done one piece after another, in the order in which it came. */
export interface Turns<K> {
  /** Undefined: too much waits for that key already, and this is not done. */
  take<T>(key: K, work: () => Promise<T>): Promise<T> | undefined;
  /** Pieces of work that wait, of all keys. */
  readonly waiting: number;
}

export function createTurns<K>({ maxWaiting }: { maxWaiting: number }): Turns<K> {
  /** The last piece of each key that has any: when it is over, and how many there are. */
  const lines = new Map<K, { over: Promise<unknown>; pieces: number }>();
  let waiting = 0;

  return {
    get waiting() {
      return waiting;
    },
    take(key, work) {
      const line = lines.get(key) ?? { over: Promise.resolve(), pieces: 0 };
      if (line.pieces > maxWaiting) return undefined;
      lines.set(key, line);
      line.pieces += 1;
      waiting += 1;
      const done = line.over.then(() => {
        waiting -= 1;
        return work();
      });
      line.over = done
        .catch(() => {})
        .then(() => {
          line.pieces -= 1;
          if (line.pieces === 0) lines.delete(key);
        });
      return done;
    },
  };
}
