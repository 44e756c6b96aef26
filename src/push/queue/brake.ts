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
const maxShare = 0.5;

export function createBrake(): Brake {
  /** Whether each of the last was refused for its token's sake. */
  let last: boolean[] = [];
  let refused = 0;

  return {
    note(outcome) {
      if (outcome.kind !== 'ok' && outcome.kind !== 'gone') return undefined;
      const isRefused = outcome.kind === 'gone';
      last.push(isRefused);
      if (isRefused) refused += 1;
      if (last.length > windowSize && last.shift() === true) refused -= 1;
      if (!isRefused || refused < leastRefused || refused < maxShare * last.length) return undefined;
      return `too-many-tokens-refused: ${outcome.reason}`;
    },
    restUntilMs: 0,
    isTokenSound: () => last.some((isRefused) => !isRefused),
    reset() {
      last = [];
      refused = 0;
      this.restUntilMs = 0;
    },
  };
}
