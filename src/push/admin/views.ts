import { unheardMs } from '../decide.ts';
import type { Pause } from '../pauses.ts';
import { quietUntilMs } from '../queue/quiet-time.ts';
import { type Hold, whyOf } from './words.ts';

/** Pushes, devices and pauses as operators see them. Never a text or a whole token. */

export interface PushView {
  readonly id: number;
  readonly kind: 'message' | 'badge';
  readonly account: string | null;
  readonly platform: string | null;
  readonly channel: string | null;
  readonly from: string | null;
  readonly group: string | null;
  readonly key: string | null;
  readonly seq: number | null;
  readonly campaign: number | null;
  readonly state: string;
  readonly reason: string | null;
  readonly why: string;
  readonly attempts: number;
  readonly status: number | null;
  readonly tookMs: number | null;
  readonly providerId: string | null;
  readonly at: string;
  /** Null: it is due, or has ended. */
  readonly dueAt: string | null;
  readonly deadlineAt: string;
  readonly endedAt: string | null;
  /** When the app said that it was opened by it. */
  readonly openedAt: string | null;
}

export interface DeviceView {
  readonly platform: string;
  readonly channel: string;
  /** Its beginning and end. */
  readonly token: string;
  readonly environment: string;
  readonly language: string | null;
  readonly badge: number;
  readonly registeredAt: string;
  readonly seenAt: string;
  /** Its service wants no more until then. */
  readonly notBefore: string | null;
  /** `background`, `foreground`, `away` without a link, `logged-out`, `kicked`, `other-login`. */
  readonly terminal: string;
  readonly lastThereAt: string | null;
}

export interface PauseView {
  readonly channel: string | null;
  readonly reason: string;
  readonly actor: string;
  readonly since: string;
}

export interface ItemRow {
  id: number;
  kind: 1 | 2;
  channel: string;
  platform: string | null;
  campaign_id: number | null;
  due_ms: number;
  deadline_ms: number;
  attempts: number;
  created_ms: number;
  done_ms: number | null;
  outcome: string | null;
  reason: string | null;
  status: number | null;
  took_ms: number | null;
  provider_id: string | null;
  opened_ms: number | null;
  seq: number | null;
  account: string | null;
  sender: string | null;
  group_id: string | null;
  message_key: string | null;
  stored_ms: number | null;
  is_paused: boolean;
  campaign_state: string | null;
  /** Its service wants no more for the device until then. */
  not_before_ms: number | null;
}

/** Of an account without devices: one of nulls. */
export interface DeviceRow {
  platform: string | null;
  channel: string;
  token: string;
  environment: string;
  language: string | null;
  badge: number;
  registered_ms: number;
  seen_ms: number;
  not_before_ms: number;
  is_of_login: boolean | null;
  has_login: boolean;
  was_kicked: boolean;
  is_linked: boolean;
  is_background: boolean | null;
  last_there_ms: number | null;
}

export function time(ms: number): string {
  return new Date(ms).toISOString();
}

export function viewPause({ channel, reason, actor, sinceMs }: Pause): PauseView {
  return { channel: channel ?? null, reason, actor, since: time(sinceMs) };
}

export function viewItem(row: ItemRow, nowMs: number): PushView {
  const { outcome, reason, attempts, due_ms: dueMs } = row;
  return {
    id: row.id,
    kind: row.kind === 2 ? 'badge' : 'message',
    account: row.account,
    platform: row.platform,
    channel: row.channel === '' ? null : row.channel,
    from: row.sender,
    group: row.group_id,
    key: row.message_key,
    seq: row.seq,
    campaign: row.campaign_id,
    state: outcome ?? 'waiting',
    reason,
    why: whyOf({ outcome, reason, attempts, isOpened: row.opened_ms !== null, hold: holdOf(row, nowMs) }),
    attempts,
    status: row.status,
    tookMs: row.took_ms,
    providerId: row.provider_id,
    at: time(row.created_ms),
    dueAt: outcome === null && dueMs > nowMs ? time(dueMs) : null,
    deadlineAt: time(row.deadline_ms),
    endedAt: row.done_ms === null ? null : time(row.done_ms),
    openedAt: row.opened_ms === null ? null : time(row.opened_ms),
  };
}

/** What keeps a push that waits from being sent. */
function holdOf(row: ItemRow, nowMs: number): Hold | undefined {
  if (row.is_paused) return 'app';
  if (row.campaign_state === 'paused') return 'campaign';
  if (row.due_ms <= nowMs)
    return row.campaign_id !== null && quietUntilMs(row, nowMs) !== undefined ? 'quiet' : undefined;
  if ((row.not_before_ms ?? 0) > nowMs) return 'device';
  return row.stored_ms !== null && row.due_ms === row.stored_ms + unheardMs ? 'foreground' : undefined;
}

/** Undefined: the account has none. */
export function viewDevice(row: DeviceRow, nowMs: number): DeviceView | undefined {
  if (row.platform === null) return undefined;
  return {
    platform: row.platform,
    channel: row.channel,
    token: shortened(row.token),
    environment: row.environment,
    language: row.language,
    badge: row.badge,
    registeredAt: time(row.registered_ms),
    seenAt: time(row.seen_ms),
    notBefore: row.not_before_ms > nowMs ? time(row.not_before_ms) : null,
    terminal: stateOf(row),
    lastThereAt: row.last_there_ms === null ? null : time(row.last_there_ms),
  };
}

/** Its beginning and end: of a short one less, so that most of it stays unknown. */
function shortened(token: string): string {
  const shown = Math.min(6, Math.floor(token.length / 8));
  return `${token.slice(0, shown)}…${token.slice(token.length - Math.min(4, shown))}`;
}

function stateOf(row: DeviceRow): string {
  if (row.was_kicked) return 'kicked';
  if (!row.has_login) return 'logged-out';
  if (row.is_of_login !== true) return 'other-login';
  if (!row.is_linked) return 'away';
  return row.is_background === true ? 'background' : 'foreground';
}
