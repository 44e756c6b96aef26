import { distance } from 'fastest-levenshtein';

/** Where a field stands: names of maps and indexes of lists. */
export type Path = readonly (string | number)[];

/** One thing that is wrong with the configuration. Never holds a secret's value. */
export interface Problem {
  /** The field, as `apps[0].access.routes[1].upstream[0]`; empty for the file as a whole. */
  path: string;
  reason: string;
  /** What would be right. */
  allowed?: string;
  /** The valid name nearest to an unknown one. */
  nearest?: string;
  /** Where it was read: `qalgate.yaml:12:5`, or the environment variable. */
  at?: string;
}

/** `apps[0].access.routes[1]` */
export function formatPath(path: Path): string {
  return path
    .map((step) =>
      typeof step === 'number' ? `[${step}]` : /^[A-Za-z0-9_-]+$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`,
    )
    .join('')
    .replace(/^\./, '');
}

/** `qalgate.yaml:3:5: limits.bodyBites: is not a field here; did you mean bodyBytes?` */
export function formatProblem({ path, reason, allowed, nearest, at }: Problem): string {
  const place = [at, path].filter((part) => part !== undefined && part !== '').join(': ');
  return [
    place === '' ? reason : `${place}: ${reason}`,
    ...(nearest === undefined ? [] : [`did you mean ${nearest}?`]),
    ...(allowed === undefined ? [] : [`allowed: ${allowed}`]),
  ].join('; ');
}

/** The known name that a mistyped one most likely meant; undefined when none is near. */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[-_]/g, '');
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const steps = distance(plain(name), plain(candidate));
    if (steps < least) [best, least] = [candidate, steps];
  }
  return best;
}
