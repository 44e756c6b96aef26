import type { Logger } from '../observe/index.ts';
import type { ControlBus } from '../store/index.ts';

/**
 * Changes that the command line makes, in the audit log of the service: a command is another process, and nobody keeps its log. Best
 * effort, like all that is told over the bus: where nothing runs, nobody hears of it.
 */

/** As `ops.audit` says it. */
export interface CommandChange {
  readonly actor: string;
  /** That of the ops API which does the same. */
  readonly command: string;
  readonly target: string;
}

const maxChars = 200;

/** Makes a change and tells of it, also where it failed half-way. */
export async function audited<T>(
  bus: Pick<ControlBus, 'publish'>,
  change: CommandChange,
  act: () => Promise<T>,
): Promise<T> {
  let outcome = 'failed';
  try {
    const result = await act();
    outcome = 'ok';
    return result;
  } finally {
    await bus.publish('audit', { ...change, outcome }).catch(() => {});
  }
}

/** Writes them down; returns how to stop that. */
export function logCommandChanges(bus: Pick<ControlBus, 'subscribe'>, logger: Logger): () => void {
  return bus.subscribe('audit', (payload) => {
    const { actor, command, target, outcome } = (payload ?? {}) as Record<string, unknown>;
    logger.info(
      { actor: text(actor), role: 'cli', command: text(command), target: text(target), outcome: text(outcome) },
      'ops.audit',
    );
  });
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, maxChars) : '';
}
