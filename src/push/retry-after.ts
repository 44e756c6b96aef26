/** What a service says about later is believed so far. */
export const longestAskedMs = 3_600_000;

/** What a `Retry-After` asks for: seconds, or a date as HTTP writes it; an hour at most. Undefined: it says neither. Pure. */
export function retryAfterMs(field: string | undefined, nowMs: number): number | undefined {
  const text = field?.trim() ?? '';
  if (/^[0-9]{1,10}$/.test(text)) return Math.min(Number(text) * 1_000, longestAskedMs);
  // No other form: Date.parse would read `-5` and `1.5` as dates.
  if (!/^[A-Z][a-z]{2,8}[, ]/.test(text)) return undefined;
  // The oldest of the three forms leaves out that it is GMT.
  const atMs = Date.parse(text.endsWith(' GMT') ? text : `${text} GMT`);
  return Number.isNaN(atMs) ? undefined : Math.min(Math.max(0, atMs - nowMs), longestAskedMs);
}
