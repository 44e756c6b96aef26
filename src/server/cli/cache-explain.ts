import {
  type CacheRules,
  type Explanation,
  formatHttpDate,
  parseHttpDate,
  type RawFields,
  type RequestFacts,
  splitList,
  valuesOf,
} from '../../cache/index.ts';
import type { WrittenRequest, WrittenResponse } from './message-head.ts';

/** What is to be told, and of what. */
export interface Explained {
  request: WrittenRequest & { facts: RequestFacts };
  response: WrittenResponse;
  rules: CacheRules & { routeShared: boolean };
  /** When the response was received, in milliseconds since the epoch. */
  receivedMs: number;
  explanation: Explanation;
}

type Step = Explanation['steps'][number];
type Policy = NonNullable<Explanation['policy']>;

/** Puts in words what the cache would do; every decision in it is the core's, only the words are made here. Pure. */
export function formatExplanation(explained: Explained): string {
  const { request, response, rules, receivedMs, explanation } = explained;
  const { policy, steps, store } = explanation;
  const where = rules.kind === 'private' ? "the SDK's private cache" : 'the shared cache of the access service';
  const lines = [
    `${request.method} ${request.target} -> ${response.status}, received ${formatHttpDate(receivedMs)}`,
    `mode ${rules.mode}, ${where}`,
    '',
    store === 'no'
      ? `stored        no: ${whyNotStored(explained)}`
      : `stored        for ${audiences[store]}: ${whyFor(explained, store)}`,
  ];
  if (policy !== undefined) {
    lines.push(
      `selected by   ${['the URL', ...explanation.vary].join(', ')}`,
      `asked with    ${validatorsOf(explanation)}`,
    );
  }
  for (const written of explanation.malformed.flatMap((name) => fieldLines(response.raw, name))) {
    // C6: a date that is none has passed; everything else that is malformed says nothing.
    lines.push(`malformed     ${written}${/^expires:/i.test(written) ? ' (counts as passed)' : ''}`);
  }
  if (policy === undefined) lines.push('', 'Each request goes to the origin.');
  else {
    const rows: { fromMs: number; toMs: number; cells: string[] }[] = [];
    for (const step of steps) {
      const cells = [
        whatHappens(step, request.facts),
        whatDecides(step, explained, policy),
        onError(step, explained, policy),
      ];
      const before = rows.at(-1);
      if (before?.cells.join('\n') === cells.join('\n')) before.toMs = step.toMs;
      else rows.push({ fromMs: step.fromMs, toMs: step.toMs, cells });
    }
    const table = rows.map((row) => [formatAges(row), ...row.cells]);
    lines.push('', ...formatTable([['AGE', 'A REQUEST IS', 'DECIDED BY', 'IF THE ORIGIN FAILS'], ...table]));
  }
  return lines.join('\n');
}

/** The same as data; an age without end is null. */
export function explanationData({ request, response, rules, receivedMs, explanation }: Explained): object {
  const finite = (ms: number): number | null => (Number.isFinite(ms) ? ms : null);
  return {
    request: { method: request.method, target: request.target },
    response: { status: response.status, receivedAt: new Date(receivedMs).toISOString() },
    mode: rules.mode,
    cache: rules.kind,
    store: explanation.store,
    refused: explanation.refused ?? null,
    steps: explanation.steps.map((step) => ({ ...step, toMs: finite(step.toMs) })),
    policy: explanation.policy ?? null,
    vary: explanation.vary,
    etag: explanation.etag ?? null,
    lastModified: explanation.lastModified ?? null,
    malformed: explanation.malformed,
  };
}

const audiences: Record<Exclude<Explanation['store'], 'no'>, string> = {
  shared: 'everybody',
  anonymous: 'requests without session, cookie and Authorization',
  own: 'its own terminal and account alone',
};

