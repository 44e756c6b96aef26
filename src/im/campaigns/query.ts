import type { Result } from '../../store/index.ts';
import type { CampaignQuery } from './admin.ts';
import { campaignStates } from './campaign.ts';

export const campaignQueryFields = ['state', 'after', 'limit'] as const;
const maxLimit = 100;

/** Reads which campaigns a list is to have, from a query string or options of the command line. Pure. */
export function parseCampaignQuery(query: Readonly<Record<string, unknown>>): Result<CampaignQuery> {
  const { state, after, limit = '50' } = query;
  const unknown = Object.keys(query).find((name) => !campaignQueryFields.some((field) => field === name));
  if (unknown !== undefined) return wrong(unknown.slice(0, 40), 'is no parameter', campaignQueryFields.join(', '));
  const known = campaignStates.find((one) => one === state);
  if (state !== undefined && known === undefined) return wrong('state', 'is no state', campaignStates.join(', '));
  const before = after === undefined ? undefined : wholeNumber(after);
  if (after !== undefined && before === undefined) return wrong('after', 'is no place', '`next` of the page before');
  const count = wholeNumber(limit);
  if (count === undefined || count > maxLimit) return wrong('limit', 'is out of range', `1 … ${maxLimit}`);
  return { ok: true, value: { state: known, before, limit: count } };
}

function wholeNumber(value: unknown): number | undefined {
  return typeof value === 'string' && /^[1-9][0-9]{0,14}$/.test(value) ? Number(value) : undefined;
}

function wrong(field: string, reason: string, allowed: string): Result<never> {
  return { ok: false, code: 'INVALID_FIELD', field, reason, allowed };
}
