/**
 * Where a page ended, in an order of several sources by time, the newest first; at the same time by rank of the source, then by id, the
 * largest first. `rank` beyond all sources: everything of that time has been seen.
 */
export interface Cursor {
  readonly atMs: number;
  readonly rank: number;
  /** Of one number, or two where one does not say it. */
  readonly ids: readonly number[];
}

/** Everything of that time, whatever the source, comes before it. */
export const lastRank = 9;

export function formatCursor({ atMs, rank, ids }: Cursor): string {
  return [atMs, rank, ...ids].join('.');
}

export function parseCursor(text: string): Cursor | undefined {
  if (!/^[0-9]{1,16}\.[0-9](\.[0-9]{1,16}){0,2}$/.test(text)) return undefined;
  const [atMs = 0, rank = 0, ...ids] = text.split('.').map(Number);
  return [atMs, ...ids].every(Number.isSafeInteger) ? { atMs, rank, ids } : undefined;
}

/** Negative: `a` comes before `b`. */
export function compareCursors(a: Cursor, b: Cursor): number {
  if (a.atMs !== b.atMs) return b.atMs - a.atMs;
  if (a.rank !== b.rank) return a.rank - b.rank;
  const at = a.ids.findIndex((id, index) => id !== b.ids[index]);
  return at < 0 ? 0 : (b.ids[at] ?? 0) - (a.ids[at] ?? 0);
}

/**
 * What of a source of that rank comes after the cursor: what is before `atMs`, and of that time itself `all`, or what has smaller ids
 * than `ids`, or nothing (`ids` undefined).
 */
export function boundOf(
  cursor: Cursor | undefined,
  rank: number,
  untilMs: number,
): { atMs: number; all: boolean; ids: readonly number[] } {
  if (cursor === undefined || cursor.atMs > untilMs) return { atMs: untilMs, all: true, ids: [] };
  if (rank !== cursor.rank) return { atMs: cursor.atMs, all: rank > cursor.rank, ids: [] };
  return { atMs: cursor.atMs, all: false, ids: cursor.ids };
}
