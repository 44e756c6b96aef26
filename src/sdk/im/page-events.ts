interface Listenable {
  addEventListener?: (type: string, listener: () => void) => void;
  removeEventListener?: (type: string, listener: () => void) => void;
}

/** In a browser: the network is back, or the page is looked at again, after a sleep perhaps. */
export function onReturn(fn: () => void): () => void {
  const { document } = globalThis as { document?: Listenable };
  const sources: [Listenable | undefined, string][] = [
    [globalThis as Listenable, 'online'],
    [document, 'visibilitychange'],
  ];
  for (const [source, type] of sources) source?.addEventListener?.(type, fn);
  return () => {
    for (const [source, type] of sources) source?.removeEventListener?.(type, fn);
  };
}