function whyFor({ request, response, rules }: Explained, store: Exclude<Explanation['store'], 'no'>): string {
  if (rules.kind === 'private') return 'a private cache has one user';
  if (store === 'anonymous') return 'this request shows no user';
  if (store === 'own') return 'the request has a session, and nothing opens the answer to others';
  const opened = directive(response.raw, 'public') ?? directive(response.raw, 's-maxage');
  if (opened !== undefined) return opened;
  if (rules.routeShared) return 'the route says cacheScope: shared';
  return directive(response.raw, 'must-revalidate') ?? directive(request.raw, 'authorization') ?? store;
}

function whyNotStored({ request, response, rules, explanation }: Explained): string {
  const opens = 'and the answer says neither public nor s-maxage';
  switch (explanation.refused) {
    case 'method':
      return request.facts.hasBody ? 'the request has a body' : `the method is ${request.method}, not GET`;
    case 'request-no-store':
      return ofRequest(directive(request.raw, 'no-store'));
    case 'status':
      return rules.mode === 'qal'
        ? `the status is ${response.status}; mode qal stores 200 only`
        : `status ${response.status} cannot be stored`;
    case 'no-store':
    case 'no-cache':
    case 'must-revalidate':
    case 'private':
      return directive(response.raw, explanation.refused) ?? explanation.refused;
    case 'pragma':
      return fieldLines(response.raw, 'Pragma').join('; ');
    case 'authorization':
      return `the request has Authorization, ${opens}`;
    case 'cookie':
      return `the request has Cookie, ${opens}`;
    case 'set-cookie':
      return `the answer has Set-Cookie, ${opens}`;
    case 'vary':
      return `${fieldLines(response.raw, 'Vary').join('; ')}: no other request can match`;
    case 'no-lifetime':
      return 'nothing in the answer gives a lifetime or something to ask with';
    default:
      return String(explanation.refused);
  }
}

function validatorsOf({ etag, lastModified }: Explanation): string {
  const validators = [
    ...(etag === undefined ? [] : [`If-None-Match: ${etag}`]),
    ...(lastModified === undefined ? [] : [`If-Modified-Since: ${lastModified}`]),
  ];
  return validators.length === 0 ? 'nothing: the origin sends the whole again' : validators.join(', ');
}

function whatHappens({ kind }: Step, { directives }: RequestFacts): string {
  switch (kind) {
    case 'fresh':
      return 'answered from the store';
    case 'stale-while-revalidate':
      return 'answered from the store, refreshed behind that';
    case 'bypass':
      return 'forwarded past the cache';
    default:
      return directives.onlyIfCached ? 'refused with 504' : 'answered after asking the origin';
  }
}

/** The directive, as it was written where it was written. */
function whatDecides({ kind, rule }: Step, { request, response }: Explained, policy: Policy): string {
  if (request.facts.directives.onlyIfCached && kind === 'revalidate') {
    return ofRequest(directive(request.raw, 'only-if-cached'));
  }
  switch (rule) {
    case 's-maxage':
    case 'max-age':
    case 'expires':
    case 'heuristic':
    case 'no-lifetime':
      return freshnessOf(response.raw, rule);
    case 'stale-while-revalidate':
    case 'max-stale-age':
    case 'stale-expires':
      return stalenessOf(response.raw, { ...policy, staleRule: rule });
    case 'no-cache':
      return directive(response.raw, 'no-cache') ?? rule;
    case 'expired':
      return `after ${stalenessOf(response.raw, policy)}`;
    case 'request-no-cache':
      return ofRequest(directive(request.raw, 'no-cache') ?? fieldLines(request.raw, 'Pragma')[0]);
    case 'request-max-age':
    case 'request-min-fresh':
    case 'request-max-stale':
      return ofRequest(secondsDirective(request.raw, rule.slice('request-'.length)));
    case 'origin-precondition':
      return ofRequest([...fieldLines(request.raw, 'If-Match'), ...fieldLines(request.raw, 'If-Unmodified-Since')][0]);
    default:
      return rule;
  }
}

