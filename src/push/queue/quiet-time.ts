const quarterMs = 15 * 60_000;
const aroundMs = 2 * 60_000;

/**
 * Google asks that what no user waits for is not sent within two minutes of full, half and quarter hours, when everybody sends (PUSH §2.3):
 * until when that holds, for pushes of campaigns; undefined: not now, or not of that service. Pure.
 */
export function quietUntilMs({ channel }: { channel: string }, nowMs: number): number | undefined {
  if (channel !== 'fcm') return undefined;
  const passedMs = (nowMs + aroundMs) % quarterMs;
  return passedMs < 2 * aroundMs ? nowMs - passedMs + 2 * aroundMs : undefined;
}
