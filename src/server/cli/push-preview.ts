import { Command, InvalidArgumentError, Option } from 'commander';
import Type from 'typebox';
import {
  apnsPayload,
  composeText,
  fcmPayload,
  maxPayloadBytes,
  type Payload,
  type PushMessage,
  type TextPart,
  type TooLarge,
} from '../../push/index.ts';
import {
  AppSchema,
  type AppSettings,
  type PushChannel,
  type PushSettings,
  parseServiceAccount,
  pushChannels,
} from '../../store/index.ts';
import { parseAccountId, parseMessageBody, parseOfflinePushInfo, type SdkAppId } from '../../wire/index.ts';
import {
  checkValue,
  formatPath,
  formatProblem,
  type Problem,
  parseYaml,
  readYamlFile,
  type YamlFile,
} from '../config/index.ts';
import { parseAppNumber } from './arguments.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { findApp } from './open-store.ts';
import { printable } from './printable.ts';

interface PreviewOptions extends ConfigOption {
  app?: SdkAppId;
  channel?: PushChannel;
  language?: string;
  badge?: number;
  token?: string;
  json?: true;
}

/** `qalgate push preview` */
export function pushPreviewCommand(context: CliContext): Command {
  return withConfig(new Command('preview'))
    .description(
      'Show the request that pushes a message, to the byte: header fields, body, how large it is, and what was cut; or why there ' +
        'is no push. Sends nothing.',
    )
    .argument('<file>', 'the message, JSON or YAML, as it is sent over REST; -: standard input')
    .option('-a, --app <number>', "as this app's settings have it (default: an app without any)", parseAppNumber)
    .addOption(
      new Option('--channel <channel>', 'the service (default: those that the app has, or both)').choices(pushChannels),
    )
    .option('--language <tag>', "the device's language, such as en or zh-Hans-CN", parseLanguage)
    .option('--badge <number>', "what the app's icon shows with it", parseBadge)
    .option('--token <token>', "the device's token (default: one that stands in for it)", parseToken)
    .option('--json', 'answer in JSON')
    .addHelpText(
      'after',
      `
Fields of the message: those of sendmsg and send_group_msg, of which MsgBody, OfflinePushInfo,
From_Account, GroupId, MsgLifeTime and OnlineOnlyFlag matter here; and nick, card (the sender's in
the group) and group (its name), which the service looks up itself.

Examples:
  $ qalgate push preview message.json --badge 4
  $ qalgate push preview message.yaml --app 1400000000 --channel apns --language en
  $ echo '{ nick: Lin, MsgBody: [{ MsgType: TIMTextElem, MsgContent: { Text: hello } }] }' | qalgate push preview -`,
    )
    .action(async (file: string, options: PreviewOptions) => {
      const app = await appFor(context, options);
      const message = await readMessage(context, file, app);
      const previews = channelsOf(app.push, options.channel).map((channel) =>
        previewOf(message, app.push, channel, options, Date.now()),
      );
      context.print(
        printable(
          options.json
            ? JSON.stringify({ requests: previews }, undefined, 2)
            : previews.map(formatPreview).join('\n\n\n'),
        ),
      );
      if (previews.some((preview) => 'noPush' in preview && preview.noPush === 'PAYLOAD_TOO_LARGE')) {
        throw new CliError(exitCodes.failed, 'the push would not be sent: it is too large');
      }
    });
}

async function appFor(context: CliContext, options: PreviewOptions): Promise<AppSettings> {
  const { app } = options;
  if (app !== undefined) return await findApp(context, loadOrFail(context, options), { ...options, app });
  return checkValue(AppSchema, { sdkAppId: 1, secret: 'x'.repeat(64) }).value as AppSettings;
}

function channelsOf({ apns, fcm }: PushSettings, wanted: PushChannel | undefined): readonly PushChannel[] {
  if (wanted !== undefined) return [wanted];
  const has = pushChannels.filter((channel) => ({ apns, fcm })[channel] !== undefined);
  return has.length === 0 ? pushChannels : has;
}

/** What of the commands that send messages makes no difference to their pushes. */
const otherFields = [
  'To_Account',
  'SyncOtherMachine',
  'MsgSeq',
  'MsgRandom',
  'MsgTimeStamp',
  'Random',
  'MsgPriority',
  'ForbidCallbackControl',
  'SendMsgControl',
  'CloudCustomData',
];

