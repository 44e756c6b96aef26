import { badField, googleError, type SandboxAnswer } from './fcm-answers.ts';

/** A message of FCM HTTP v1, as far as the sandbox looks at it. */
export interface FcmMessage {
  readonly token: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly notification?: { readonly title?: string; readonly body?: string };
  readonly android?: {
    readonly collapse_key?: string;
    readonly priority?: string;
    readonly ttl?: string;
    readonly notification?: {
      readonly title?: string;
      readonly body?: string;
      readonly tag?: string;
      readonly sound?: string;
      readonly channel_id?: string;
      readonly notification_count?: number;
    };
  };
}

export type FcmRequest =
  | { readonly ok: true; readonly message: FcmMessage; readonly isDryRun: boolean }
  | { readonly ok: false; readonly token: string | undefined; readonly answer: SandboxAnswer };

const maxMessageBytes = 4_096;
const maxTtlSec = 28 * 86_400;
const known = {
  '': ['validate_only', 'message'],
  message: ['name', 'token', 'topic', 'condition', 'data', 'notification', 'android', 'apns', 'webpush', 'fcm_options'],
  'message.notification': ['title', 'body', 'image'],
  'message.android': [
    'collapse_key',
    'priority',
    'ttl',
    'restricted_package_name',
    'data',
    'notification',
    'fcm_options',
    'direct_boot_ok',
  ],
  'message.android.notification': [
    'title',
    'body',
    'icon',
    'color',
    'sound',
    'tag',
    'click_action',
    'body_loc_key',
    'body_loc_args',
    'title_loc_key',
    'title_loc_args',
    'channel_id',
    'ticker',
    'sticky',
    'event_time',
    'local_only',
    'notification_priority',
    'default_sound',
    'default_vibrate_timings',
    'default_light_settings',
    'vibrate_timings',
    'visibility',
    'notification_count',
    'light_settings',
    'image',
  ],
} as const;
const textFields = ['title', 'body', 'icon', 'sound', 'tag', 'click_action', 'channel_id', 'image'];

/** Reads the body of `messages:send`, and refuses what Google would, by its field. Pure. */
export function readFcmRequest(body: string): FcmRequest {
  let token: string | undefined;
  const refuse = (answer: SandboxAnswer): FcmRequest => ({ ok: false, token, answer });
  const request = parse(body);
  if (request === undefined) {
    return refuse(googleError(400, 'INVALID_ARGUMENT', 'Invalid JSON payload received. Expected an object key or }.'));
  }
  if (!isMap(request.message)) return refuse(badField('message', 'Message is not set'));
  const { message } = request;
  if (typeof message.token === 'string') token = message.token;
  const fault =
    findUnknown(request) ?? findTarget(message) ?? findData(message.data, 'message.data') ?? findAndroid(message);
  if (fault !== undefined) return refuse(fault);
  if (Buffer.byteLength(JSON.stringify(message)) > maxMessageBytes) {
    return refuse(badField('message', 'Android message is too big'));
  }
  return { ok: true, message: message as unknown as FcmMessage, isDryRun: request.validate_only === true };
}

function findUnknown(request: Record<string, unknown>): SandboxAnswer | undefined {
  for (const [path, names] of Object.entries(known)) {
    const steps = path === '' ? [] : path.split('.');
    const value = steps.reduce<unknown>((at, step) => (isMap(at) ? at[step] : undefined), request);
    if (value === undefined) continue;
    if (!isMap(value)) return badField(path, `Invalid value at '${path}'`, false);
    const stranger = Object.keys(value).find((name) => !(names as readonly string[]).includes(name));
    if (stranger !== undefined) {
      const text = `Invalid JSON payload received. Unknown name "${stranger}" at '${path}': Cannot find field.`;
      return badField(path, text, false);
    }
  }
  return undefined;
}

function findTarget({ token, topic, condition }: Record<string, unknown>): SandboxAnswer | undefined {
  const targets = [token, topic, condition].filter((target) => target !== undefined);
  if (targets.length !== 1) return badField('message', 'Exactly one of token, topic or condition is required');
  if (typeof token !== 'string' || !/^[\w:.~-]{1,4096}$/.test(token)) {
    return badField('message.token', 'The registration token is not a valid FCM registration token');
  }
  return undefined;
}

function findData(data: unknown, path: string): SandboxAnswer | undefined {
  if (data === undefined) return undefined;
  if (!isMap(data)) return badField(path, `Invalid value at '${path}'`, false);
  for (const [name, value] of Object.entries(data)) {
    if (typeof value !== 'string') {
      return badField(
        `${path}[0].value`,
        `Invalid value at '${path}[0].value' (TYPE_STRING), ${JSON.stringify(value)}`,
        false,
      );
    }
    if (/^(from$|message_type$|google|gcm)/.test(name)) return badField(path, `Invalid data payload key: ${name}`);
  }
  return undefined;
}

function findAndroid({ android, notification }: Record<string, unknown>): SandboxAnswer | undefined {
  const plain = findTexts(notification, 'message.notification');
  if (plain !== undefined || !isMap(android)) return plain;
  const { ttl, priority, collapse_key: collapseKey } = android;
  const bad = (name: string) =>
    badField(`message.android.${name}`, `Invalid value at 'message.android.${name}'`, false);
  const ttlSec = /^([0-9]{1,9})(\.[0-9]{1,9})?s$/.exec(String(ttl))?.[1];
  if (ttl !== undefined && (ttlSec === undefined || Number(ttlSec) > maxTtlSec)) return bad('ttl');
  if (priority !== undefined && !['HIGH', 'NORMAL', 'high', 'normal'].includes(String(priority)))
    return bad('priority');
  if (collapseKey !== undefined && typeof collapseKey !== 'string') return bad('collapse_key');
  const shown = android.notification;
  const count = isMap(shown) ? shown.notification_count : undefined;
  if (count !== undefined && !(Number.isInteger(count) && (count as number) >= 0)) {
    return bad('notification.notification_count');
  }
  return findTexts(shown, 'message.android.notification') ?? findData(android.data, 'message.android.data');
}

function findTexts(value: unknown, path: string): SandboxAnswer | undefined {
  if (!isMap(value)) return undefined;
  const name = textFields.find((one) => value[one] !== undefined && typeof value[one] !== 'string');
  return name === undefined ? undefined : badField(`${path}.${name}`, `Invalid value at '${path}.${name}'`, false);
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isMap(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
