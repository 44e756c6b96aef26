const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** The preferred form, RFC 850's, and that of asctime(), in this order of groups: day, month, year, time. */
const fixdate = /^[a-z]{3}, ([0-9]{2}) ([a-z]{3}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) gmt$/;
const rfc850 = /^[a-z]{6,9}, ([0-9]{2})-([a-z]{3})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) gmt$/;
const asctime = /^[a-z]{3} ([a-z]{3}) ([ 0-9][0-9]) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})$/;

/**
 * Reads an HTTP-date in each of its three forms (RFC 9110 §5.6.7), names in any case as caches should (RFC 9111 §4.2).
 *
 * @param nowMs which century a year of two digits is in
 * @returns milliseconds since the epoch, or undefined when the value is no such date
 */
export function parseHttpDate(value: string, nowMs: number): number | undefined {
  const text = value.toLowerCase();
  const fixed = fixdate.exec(text);
  if (fixed !== null) return toMs(fixed[3], fixed[2], fixed[1], fixed[4], fixed[5], fixed[6]);
  const ansi = asctime.exec(text);
  if (ansi !== null) return toMs(ansi[6], ansi[1], ansi[2], ansi[3], ansi[4], ansi[5]);
  const old = rfc850.exec(text);
  if (old === null) return undefined;
  const century = Math.floor(new Date(nowMs).getUTCFullYear() / 100) * 100;
  const year = century + Number(old[3]);
  // More than 50 years ahead means the most recent year with these digits.
  const [, , , , hour, minute, second] = old;
  const ahead = toMs(String(year), old[2], old[1], hour, minute, second);
  if (ahead === undefined || ahead <= nowMs + 50 * 365.25 * 86_400_000) return ahead;
  return toMs(String(year - 100), old[2], old[1], hour, minute, second);
}

type Group = string | undefined;

function toMs(year: Group, month: Group, day: Group, hour: Group, minute: Group, second: Group): number | undefined {
  const monthIndex = months.indexOf(month ?? '');
  const [y, d, h, min, s] = [Number(year), Number(day), Number(hour), Number(minute), Number(second)];
  if (monthIndex < 0 || h > 23 || min > 59 || s > 60) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(y, monthIndex, d);
  // 30 February would silently become March.
  if (date.getUTCDate() !== d) return undefined;
  return date.setUTCHours(h, min, Math.min(s, 59));
}

/** The preferred form. */
export function formatHttpDate(ms: number): string {
  return new Date(ms).toUTCString();
}
