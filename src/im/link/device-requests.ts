import type { ImResult } from '../../wire/index.ts';
import type { Devices, DeviceWishes } from '../ports.ts';
import { type FieldReader, parseAnyConversation } from './field-reader.ts';
import { emptyOk, okJson, type RequestDeps, type RequestHandler } from './request.ts';

/** Tokens have no fixed length; APNs' are hex, FCM's letters, digits and some marks. */
const tokenForms = {
  apns: { pattern: /^[0-9A-Fa-f]{16,400}$/, allowed: '16 … 400 hexadecimal digits' },
  fcm: { pattern: /^[A-Za-z0-9_:-]{16,1024}$/, allowed: '16 … 1024 of A-Z a-z 0-9 _ : -' },
} as const;
const languageForm = { pattern: /^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}$/, allowed: 'a language such as en or zh-CN' };
const soundForm = {
  pattern: /^[\x20-\x7e]{0,100}$/,
  allowed: 'the name of a file, at most 100 printable ASCII characters; empty: no sound; null: the app’s',
};

/** `report`, `setToken`, `removeToken`, `pushSettings`, `setPushSettings`, `pushOpened`: how a terminal is reached while it is not there (S3, S4). */
export function deviceRequests({ presence, devices }: RequestDeps): Record<string, RequestHandler> {
  const nameOf = ({ account, platform }: { account: { no: number; sdkAppId: number }; platform: string }) =>
    ({ sdkAppId: account.sdkAppId, accountNo: account.no, platform }) as Parameters<
      NonNullable<typeof devices>['remove']
    >[0];

  return {
    report: {
      permission: 'im.link.state.report',
      order: 'state',
      async run({ link, terminal, fields }) {
        const state = fields.word('state', ['background', 'foreground']);
        const unread = fields.optionalInteger('unread', { min: 0, max: 1_000_000 });
        if (fields.refusal !== undefined) return fields.refusal;
        const { account, platform } = terminal;
        // The badge first: what is pushed as soon as it is in the background counts on from there.
        if (state === 'foreground' || unread !== undefined) await devices?.report(nameOf(terminal), unread ?? 0);
        await presence.report(account, platform, link.linkId, state === 'background');
        return emptyOk;
      },
    },

    setToken: {
      permission: 'im.link.push.write',
      order: 'state',
      async run({ link, terminal, fields }) {
        const channel = fields.word('channel', ['apns', 'fcm']) ?? 'apns';
        const token = fields.text('token', tokenForms[channel]);
        const environment = fields.optionalWord('environment', ['production', 'sandbox']) ?? 'production';
        const language = fields.optionalText('language', languageForm);
        if (fields.refusal !== undefined) return fields.refusal;
        const device = { channel, token, environment, language };
        const outcome = await devices?.set({ ...nameOf(terminal), linkId: link.linkId }, device);
        if (outcome === 'set') return emptyOk;
        if (outcome === 'away')
          return { ok: false, error: 'NOT_LOGGED_IN', reason: 'another link has the place of this terminal' };
        const reason = 'the app has no credentials for this service';
        return { ok: false, error: 'INVALID_FIELD', field: 'channel', reason };
      },
    },

    removeToken: {
      permission: 'im.link.push.write',
      order: 'state',
      async run({ terminal }) {
        await devices?.remove(nameOf(terminal));
        return emptyOk;
      },
    },

    pushSettings: {
      permission: 'im.link.push.read',
      order: 'parallel',
      async run({ terminal }) {
        return okJson((await devices?.wishes(terminal.account.no)) ?? {});
      },
    },

    setPushSettings: {
      permission: 'im.link.push.write',
      order: 'state',
      async run({ terminal, fields }) {
        const isOn = fields.optionalBoolean('isOn');
        const wishes: Partial<DeviceWishes> = {
          ...(isOn === undefined ? {} : { isOn }),
          ...soundOf(fields, 'c2cSound'),
          ...soundOf(fields, 'groupSound'),
          ...soundOf(fields, 'videoSound'),
        };
        if (fields.refusal !== undefined) return fields.refusal;
        if (Object.keys(wishes).length === 0) return nothingNamed;
        await devices?.setWishes(terminal.account.no, wishes);
        return emptyOk;
      },
    },

    pushOpened: {
      permission: 'im.link.push.write',
      order: 'parallel',
      async run({ terminal, fields }) {
        const message = readPushed(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        await devices?.opened(nameOf(terminal), message);
        return emptyOk;
      },
    },
  };
}

const nothingNamed: ImResult<string> = {
  ok: false,
  error: 'INVALID_FIELD',
  field: 'isOn',
  reason: 'is missing, and so are all others',
  allowed: 'isOn, c2cSound, groupSound, videoSound: at least one',
};

/** Which message, as its receiver names it. */
function readPushed(fields: FieldReader): Parameters<Devices['opened']>[1] {
  const seq = fields.integer('seq', { min: 1, max: Number.MAX_SAFE_INTEGER });
  const named = fields.take(parseAnyConversation(fields.raw('conversation'), 'conversation'));
  if (named?.kind === 'group') return { kind: 'group', name: named.groupId, seq };
  if (named?.kind === 'system') fields.refuse(noPushes);
  return { kind: 'c2c', name: named?.kind === 'c2c' ? named.peer : '', seq };
}

const noPushes = {
  error: 'INVALID_FIELD',
  field: 'conversation',
  reason: 'has no pushes',
  allowed: 'c2c: and an account; group: and the id of a group',
} as const;

/** `null` takes a sound back. */
function soundOf(fields: FieldReader, name: 'c2cSound' | 'groupSound' | 'videoSound'): Partial<DeviceWishes> {
  if (fields.raw(name) === null) return { [name]: null };
  const sound = fields.optionalText(name, soundForm);
  return sound === undefined ? {} : { [name]: sound };
}
