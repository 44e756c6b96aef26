/** How far an app's time is from UTC, in milliseconds: `+08:00` is 28,800,000. */
export function offsetMsOf({ timeZone }: { readonly timeZone: string }): number {
  const [, sign, hours, minutes] = /^([+-])(\d\d):(\d\d)$/.exec(timeZone) ?? [];
  const offsetMs = (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * 60_000;
  return sign === '-' ? -offsetMs : offsetMs;
}
