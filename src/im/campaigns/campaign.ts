import type { AccountId, SdkAppId } from '../../wire/index.ts';
import type { Terms } from '../audience/terms.ts';
import type { AccountNo } from '../model.ts';

export const campaignStates = ['waiting', 'running', 'paused', 'done', 'cancelled'] as const;
export type CampaignState = (typeof campaignStates)[number];

/** A campaign that goes on, as its row has it: see migration 0008. */
export interface OpenCampaign {
  readonly id: number;
  readonly sdkAppId: SdkAppId;
  readonly state: 'waiting' | 'running';
  readonly sender: { readonly no: AccountNo; readonly identifier: AccountId; readonly isDeleted: boolean };
  readonly random: number;
  readonly msgSeq: number;
  readonly terms: Terms;
  /** JSON text of MsgBody, and of OfflinePushInfo. */
  readonly body: string;
  readonly push: string | undefined;
  readonly lifetimeSec: number;
  /** The last account that may be a receiver; 0: not begun. */
  readonly through: number;
  readonly cursor: number;
}

interface OpenRow {
  id: number;
  sdk_app_id: SdkAppId;
  state: 'waiting' | 'running';
  sender_id: AccountNo;
  identifier: AccountId;
  deleted_ms: number | null;
  random: number;
  msg_seq: number;
  terms: string;
  body: string;
  push: string | null;
  lifetime_sec: number;
  through_id: number | null;
  cursor_id: number;
}

/** Campaigns of an app that go on, but for those that rest, the oldest first: as many as have turns one after another. */
export const openCampaigns = `
  select k.id, k.sdk_app_id, k.state, k.sender_id, s.identifier, s.deleted_ms, k.random, k.msg_seq, k.terms, k.body, k.push,
    k.lifetime_sec, k.through_id, k.cursor_id
  from campaign k join account s on s.id = k.sender_id
  where k.sdk_app_id = $1 and k.state in ('waiting', 'running') and k.id <> all ($2::bigint[])
  order by k.id limit 20`;

export function toOpenCampaign(row: OpenRow): OpenCampaign {
  return {
    id: row.id,
    sdkAppId: row.sdk_app_id,
    state: row.state,
    sender: { no: row.sender_id, identifier: row.identifier, isDeleted: row.deleted_ms !== null },
    random: row.random,
    msgSeq: row.msg_seq,
    terms: JSON.parse(row.terms) as Terms,
    body: row.body,
    push: row.push ?? undefined,
    lifetimeSec: row.lifetime_sec,
    through: row.through_id ?? 0,
    cursor: row.cursor_id,
  };
}

export type { OpenRow };
