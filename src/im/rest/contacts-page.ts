/** Where a page of recent contacts begins, and where the next one does. */
export interface ContactsCursor {
  /** Unix seconds; 0: at the newest. */
  readonly timeStamp: number;
  /** Contacts of just that time that were given already. */
  readonly startIndex: number;
}

export interface ContactsPage<T> {
  readonly items: readonly T[];
  readonly next: ContactsCursor;
  readonly complete: boolean;
}

/**
 * One page of contacts, which are sorted by time, newest first. The cursor is the time of the page's last contact and how many
 * of that time were given: so contacts that come to the front meanwhile do not shift the rest (those of that one second may).
 * Pure.
 */
export function contactsPage<T extends { readonly time: number }>(
  contacts: readonly T[],
  { timeStamp, startIndex }: ContactsCursor,
  { limit, nowSec }: { limit: number; nowSec: number },
): ContactsPage<T> {
  const older = timeStamp === 0 ? contacts : contacts.filter(({ time }) => time <= timeStamp);
  const ofThatTime = timeStamp === 0 ? 0 : older.filter(({ time }) => time === timeStamp).length;
  const rest = older.slice(Math.min(startIndex, ofThatTime));
  const items = rest.slice(0, limit);
  const last = items.at(-1);
  if (last === undefined || items.length === rest.length) {
    return { items, next: { timeStamp: nowSec, startIndex: 0 }, complete: true };
  }
  const given = items.filter(({ time }) => time === last.time).length;
  const before = last.time === timeStamp ? Math.min(startIndex, ofThatTime) : 0;
  return { items, next: { timeStamp: last.time, startIndex: before + given }, complete: false };
}