/** Where the stored answer stands in, what allows it up to the end of the step. */
function onError({ kind, onError, toMs }: Step, { request, response }: Explained, policy: Policy): string {
  if (kind === 'fresh') return 'it is not asked';
  if (kind === 'stale-while-revalidate') return 'nothing changes';
  if (kind === 'bypass') return 'the client gets the error';
  if (request.facts.directives.onlyIfCached) return 'it is not asked';
  if (!onError) return 'the client gets the error';
  const by =
    toMs <= policy.freshMs
      ? freshnessOf(response.raw, policy.freshRule)
      : toMs <= policy.staleMs
        ? stalenessOf(response.raw, policy)
        : toMs <= policy.staleIfErrorMs
          ? directive(response.raw, 'stale-if-error')
          : ofRequest(secondsDirective(request.raw, 'stale-if-error'));
  return `the stored answer, by ${by}`;
}

function freshnessOf(raw: RawFields, rule: Policy['freshRule']): string {
  switch (rule) {
    case 'expires':
      return fieldLines(raw, 'Expires')[0] ?? rule;
    case 'heuristic':
      return `a tenth of the time since ${fieldLines(raw, 'Last-Modified')[0]}`;
    case 'no-lifetime':
      return 'no lifetime given';
    default:
      return directive(raw, rule) ?? rule;
  }
}

/** What holds longest: a bound for stale answers, or the lifetime where there is none. Several fields may name one. */
function stalenessOf(raw: RawFields, policy: Policy): string {
  const { staleRule, staleMs, freshRule } = policy;
  switch (staleRule) {
    case undefined:
      return freshnessOf(raw, freshRule);
    case 'max-stale-age': {
      const written = directives(raw, 'QAL-Cache-Control', staleRule);
      return written.find((each) => Number(/=\s*"?([0-9]+)"?$/.exec(each)?.[1]) * 1_000 === staleMs) ?? staleRule;
    }
    case 'stale-expires': {
      const latest = fieldLines(raw, 'QAL-Stale-Expires').map((line) => ({ line, ms: dateOf(line) }));
      return latest.sort((a, b) => b.ms - a.ms)[0]?.line ?? staleRule;
    }
    default:
      return directive(raw, staleRule) ?? staleRule;
  }
}

function dateOf(line: string): number {
  const value = line.slice(line.indexOf(':') + 1).trim();
  return parseHttpDate(value.replace(/^"(.*)"$/, '$1'), Date.now()) ?? Number.NEGATIVE_INFINITY;
}

/** `Cache-Control: max-age=15`, as written, of the first member of that name. */
function directive(raw: RawFields, name: string): string | undefined {
  return directives(raw, 'Cache-Control', name)[0];
}

/** The same for those of a request that have a number: one whose number is none does not count there. */
function secondsDirective(raw: RawFields, name: string): string | undefined {
  const counts = /=\s*"?[0-9]+"?$/;
  return directives(raw, 'Cache-Control', name).find(
    (written) => counts.test(written) || (name === 'max-stale' && !written.includes('=')),
  );
}

function directives(raw: RawFields, fieldName: string, name: string): string[] {
  const members = valuesOf(raw, fieldName.toLowerCase()).flatMap(splitList);
  const matching = members.filter((member) => member.split('=', 1)[0]?.trim().toLowerCase() === name);
  return matching.map((member) => `${writtenName(raw, fieldName)}: ${member}`);
}

/** The lines of a field, as written. */
function fieldLines(raw: RawFields, name: string): string[] {
  return valuesOf(raw, name.toLowerCase()).map((value) => `${writtenName(raw, name)}: ${value}`);
}

function writtenName(raw: RawFields, name: string): string {
  return raw.find((each, index) => index % 2 === 0 && each.toLowerCase() === name.toLowerCase()) ?? name;
}

function ofRequest(written: string | undefined): string {
  return `${written ?? 'a field'} of the request`;
}

function formatAges({ fromMs, toMs }: { fromMs: number; toMs: number }): string {
  const from = formatSeconds(fromMs);
  return Number.isFinite(toMs) ? `${from} to ${formatSeconds(toMs)} s` : `${from} s on`;
}

/** Bounds that belong to what lies below them begin the next step a millisecond later. */
function formatSeconds(ms: number): string {
  return String((ms % 1_000 === 1 ? ms - 1 : Math.round(ms)) / 1_000);
}

function formatTable(rows: string[][]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
