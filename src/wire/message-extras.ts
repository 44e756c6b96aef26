import { map, oneOf, text } from './field-rules.ts';
import type { ImResult } from './im-errors.ts';
import { createJsonCheck, type JsonObject, textFault } from './json-value.ts';
import { fitsUtf8 } from './utf8.ts';

/** What may go with MsgBody: OfflinePushInfo and CloudCustomData. */

/** How a message is shown by push (API reference §9.4), and whatever else the sender put there. */
export interface OfflinePushInfo extends JsonObject {
  /** 1: this message is not pushed. */
  readonly PushFlag?: 0 | 1;
  readonly Title?: string;
  readonly Desc?: string;
  readonly Ext?: string;
  readonly AndroidInfo?: JsonObject & { readonly Sound?: string };
  readonly ApnsInfo?: JsonObject & {
    readonly Sound?: string;
    /** 1: this message does not count in the badge. */
    readonly BadgeMode?: 0 | 1;
    readonly Title?: string;
    readonly SubTitle?: string;
    readonly Image?: string;
    readonly MutableContent?: 0 | 1;
  };
}

/** A push is at most 4 KB in all; this much of it is the sender's. */
const maxPushBytes = 3_072;
/** Ours, as the reference names none: no more than a message's own default limit. */
const maxCustomBytes = 8_000;

const pushFault = map({
  optional: {
    PushFlag: oneOf(0, 1),
    Title: text,
    Desc: text,
    Ext: text,
    AndroidInfo: map({ optional: { Sound: text } }),
    ApnsInfo: map({
      optional: {
        Sound: text,
        BadgeMode: oneOf(0, 1),
        Title: text,
        SubTitle: text,
        Image: text,
        MutableContent: oneOf(0, 1),
      },
    }),
  },
});

/**
 * Checks OfflinePushInfo: at most 3,072 bytes of JSON text; fields that we do not know stay as they are. Never throws.
 * Gives back the value itself, as `parseMessageBody` does.
 */
export function parseOfflinePushInfo(value: unknown, field = 'OfflinePushInfo'): ImResult<OfflinePushInfo> {
  const tooLong = { field, reason: 'is too long', allowed: `${maxPushBytes} bytes of JSON text` };
  try {
    const fault = createJsonCheck(maxPushBytes)(value, field) ?? pushFault(value, field);
    if (fault === undefined && fitsUtf8(JSON.stringify(value), maxPushBytes)) {
      return { ok: true, value: value as OfflinePushInfo };
    }
    return {
      ok: false,
      error: 'OFFLINE_PUSH_INFO',
      ...(fault === undefined || fault === 'too-long' ? tooLong : fault),
    };
  } catch {
    return { ok: false, error: 'OFFLINE_PUSH_INFO', field, reason: 'must be JSON' };
  }
}

/** Checks CloudCustomData: a text of at most 8,000 bytes that goes with the message unread. */
export function parseCustomData(value: unknown, field = 'CloudCustomData'): ImResult<string> {
  if (typeof value !== 'string') return { ok: false, error: 'INVALID_FIELD', field, reason: 'must be a string' };
  if (!fitsUtf8(value, maxCustomBytes)) {
    const allowed = `${maxCustomBytes} bytes of UTF-8`;
    return { ok: false, error: 'MESSAGE_TOO_LONG', field, reason: 'is too long', allowed };
  }
  const fault = textFault(value, field);
  return fault === undefined ? { ok: true, value } : { ok: false, error: 'INVALID_FIELD', ...fault };
}
