import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import {
  type FaultRule,
  faultWords,
  openPushSandbox,
  parseFaultRule,
  type SandboxPush,
  type SandboxSettings,
} from '../../push/index.ts';
import { runUntilSignal } from '../life-cycle.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, commandLogger } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { indented, printable, readableBody } from './printable.ts';

interface SandboxOptions {
  folder: string;
  host: string;
  apnsPort: number;
  fcmPort: number;
  topic: string;
  fault: FaultRule[];
  json?: true;
  debug?: true;
}

/** `qalgate push sandbox` */
export function pushSandboxCommand(context: CliContext): Command {
  return new Command('sandbox')
    .description(
      "Stand in for Apple's and Google's push services on this machine, and print each push that comes: for trying pushes without " +
        'an account. Makes a certificate and credentials, and says what to give to an app. Ends with Ctrl-C.',
    )
    .option('--folder <path>', 'where certificate and credentials lie; made at the first time', 'push-sandbox')
    .option('--host <address>', 'address or name to listen on, and by which apps reach it', '127.0.0.1')
    .option('--apns-port <number>', 'port of APNs; 0 takes any free one', parsePort, 9197)
    .option('--fcm-port <number>', 'port of FCM; 0 takes any free one', parsePort, 9198)
    .option('--topic <bundle>', 'bundle id of the app on iOS', parseTopic, 'com.example.chat')
    .addOption(
      new Option(
        '--fault <rule>',
        'what becomes of pushes to some tokens: <beginning of the token>=<what>[:<number>][*<times>]; repeat it for several, the first that fits counts',
      )
        .default([], 'none')
        .argParser(collectFault),
    )
    .option('--json', 'print each push as JSON on one line')
    .option('--debug', 'show the log and stack traces on standard error')
    .addHelpText(
      'after',
      `
What becomes of pushes: an answer of the service by its reason (Unregistered, BadDeviceToken,
ServiceUnavailable:30; UNREGISTERED, QUOTA_EXCEEDED:device, UNAVAILABLE:30, 502), where the number is
Retry-After in seconds; or silent, slow:<ms>, reset (the connection, before it was taken), lost (after
it), refused (the stream), goaway.

Examples:
  $ qalgate push sandbox
  $ qalgate push sandbox --json | jq .body
  $ qalgate push sandbox --fault 'dead=Unregistered' --fault 'dead=UNREGISTERED'
  $ qalgate push sandbox --fault '=UNAVAILABLE:10*3'                   the first three to Android, to see them come again`,
    )
    .action(async (options: SandboxOptions) => {
      const { folder, host, apnsPort, fcmPort, topic, fault, json } = options;
      const sandbox = await openPushSandbox({
        folder,
        host,
        apnsPort,
        fcmPort,
        topic,
        faults: fault,
        onPush: (push) => context.print(json ? jsonLine(push) : formatPush(push)),
      }).catch((error: NodeJS.ErrnoException) => {
        throw new CliError(exitCodes.failed, `cannot open the sandbox: ${error.message}`);
      });
      const { settings } = sandbox;
      const patchFile = join(dirname(settings.apns.keyFile), 'push.yaml');
      await writeFile(patchFile, stringify({ push: patchOf(settings) }));
      // Apart from what is printed, so that that can be piped on.
      context.warn(introduction(settings, patchFile));
      await runUntilSignal(sandbox, { logger: commandLogger(context, options) });
    });
}

/** What an app of the database gets by a file; its credentials come by options. */
function patchOf({ apns: { keyFile: _, ...apns }, fcm: { serviceAccountFile: __, ...fcm } }: SandboxSettings): object {
  return { apns, fcm };
}

function introduction(settings: SandboxSettings, patchFile: string): string {
  const { apns, fcm } = settings;
  return `APNs on ${apns.endpoint}, FCM on ${fcm.endpoint}. In the configuration, an app pushes here by its field

${indented(stringify({ push: settings }, { lineWidth: 0 }).trimEnd())}

and an app of the database by

  qalgate app set <app> --file ${quoted(patchFile)} --apns-key-file ${quoted(apns.keyFile)} \\
    --fcm-service-account-file ${quoted(fcm.serviceAccountFile)}

Ctrl-C ends it; pushes:`;
}

/** As a shell takes it for one word. */
function quoted(path: string): string {
  return /^[\w./:@%+,=-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** A push as people read it. Pure. */
export function formatPush(push: SandboxPush): string {
  const { service, atMs, token, headers, status, answered } = push;
  const answer = status === 0 ? `not answered: ${answered}` : `${status} ${answered}`;
  return [
    `${new Date(atMs).toISOString()}  ${service}  ${printable(shortened(token))}  ${answer}`,
    ...Object.entries(headers).map(([name, value]) => `  ${printable(name)}: ${printable(value)}`),
    indented(readableBody(withoutToken(push))),
    '',
  ].join('\n');
}

/** The same for programs; a body that is no JSON is a text. Pure. */
function jsonLine(push: SandboxPush): string {
  const { atMs, token, ...rest } = push;
  const text = withoutToken(push);
  let body: unknown = text;
  try {
    body = JSON.parse(text);
  } catch {
    // Then as it is.
  }
  return printable(JSON.stringify({ time: new Date(atMs).toISOString(), ...rest, token: shortened(token), body }));
}

/** Enough to tell devices apart, too little to push to one. Pure. */
export function shortened(token: string): string {
  if (token === '') return '(no token)';
  return token.length <= 16 ? token : `${token.slice(0, 8)}…${token.slice(-4)}`;
}

/** The body of FCM names the device, too. */
function withoutToken({ token, body }: SandboxPush): string {
  return token.length <= 16 ? body : body.replaceAll(token, shortened(token));
}

function collectFault(text: string, before: FaultRule[]): FaultRule[] {
  const rule = parseFaultRule(text);
  if (rule !== undefined) return [...before, rule];
  throw new InvalidArgumentError(
    `A rule is written <beginning of the token>=<what>[:<number>][*<times>], with 1 to 6 digits each. APNs: ${faultWords.apns.join(', ')}. FCM: ${faultWords.fcm.join(', ')}.`,
  );
}

function parsePort(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (port <= 65_535) return port;
  throw new InvalidArgumentError('A port is a whole number from 0 to 65535.');
}

function parseTopic(text: string): string {
  if (/^[A-Za-z0-9.-]{1,200}$/.test(text)) return text;
  throw new InvalidArgumentError('A bundle id is 1 to 200 letters, digits, dots and hyphens.');
}
