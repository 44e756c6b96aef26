import {
  type ImRefusal,
  type MessageElement,
  type OfflinePushInfo,
  parseCustomData,
  parseMessageBody,
  parseOfflinePushInfo,
} from '../../wire/index.ts';
import type { Draft } from '../services.ts';

/** Longest wait for an offline receiver; more counts as this (API reference §3.1). */
export const maxLifetimeSec = 604_800;

/** Fields of a message that sendmsg, batchsendmsg and importmsg share, of the right type where a schema looked at them. */
interface MessageFields {
  readonly MsgBody: unknown;
  readonly OfflinePushInfo?: unknown;
  readonly CloudCustomData?: unknown;
}

interface Content {
  readonly body: readonly MessageElement[];
  readonly push?: OfflinePushInfo;
  readonly custom?: string;
}

/** Checks what the parsers of `wire` check. */
export function readContent(fields: MessageFields, maxBytes: number): { ok: true; value: Content } | ImRefusal {
  const body = parseMessageBody(fields.MsgBody, { maxBytes });
  if (!body.ok) return body;
  const push = fields.OfflinePushInfo === undefined ? undefined : parseOfflinePushInfo(fields.OfflinePushInfo);
  if (push?.ok === false) return push;
  const custom = fields.CloudCustomData === undefined ? undefined : parseCustomData(fields.CloudCustomData);
  if (custom?.ok === false) return custom;
  return {
    ok: true,
    value: {
      body: body.value,
      ...(push === undefined ? {} : { push: push.value }),
      ...(custom === undefined ? {} : { custom: custom.value }),
    },
  };
}

/** Which callbacks are not made for a message, as the core has it. */
export function withoutCallbacks(
  forbidden: readonly ('ForbidBeforeSendMsgCallback' | 'ForbidAfterSendMsgCallback')[] = [],
): { withoutBefore?: 'forbidden'; withoutAfter?: 'forbidden' } {
  return {
    ...(forbidden.includes('ForbidBeforeSendMsgCallback') ? { withoutBefore: 'forbidden' } : {}),
    ...(forbidden.includes('ForbidAfterSendMsgCallback') ? { withoutAfter: 'forbidden' } : {}),
  };
}

/** The core calls the body `body`. */
export function asField(refusal: ImRefusal): ImRefusal {
  return refusal.field === 'body' ? { ...refusal, field: 'MsgBody' } : refusal;
}

interface DeliveryFields {
  readonly SyncOtherMachine?: 1 | 2;
  readonly MsgLifeTime?: number;
  readonly SendMsgControl?: readonly string[];
}

/** Whether it is unread until it is read. */
export function doesCount({ SendMsgControl = [] }: Pick<DeliveryFields, 'SendMsgControl'>): boolean {
  return !SendMsgControl.includes('NoUnread');
}

/** Who sees it, for how long it waits, and whether it counts. */
export function readDelivery(
  fields: DeliveryFields,
): Pick<Draft, 'visibility' | 'tellSender' | 'lifetimeSec' | 'counts'> {
  return {
    // M17
    visibility: fields.SyncOtherMachine === 2 ? 'receiver' : 'both',
    tellSender: fields.SyncOtherMachine === 1,
    lifetimeSec: Math.min(fields.MsgLifeTime ?? maxLifetimeSec, maxLifetimeSec),
    counts: doesCount(fields),
  };
}
