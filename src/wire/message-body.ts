import {
  duration,
  type FieldRule,
  integer,
  list,
  type MapRules,
  map,
  number,
  oneOf,
  text,
  wholeNumber,
} from './field-rules.ts';
import type { ImRefusal, ImResult } from './im-errors.ts';
import { createJsonCheck, isPlainMap, type JsonObject } from './json-value.ts';
import { fitsUtf8 } from './utf8.ts';

/** MsgContent: the fields that we know, and whatever else the sender put there. */
type Content<Known> = Readonly<Known> & JsonObject;

interface ImageInfo {
  /** 1 original, 2 large, 3 thumb. */
  readonly Type: 1 | 2 | 3;
  readonly URL: string;
  readonly Size?: number;
  readonly Width?: number;
  readonly Height?: number;
}

interface Contents {
  TIMTextElem: { Text: string };
  TIMLocationElem: { Latitude: number; Longitude: number; Desc?: string };
  TIMFaceElem: { Index: number; Data?: string };
  TIMCustomElem: { Data: string; Desc?: string; Ext?: string; Sound?: string };
  TIMSoundElem: { UUID?: string; Url?: string; Size?: number; Second?: number; Download_Flag?: 2 };
  TIMImageElem: { UUID: string; ImageFormat: number; ImageInfoArray: readonly Content<ImageInfo>[] };
  TIMFileElem: {
    UUID?: string;
    Url?: string;
    FileSize?: number;
    FileName?: string;
    Download_Flag?: 2;
    DownloadFlag?: number;
  };
  TIMVideoFileElem: {
    VideoUUID?: string;
    VideoUrl?: string;
    VideoSize?: number;
    VideoSecond?: number;
    VideoFormat?: string;
    VideoDownloadFlag?: 2;
    ThumbUUID?: string;
    ThumbUrl?: string;
    ThumbSize?: number;
    ThumbWidth?: number;
    ThumbHeight?: number;
    ThumbFormat?: string;
    ThumbDownloadFlag?: 2;
  };
}

/** Types of elements that may be sent. `TIMGroupTipElem` goes from the service to clients only. */
export type MessageType = keyof Contents;

/** One element of MsgBody. */
export type MessageElement = {
  [Type in MessageType]: { readonly MsgType: Type; readonly MsgContent: Content<Contents[Type]> };
}[MessageType];

/** Sound, file and video are found by their id or, since 2020, by a URL; everything else of them may be absent. */
const contentRules: Readonly<Record<MessageType, MapRules>> = {
  TIMTextElem: { required: { Text: text } },
  TIMLocationElem: { required: { Latitude: number, Longitude: number }, optional: { Desc: text } },
  TIMFaceElem: { required: { Index: integer }, optional: { Data: text } },
  TIMCustomElem: { required: { Data: text }, optional: { Desc: text, Ext: text, Sound: text } },
  TIMSoundElem: {
    oneOf: ['UUID', 'Url'],
    optional: { UUID: text, Url: text, Size: wholeNumber, Second: duration, Download_Flag: oneOf(2) },
  },
  TIMImageElem: {
    required: {
      UUID: text,
      ImageFormat: oneOf(0, 1, 2, 3, 4, 255),
      ImageInfoArray: list(
        map({
          required: { Type: oneOf(1, 2, 3), URL: text },
          optional: { Size: wholeNumber, Width: wholeNumber, Height: wholeNumber },
        }),
        10,
      ),
    },
  },
  TIMFileElem: {
    oneOf: ['UUID', 'Url'],
    optional: {
      UUID: text,
      Url: text,
      FileSize: wholeNumber,
      FileName: text,
      Download_Flag: oneOf(2),
      // The web SDK's spelling; it sends others, too.
      DownloadFlag: wholeNumber,
    },
  },
  TIMVideoFileElem: {
    oneOf: ['VideoUUID', 'VideoUrl'],
    optional: {
      VideoUUID: text,
      VideoUrl: text,
      VideoSize: wholeNumber,
      VideoSecond: duration,
      VideoFormat: text,
      VideoDownloadFlag: oneOf(2),
      ThumbUUID: text,
      ThumbUrl: text,
      ThumbSize: wholeNumber,
      ThumbWidth: wholeNumber,
      ThumbHeight: wholeNumber,
      ThumbFormat: text,
      ThumbDownloadFlag: oneOf(2),
    },
  },
};