const name = (description: string) => Type.Optional(Type.String({ description, maxLength: 1_000 }));
const MessageSchema = Type.Object({
  // Parsers of their own look at these two.
  MsgBody: Type.Unknown({ title: 'a list of elements' }),
  OfflinePushInfo: Type.Optional(Type.Unknown()),
  From_Account: name('The sender.'),
  GroupId: name('The group.'),
  MsgLifeTime: Type.Optional(Type.Integer({ minimum: 0, maximum: 4_294_967_295 })),
  OnlineOnlyFlag: Type.Optional(Type.Integer({ minimum: 0, maximum: 4_294_967_295 })),
  nick: name("The sender's nickname."),
  card: name("The sender's name card in the group."),
  group: name('Name of the group.'),
  ...Object.fromEntries(otherFields.map((field) => [field, Type.Optional(Type.Unknown())])),
});
type MessageInput = Type.Static<typeof MessageSchema>;

interface PreviewedMessage extends PushMessage {
  /** Undefined: as long as the app says. 0: for those who are online now. */
  readonly lifetimeSec: number | undefined;
}

async function readMessage(context: CliContext, name: string, app: AppSettings): Promise<PreviewedMessage> {
  const read = name === '-' ? parseYaml(await context.readInput(), 'standard input') : readYamlFile(name);
  if (!read.ok) throw wrongMessage(read.problems);
  const file = read.value;
  const { value, findings } = checkValue(MessageSchema, file.value);
  if (findings.length > 0) throw wrongMessage(findings.map(({ path, ...finding }) => problemAt(file, path, finding)));
  const input = value as MessageInput;

  const fail = (field: string, reason: string, allowed?: string): never => {
    const [top = ''] = field.split(/[.[]/, 1);
    throw wrongMessage([
      { ...problemAt(file, [top], { reason, ...(allowed === undefined ? {} : { allowed }) }), path: field },
    ]);
  };
  const body = parseMessageBody(input.MsgBody, { maxBytes: app.im.messageBytes });
  if (!body.ok) return fail(body.field ?? 'MsgBody', body.reason ?? 'is wrong', body.allowed);
  const info = input.OfflinePushInfo === undefined ? undefined : parseOfflinePushInfo(input.OfflinePushInfo);
  if (info?.ok === false) return fail(info.field ?? 'OfflinePushInfo', info.reason ?? 'is wrong', info.allowed);
  const account = parseAccountId(input.From_Account ?? app.admins[0] ?? 'admin');
  if (!account.ok) return fail('From_Account', account.reason);

  const isGroup = input.GroupId !== undefined || input.group !== undefined;
  return {
    kind: isGroup ? 'group' : 'c2c',
    from: { account: account.value, nick: input.nick ?? '', card: input.card ?? '' },
    group: isGroup ? { id: input.GroupId ?? '@TGS#1', name: input.group ?? '' } : undefined,
    body: body.value,
    info: info?.value,
    // The service has conversation and number there.
    collapseId: '1-1',
    lifetimeSec: (input.OnlineOnlyFlag ?? 0) > 0 ? 0 : isGroup ? undefined : input.MsgLifeTime,
  };
}

function problemAt(
  file: YamlFile,
  path: readonly (string | number)[],
  finding: { reason: string; allowed?: string; nearest?: string },
): Problem {
  const position = file.has(path) ? file.locate(path) : undefined;
  const { reason, allowed, nearest } = finding;
  return {
    path: formatPath(path),
    reason,
    ...(allowed === undefined ? {} : { allowed }),
    ...(nearest === undefined ? {} : { nearest }),
    ...(position === undefined ? {} : { at: `${file.name}:${position.line}:${position.column}` }),
  };
}

function wrongMessage(problems: readonly Problem[]): CliError {
  const lines = problems.map(formatProblem);
  return new CliError(exitCodes.usage, printable(`the message is not valid:\n  ${lines.join('\n  ')}`));
}

type Preview =
  | {
      readonly channel: PushChannel;
      readonly noPush: 'push-flag' | 'no-text' | 'online-only' | 'PAYLOAD_TOO_LARGE';
      readonly why: string;
      readonly bytes?: number;
      readonly allowedBytes?: number;
    }
  | {
      readonly channel: PushChannel;
      readonly method: 'POST';
      readonly url: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: string;
      readonly bytes: number;
      readonly allowedBytes: number;
      readonly cuts: readonly string[];
      readonly notes: readonly string[];
    };

/** Of a real token so many bytes count. */
const fcmTokenChars = 163;

/** The request as it would go out now, but for what only the service knows. Pure. */
function previewOf(
  message: PreviewedMessage,
  settings: PushSettings,
  channel: PushChannel,
  { language, badge, token }: PreviewOptions,
  nowMs: number,
): Preview {
  const none = (noPush: 'push-flag' | 'no-text' | 'online-only') => ({ channel, noPush, why: reasons[noPush] });
  const receiver = { language, c2cSound: undefined, groupSound: undefined, videoSound: undefined };
  const composed = composeText(message, receiver, settings, channel);
  if (composed === 'push-flag') return none('push-flag');
  if (message.lifetimeSec === 0) return none('online-only');
  if (composed === 'no-text') return none('no-text');

  const { text, cuts } = composed;
  const { collapseId } = message;
  const lifetimeSec = Math.min(settings.lifetimeSec, message.lifetimeSec ?? settings.lifetimeSec);
  const common = {
    text,
    seq: 1,
    badge,
    collapseId,
    deadlineMs: nowMs + lifetimeSec * 1_000,
    dropExt: settings.dropExt,
  };
  const notes = token === undefined ? ['the token stands in for a real one; a longer one leaves less to the text'] : [];
  const of = (built: Payload | TooLarge, url: string, own: Record<string, string>, noted: string[]): Preview => {
    if (!built.ok) {
      const { reason, bytes, allowedBytes } = built;
      const why = `even with nothing but a mark of the text it has ${bytes} bytes; ${allowedBytes} are allowed${
        text.ext === undefined || settings.dropExt ? '' : '; shorten Ext, or let the app drop it (push.dropExt)'
      }`;
      return { channel, noPush: reason, why, bytes, allowedBytes };
    }
    const { headers, body, bytes } = built;
    return {
      channel,
      method: 'POST',
      url,
      headers: { ...own, ...headers },
      body,
      bytes,
      allowedBytes: maxPayloadBytes,
      cuts: [...cuts.map((part) => lengthWords(part, settings)), ...built.cuts.map((part) => byteWords[part])],
      notes: noted,
    };
  };

  if (channel === 'apns') {
    const { endpoint = 'https://api.push.apple.com', topic, certificate } = settings.apns ?? {};
    const noted = topic === undefined ? ['the app has no push.apns: its topic stands in for the bundle id'] : [];
    return of(
      apnsPayload({ ...common, topic: topic ?? 'com.example.app' }),
      `${endpoint.replace(/\/$/, '')}/3/device/${token ?? '<token>'}`,
      certificate === undefined ? { authorization: 'bearer <provider token>' } : {},
      noted,
    );
  }
  const { endpoint = 'https://fcm.googleapis.com', serviceAccount = '' } = settings.fcm ?? {};
  const { projectId = '<project>' } = parseServiceAccount(serviceAccount) ?? {};
  return of(
    fcmPayload({ ...common, nowMs, token: token ?? 'token-of-a-device'.padEnd(fcmTokenChars, '-') }),
    `${endpoint.replace(/\/$/, '')}/v1/projects/${projectId}/messages:send`,
    { authorization: 'Bearer <access token>', 'content-type': 'application/json' },
    notes,
  );
}

const reasons = {
  'push-flag': 'its OfflinePushInfo.PushFlag is 1',
  'no-text': 'there is nothing to show: its elements have no text, and OfflinePushInfo.Desc is not given',
  'online-only': 'it is for those who are online now (MsgLifeTime 0, or OnlineOnlyFlag)',
};

function lengthWords(part: TextPart, { textLength }: PushSettings): string {
  const words = { name: "the sender's name", group: "the group's name", title: 'the title', subtitle: 'the subtitle' };
  if (part === 'content') return `the text, to ${textLength} characters (push.textLength)`;
  return `${words[part]}, to the length that such have`;
}

const byteWords = {
  content: `the text, so that all has ${maxPayloadBytes} bytes`,
  ext: 'ext, because it left no room for the text (push.dropExt)',
};

const serviceNames: Readonly<Record<PushChannel, string>> = { apns: 'APNs', fcm: 'FCM' };

/** Pure. */
function formatPreview(preview: Preview): string {
  const service = serviceNames[preview.channel];
  if ('noPush' in preview) return `${service}: no push (${preview.noPush}): ${preview.why}`;
  const { method, url, headers, body, bytes, allowedBytes, cuts, notes } = preview;
  return [
    `${service}: ${method} ${url}`,
    ...Object.entries(headers).map(([field, value]) => `${field}: ${value}`),
    '',
    body,
    '',
    `${bytes} bytes of ${allowedBytes}`,
    ...cuts.map((cut) => `cut: ${cut}`),
    ...notes.map((note) => `note: ${note}`),
  ].join('\n');
}

function parseLanguage(text: string): string {
  if (/^[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8}){0,8}$/.test(text)) return text;
  throw new InvalidArgumentError('A language is a tag such as en, zh or zh-Hans-CN.');
}

function parseBadge(text: string): number {
  if (/^[0-9]{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('A badge is a whole number from 0 to 999999.');
}

function parseToken(text: string): string {
  if (/^[\x21-\x7e]{1,4000}$/.test(text)) return text;
  throw new InvalidArgumentError('A token is printable ASCII without spaces, at most 4000 characters.');
}
