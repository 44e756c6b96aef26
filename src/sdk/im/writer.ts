/** Writes one after another: while one is under way, what changes is collected for the next. */
export interface Writer {
  /** Settles when what has changed until now is written. */
  write(): Promise<void>;
  /** Settles when nothing is being written. */
  idle(): Promise<void>;
}

/** @param write never rejects */
export function createWriter(write: () => Promise<void>): Writer {
  let tail: Promise<void> = Promise.resolve();
  let queued: Promise<void> | undefined;
  return {
    write() {
      queued ??= tail.then(() => {
        queued = undefined;
        tail = write();
        return tail;
      });
      return queued;
    },
    idle: () => queued ?? tail,
  };
}