/** The types that may be sent, in the order of the API reference. */
export const messageTypes = Object.keys(contentRules) as MessageType[];

const contentFault = Object.fromEntries(
  Object.entries(contentRules).map(([type, rules]) => [type, map(rules)]),
) as Readonly<Record<MessageType, FieldRule>>;

/**
 * Checks a MsgBody (API reference §9.1): one element at least, of known types with their fields, one TIMCustomElem at
 * most, JSON that a database can hold, at most `maxBytes` of UTF-8 as JSON text. Fields that we do not know stay as they
 * are, because clients are newer than we. Refuses the rest, naming the field: `MsgBody[0].MsgContent.Text`.
 *
 * Never throws. Gives back the value itself, not a copy: whoever goes on using it must not change it.
 */
export function parseMessageBody(
  value: unknown,
  { maxBytes, field = 'MsgBody' }: { maxBytes: number; field?: string },
): ImResult<readonly MessageElement[]> {
  try {
    return checkBody(value, maxBytes, field);
  } catch {
    // A getter or a proxy of a caller in this process; what comes over a network has none.
    return { ok: false, error: 'BODY_ELEMENT', field, reason: 'must be JSON' };
  }
}

function checkBody(value: unknown, maxBytes: number, field: string): ImResult<readonly MessageElement[]> {
  const tooLong: ImRefusal = {
    ok: false,
    error: 'MESSAGE_TOO_LONG',
    field,
    reason: 'is too long',
    allowed: `${maxBytes} bytes of JSON text`,
  };
  if (!Array.isArray(value)) return { ok: false, error: 'BODY_NOT_ARRAY', field, reason: 'must be an array' };
  if (value.length === 0) {
    return { ok: false, error: 'BODY_NOT_ARRAY', field, reason: 'must not be empty', allowed: 'one element at least' };
  }
  const checkJson = createJsonCheck(maxBytes);
  let customElements = 0;
  for (let i = 0; i < value.length; i += 1) {
    const element: unknown = value[i];
    const at = `${field}[${i}]`;
    const fault = checkJson(element, at) ?? elementFault(element, at);
    if (fault === 'too-long') return tooLong;
    if (fault !== undefined) return { ok: false, error: 'BODY_ELEMENT', ...fault };
    if ((element as MessageElement).MsgType === 'TIMCustomElem') customElements += 1;
    if (customElements > 1) {
      const reason = 'is a second TIMCustomElem';
      return { ok: false, error: 'BODY_ELEMENT', field: `${at}.MsgType`, reason, allowed: 'one in a message' };
    }
  }
  if (!fitsUtf8(JSON.stringify(value), maxBytes)) return tooLong;
  return { ok: true, value: value as MessageElement[] };
}

function elementFault(element: unknown, field: string): ReturnType<FieldRule> {
  const allowed = '{"MsgType": string, "MsgContent": object}';
  if (!isPlainMap(element)) return { field, reason: 'must be an object', allowed };
  const type = Object.hasOwn(element, 'MsgType') ? element.MsgType : undefined;
  if (typeof type !== 'string') return { field: `${field}.MsgType`, reason: 'must be a string', allowed };
  if (!Object.hasOwn(contentFault, type)) {
    const reason = type === 'TIMGroupTipElem' ? 'is sent by the service alone' : 'is no type of element';
    return { field: `${field}.MsgType`, reason, allowed: messageTypes.join(', ') };
  }
  return contentFault[type as MessageType](
    Object.hasOwn(element, 'MsgContent') ? element.MsgContent : undefined,
    `${field}.MsgContent`,
  );
}
