import type { DeviceFacts, ReadingFacts } from '../decide.ts';

/** What the database says of a device `d` and its account, to be asked for with {@link deviceColumns} and {@link deviceJoins}. */
export interface DeviceRow {
  device_id: number;
  account_id: number;
  platform: string;
  channel: string;
  token: string;
  environment: 'production' | 'sandbox';
  language: string | null;
  badge: number;
  generation: number;
  registered_ms: number;
  not_before_ms: number;
  login: number | null;
  is_background: boolean | null;
  has_login: boolean | null;
  was_kicked: boolean | null;
  last_there_ms: number | null;
  is_linked: boolean;
  is_on: boolean;
  c2c_sound: string | null;
  group_sound: string | null;
  video_sound: string | null;
  has_desktop: boolean;
}

export const deviceColumns = `
  d.id as device_id, d.account_id, d.platform, d.channel, d.token, d.environment, d.language, d.badge, d.generation,
  d.registered_ms, d.not_before_ms,
  t.generation as login, t.is_background, t.link_id is not null as has_login, t.kicked_ms is not null as was_kicked,
  t.last_there_ms, n.id is not null as is_linked,
  coalesce(s.is_on, true) and coalesce((a.profile->>'messageSettings')::bigint & 1, 0) = 0 as is_on,
  s.c2c_sound, s.group_sound, s.video_sound,
  exists (
    select 1 from terminal other join node alive on alive.id = other.node_id and alive.lease_until > now()
    where other.account_id = d.account_id and other.platform in ('Windows', 'Mac', 'Linux', 'Web') and not other.is_background
  ) as has_desktop`;

export const deviceJoins = `
  join account a on a.id = d.account_id
  left join terminal t on t.account_id = d.account_id and t.platform = d.platform
  left join node n on n.id = t.node_id and n.lease_until > now()
  left join push_settings s on s.account_id = d.account_id`;

export function deviceFactsOf(row: DeviceRow): DeviceFacts {
  return {
    isOfOtherLogin: row.login !== row.generation,
    hasLogin: row.has_login === true,
    wasKicked: row.was_kicked === true,
    isLinked: row.is_linked,
    isBackground: row.is_background === true,
    lastThereMs: row.last_there_ms ?? 0,
    isOn: row.is_on,
    hasDesktop: row.has_desktop,
  };
}

/** How far the account is, to be asked for with {@link readingJoins}; the conversation is a group's (`kind` 2) or not. */
export interface ReadingRow {
  is_member: boolean;
  msg_flag: string | null;
  read_seq: number | null;
  delivered_seq: number | null;
}

export const readingColumns =
  'mem.account_id is not null as is_member, mem.msg_flag, mem.read_seq, dl.seq as delivered_seq';

/** `account` and `conversation`: SQL expressions. */
export function readingJoins(account: string, conversation: string): string {
  return `
  left join member mem on mem.account_id = ${account} and mem.conversation_id = ${conversation} and mem.to_seq is null
  left join delivered dl on dl.account_id = ${account} and dl.conversation_id = ${conversation}`;
}

export function readingFactsOf(row: ReadingRow, isGroup: boolean): ReadingFacts {
  const member = !row.is_member ? 'left' : row.msg_flag === 'AcceptAndNotify' ? 'notify' : 'quiet';
  return {
    readSeq: row.read_seq ?? 0,
    deliveredSeq: row.delivered_seq ?? 0,
    member: isGroup ? member : undefined,
  };
}
