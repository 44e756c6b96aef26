import { InvalidArgumentError } from 'commander';
import { type AccountId, parseAccountId, type SdkAppId } from '../../wire/index.ts';

/** Readers of arguments and option values; commander shows what they throw. */

export function parseAppNumber(text: string): SdkAppId {
  const number = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > 4_294_967_295) {
    throw new InvalidArgumentError('An app is named by its number, a whole number from 1 to 4294967295.');
  }
  return number;
}

export function parseAccount(text: string): AccountId {
  const parsed = parseAccountId(text);
  if (!parsed.ok) throw new InvalidArgumentError(`The identifier ${parsed.reason}.`);
  return parsed.value;
}

const unitSec: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400 };
const maxSec = 50 * 365 * 86_400;

/** `90s`, `30m`, `12h`, `180d` → seconds. */
export function parseDurationSec(text: string): number {
  const match = /^([1-9][0-9]{0,9})([smhd])$/.exec(text);
  const seconds = Number(match?.[1]) * (unitSec[match?.[2] ?? ''] ?? 0);
  if (!(seconds <= maxSec)) {
    throw new InvalidArgumentError(
      'A duration is a number and a unit, such as 90s, 30m, 12h or 180d; 50 years at most.',
    );
  }
  return seconds;
}
