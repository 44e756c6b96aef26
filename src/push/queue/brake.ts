import type { Outcome } from '../provider.ts';

/**
 * Notices when a service refuses token after token: then something of ours is wrong (the other environment, another bundle id or project),
 * and who believed the service would delete every token of an app (PUSH §1.5).
 */
export interface Brake {
  /** Why nothing should go out any more; undefined: go on. */
  note(outcome: Outcome): string | undefined;
  /** Whether a token that may be refused for our own fault is refused for its own: others have got through lately. */
  isTokenSound(): boolean;
  /** Its service wants nothing of the lane until then. */
  restUntilMs: number;
  /** After whatever was wrong has been mended. */
  reset(): void;
}

/** Of the last so many answers. */
const windowSize = 200;
/** Fewer say nothing. */
const leastRefused = 50;
/**
 * Of answers that are refusals. Where a service says for certain that a token has ended, as it does of many in a campaign to people who left
 * long ago, nearly all have to be.
 */
const maxShare = { unsure: 0.5, all: 0.95 };

export function createBrake(): Brake {
  let last: ('ok' | 'sure' | 'unsure')[] = [];
  const count = (what: (typeof last)[number]): number => last.filter((one) => one === what).length;

  return {
    note(outcome) {
      if (outcome.kind !== 'ok' && outcome.kind !== 'gone') return undefined;
      last.push(outcome.kind === 'ok' ? 'ok' : outcome.isSure ? 'sure' : 'unsure');
      if (last.length > windowSize) last.shift();
      if (outcome.kind === 'ok' || last.length < leastRefused) return undefined;
      const unsure = count('unsure');
      const all = unsure + count('sure');
      const isTooMuch = (refused: number, share: number) => refused >= leastRefused && refused >= share * last.length;
      const isHalt = isTooMuch(unsure, maxShare.unsure) || isTooMuch(all, maxShare.all);
      return isHalt ? `too-many-tokens-refused: ${outcome.reason}` : undefined;
    },
    restUntilMs: 0,
    isTokenSound: () => last.includes('ok'),
    reset() {
      last = [];
      this.restUntilMs = 0;
    },
  };
}
