import type { Terminal } from './session-endpoint.ts';
import type { QalStorage } from './storage.ts';

/** How the terminal's identity is written down. Another version does not exist for us: then a new terminal is made. */
const version = 1;

/** A3: what makes this terminal the same one after a restart. */
export async function loadTerminal(storage: QalStorage, key: string): Promise<Terminal | undefined> {
  const bytes = await storage.get(key);
  if (bytes === undefined) return undefined;
  try {
    const { v, id, secret } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    return v === version && typeof id === 'string' && typeof secret === 'string' ? { id, secret } : undefined;
  } catch {
    return undefined;
  }
}

export async function saveTerminal(storage: QalStorage, key: string, { id, secret }: Terminal): Promise<void> {
  await storage.set(key, new TextEncoder().encode(JSON.stringify({ v: version, id, secret })));
}
