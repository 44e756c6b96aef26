/** Where a page of recent contacts begins; both 0: at the newest. */
export interface ContactsCursor {
  /** Unix seconds: of the last contact of the page before. */
  readonly timeStamp: number;
  /** Number of that contact's conversation; 0: before all of that time. */
  readonly startIndex: number;
}

interface Contact {
  readonly time: number;
  readonly conversationId: number;
}

export interface ContactsPage<T> {
  readonly items: readonly T[];
  readonly next: ContactsCursor;
  readonly complete: boolean;
}

/**
 * One page of contacts, by time and within a second by conversation, newest first. The cursor names the last contact of the page
 * before and not its place: so contacts that come to the front meanwhile neither shift nor hide others. Pure.
 */
export function contactsPage<T extends Contact>(
  contacts: readonly T[],
  { timeStamp, startIndex }: ContactsCursor,
  { limit, nowSec }: { limit: number; nowSec: number },
): ContactsPage<T> {
  const isAfter = ({ time, conversationId }: Contact) =>
    timeStamp === 0 || time < timeStamp || (time === timeStamp && (startIndex === 0 || conversationId < startIndex));
  const rest = contacts
    .filter(isAfter)
    .sort((one, other) => other.time - one.time || other.conversationId - one.conversationId);
  const items = rest.slice(0, limit);
  const last = items.at(-1);
  return last === undefined || items.length === rest.length
    ? { items, next: { timeStamp: nowSec, startIndex: 0 }, complete: true }
    : { items, next: { timeStamp: last.time, startIndex: last.conversationId }, complete: false };
}
