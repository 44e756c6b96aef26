/** On what a change acts, as the audit log says it. All of it is what somebody wrote: so cut, and perhaps wrong. */

const maxChars = 200;
/** What changes of callbacks and pushes say. A URL may carry a key, and is left out. */
const shownFields = [
  'source',
  'state',
  'command',
  'channel',
  'campaign',
  'account',
  'from',
  'to',
  'group',
  'urlHash',
  'since',
  'until',
  'all',
  'preview',
];

/** `1400000000/alice`: parts that are no text or number are left out. */
export function auditTarget(parts: readonly unknown[]): string {
  return parts
    .filter((part) => (typeof part === 'string' && part !== '') || typeof part === 'number')
    .join('/')
    .slice(0, maxChars);
}

/** A change of callbacks or pushes, and the fields that it was called with: `drop state=waiting ids=17,18`. */
export function changeText(change: string, fields: unknown): string {
  const values =
    typeof fields === 'object' && fields !== null ? new Map<string, unknown>(Object.entries(fields)) : new Map();
  const ids: unknown = values.get('ids');
  const said = shownFields.flatMap((name) => {
    const value: unknown = values.get(name);
    return ['string', 'number', 'boolean'].includes(typeof value) ? `${name}=${String(value).slice(0, 48)}` : [];
  });
  const named = Array.isArray(ids) ? `ids=${ids.slice(0, 5).map(String).join(',')}${ids.length > 5 ? ',…' : ''}` : [];
  return [change, ...said, named].flat().join(' ');
}
