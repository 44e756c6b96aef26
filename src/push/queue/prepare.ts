import type { PushSettings } from '../../store/index.ts';
import type { MessageElement, OfflinePushInfo } from '../../wire/index.ts';
import { type DeviceFacts, decide, unheardMs } from '../decide.ts';
import type { NoPush, PushMessage, PushText } from '../message.ts';
import { apnsBadge, apnsPayload } from '../payload/apns.ts';
import { fcmPayload } from '../payload/fcm.ts';
import type { Sendable } from '../provider.ts';
import { pushText } from '../text/push-text.ts';
import { deviceFactsOf, readingFactsOf } from './device-facts.ts';
import { type Item, type Mark, type MessageRow, messageKeyOf } from './items.ts';

/** Those of a campaign that is paused look again after so long: there may be a million of them. */
const pausedMs = 60_000;

/** A push that is to be sent, but for its badge. */
export interface Prepared {
  readonly item: Item;
  readonly counts: boolean;
  /** `badge`: what the device shows with it. */
  build(badge: number): { ok: true; sendable: Sendable } | { ok: false; reason: string };
}

/** What becomes of an item that is due, as things are now: sent, or what is written down instead. Pure. */
export function prepare(
  item: Item,
  messages: ReadonlyMap<string, MessageRow>,
  push: PushSettings,
  nowMs: number,
): { ok: true; prepared: Prepared } | { ok: false; mark: Mark } {
  const { id, day, device } = item;
  const end = (outcome: Mark['outcome'], reason: string | undefined) => ({
    ok: false as const,
    mark: { id, day, outcome, reason },
  });
  const wait = (dueMs: number) => ({
    ok: false as const,
    mark: { id, day, outcome: undefined, reason: item.reason, dueMs },
  });

  if (item.deadlineMs <= nowMs) return end('expired', item.reason);
  if (item.campaignState === 'cancelled') return end('dropped', 'cancelled');
  if (item.campaignState === 'paused') return wait(nowMs + pausedMs);
  if (item.kind === 2) return prepareBadge(item, push, nowMs);

  const message = messages.get(messageKeyOf(item));
  const reading = readingFactsOf(item, message?.kind === 2);
  const decision = decide(
    device === undefined ? undefined : deviceFactsOf(device),
    { isRecalled: message === undefined || message.recall_no !== 0, storedMs: message?.stored_ms ?? 0 },
    reading,
    { seq: item.seq, nowMs, ...push },
  );
  if (decision.kind === 'skip') return end('skipped', decision.reason);
  if (decision.kind === 'wait') return wait(decision.untilMs);
  if (device === undefined || message === undefined) return end('skipped', 'no-device');
  // It waited as its terminal was in the foreground, and has been taken there: whoever locks his phone now has seen it.
  if (item.dueMs === message.stored_ms + unheardMs && reading.deliveredSeq >= item.seq)
    return end('skipped', 'delivered');
  if (device.not_before_ms > nowMs) return wait(device.not_before_ms);

  const shown = messageOf(message);
  const channel = device.channel as 'apns' | 'fcm';
  const text: PushText | NoPush = pushText(
    shown,
    {
      language: device.language ?? undefined,
      c2cSound: device.c2c_sound ?? undefined,
      groupSound: device.group_sound ?? undefined,
      videoSound: device.video_sound ?? undefined,
    },
    push,
    channel,
  );
  if (typeof text === 'string') return end('skipped', text);
  return {
    ok: true,
    prepared: {
      item,
      counts: text.counts,
      build(badge) {
        const { dropExt, apns } = push;
        const of = { text, seq: item.seq, badge, collapseId: shown.collapseId, deadlineMs: item.deadlineMs, dropExt };
        const built =
          channel === 'apns'
            ? apnsPayload({ ...of, topic: apns?.topic ?? '' })
            : fcmPayload({ ...of, token: device.token, nowMs });
        if (!built.ok) return built;
        const { headers, body } = built;
        return { ok: true, sendable: { token: device.token, environment: device.environment, headers, body } };
      },
    },
  };
}

/** The badge alone: what it shows has been read elsewhere, or recalled. */
function prepareBadge(
  item: Item,
  push: PushSettings,
  nowMs: number,
): { ok: true; prepared: Prepared } | { ok: false; mark: Mark } {
  const { id, day, device, deadlineMs } = item;
  const skip = (reason: string) => ({ ok: false as const, mark: { id, day, outcome: 'skipped' as const, reason } });
  if (device === undefined) return skip('no-device');
  const facts: DeviceFacts = deviceFactsOf(device);
  const decision = decide(
    facts,
    { isRecalled: false, storedMs: nowMs - unheardMs },
    { readSeq: 0, deliveredSeq: 0, member: undefined },
    { seq: 1, nowMs, awayDays: push.awayDays, notWithDesktop: false },
  );
  if (decision.kind === 'skip') return skip(decision.reason);
  // Its app shows what it likes.
  if (facts.isLinked && !facts.isBackground) return skip('delivered');
  return {
    ok: true,
    prepared: {
      item,
      counts: false,
      build(badge) {
        const { headers, body } = apnsBadge({ badge, topic: push.apns?.topic ?? '', deadlineMs });
        return { ok: true, sendable: { token: device.token, environment: device.environment, headers, body } };
      },
    },
  };
}

function messageOf(row: MessageRow): PushMessage {
  const extra = row.extra === null ? {} : (JSON.parse(row.extra) as { nick?: string; card?: string });
  return {
    kind: row.kind === 2 ? 'group' : 'c2c',
    from: {
      account: row.sender,
      // Of a group message as it was then (G25).
      nick: (row.kind === 2 ? extra.nick : row.nick) ?? '',
      card: extra.card ?? '',
    },
    group: row.group_id === null ? undefined : { id: row.group_id, name: row.group_name ?? '' },
    body: JSON.parse(row.body) as MessageElement[],
    info: row.push === null ? undefined : (JSON.parse(row.push) as OfflinePushInfo),
    collapseId: `${row.conversation_id}-${row.seq}`,
  };
}
