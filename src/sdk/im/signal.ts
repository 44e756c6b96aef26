import type { Emit } from './events.ts';

/** Something that the application can listen to. */
export interface Signal<Args extends unknown[]> {
  /** @returns takes the function off again */
  readonly on: (listener: (...args: Args) => unknown) => () => void;
  /** Calls all listeners, in the order in which they came; what one throws reaches no other. */
  emit(...args: Args): void;
}

export function createSignal<Args extends unknown[]>(name: string, emit: Emit): Signal<Args> {
  const listeners = new Set<{ readonly listener: (...args: Args) => unknown }>();
  const failed = (error: unknown): void => emit({ type: 'listener-failed', listener: name, error });
  return {
    on(listener) {
      // The same function may listen twice.
      const one = { listener };
      listeners.add(one);
      return () => listeners.delete(one);
    },
    emit(...args) {
      for (const { listener } of [...listeners]) {
        try {
          const result = listener(...args);
          if (result instanceof Promise) result.catch(failed);
        } catch (error) {
          failed(error);
        }
      }
    },
  };
}
