import { Command, InvalidArgumentError, Option } from 'commander';
import { callbackSecrets } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { runUntilSignal } from '../life-cycle.ts';
import { parseAppNumber } from './arguments.ts';
import { readCallbackKeys } from './callback-keys.ts';
import { type Arrival, type Behaviour, openCallbackReceiver } from './callback-receiver.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, commandLogger, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { findApp } from './open-store.ts';
import { indented, printable, readableBody } from './printable.ts';

interface ListenOptions extends ConfigOption {
  port: number;
  host: string;
  secret: string[];
  secretFile?: string;
  app?: SdkAppId;
  answer: Behaviour['answer'];
  fail?: Behaviour['failure'];
  times?: number;
  json?: true;
}

/** `qalgate callbacks listen` */
export function callbacksListenCommand(context: CliContext): Command {
  return withConfig(new Command('listen'))
    .description(
      'Receive callbacks and print them: a backend for whoever develops one. Checks signatures with the keys of --app, --secret or ' +
        '--secret-file; what does not verify is answered with 401 and explained. Ends with Ctrl-C.',
    )
    .option('-p, --port <number>', 'port to listen on; 0 takes any free one', parsePort, 9100)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('-a, --app <number>', 'verify with the keys of this app', parseAppNumber)
    .option(
      '--secret <whsec>',
      'verify with this key; repeat it for several; visible to others on this machine while the command runs',
      (text: string, before: string[]) => [...before, text],
      [],
    )
    .option('--secret-file <file>', 'verify with the key in this file; of several lines each is one')
    .option(
      '--answer <answer>',
      'what to answer questions with: allow, refuse, refuse:<code>, refuse:<code>:<text>, drop, or JSON',
      parseAnswer,
      'allow',
    )
    .option(
      '--fail <how>',
      'do this instead of answering: a status such as 503, silent, reset, garbage (no JSON), or slow:<ms>',
      parseFailure,
    )
    .addOption(
      new Option('--times <n>', 'fail for the first n attempts of each callback only').argParser((text) => {
        if (/^[1-9][0-9]{0,5}$/.test(text)) return Number(text);
        throw new InvalidArgumentError('It must be a whole number from 1 on.');
      }),
    )
    .option('--json', 'print each callback as JSON on one line')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks listen --app 1400000000
  $ qalgate callbacks listen --port 9100 --secret-file whsec.key --answer refuse:120001:'not here'
  $ qalgate callbacks listen --app 1400000000 --fail 503 --times 2     to see it come again
  $ qalgate callbacks listen --app 1400000000 --fail silent            to see actions go on without an answer`,
    )
    .action(async (options: ListenOptions) => {
      const { host, port, answer, fail, times, json } = options;
      const secrets = await keysOf(context, options);
      const behaviour = {
        answer,
        ...(fail === undefined ? {} : { failure: fail }),
        ...(times === undefined ? {} : { times }),
      };
      const print = (arrival: Arrival) => context.print(json ? jsonLine(arrival) : formatArrival(arrival));
      const receiver = await openCallbackReceiver({ host, port, secrets, behaviour, onArrival: print }).catch(
        (error: NodeJS.ErrnoException) => {
          throw new CliError(exitCodes.failed, `cannot listen on ${host}:${port}: ${error.code ?? error.message}`);
        },
      );
      // Apart from what is printed, so that that can be piped on.
      context.warn(
        `listening for callbacks on ${receiver.url} (any path), ${
          secrets.length === 0 ? 'verifying nothing: no key is given' : `verifying with ${secrets.length} key(s)`
        }; Ctrl-C ends it`,
      );
      await runUntilSignal(receiver, { logger: commandLogger(context, options) });
    });
}

async function keysOf(context: CliContext, options: ListenOptions): Promise<string[]> {
  const keys = readCallbackKeys(options.secret, options.secretFile);
  if (options.app === undefined) return keys;
  const app = await findApp(context, loadOrFail(context, options), { ...options, app: options.app });
  const ofApp = callbackSecrets(app);
  if (ofApp.length === 0) {
    throw new CliError(exitCodes.failed, `app ${options.app} has no key for callbacks: set callbacks.secret`);
  }
  return [...keys, ...ofApp];
}

/** A callback as people read it. Pure. */
export function formatArrival(arrival: Arrival): string {
  const { atMs, from, target, id, command, attempt, verified, faults, gap, isReplay, body, answered } = arrival;
  const repeat = attempt === 1 ? '' : `, attempt ${attempt}`;
  const state = verified === undefined ? 'not verified: no key' : verified ? 'verified' : 'DOES NOT VERIFY';
  const query = new URLSearchParams(target.slice(target.indexOf('?') + 1));
  const origin = [query.get('OptPlatform'), query.get('ClientIP')].filter((one) => one !== null && one !== '');
  return [
    `${new Date(atMs).toISOString()}  ${printable(command)}  ${printable(id === '' ? '(no webhook-id)' : id)}${repeat}`,
    `  ${state}, from ${from}${origin.length === 0 ? '' : ` for ${printable(origin.join(' '))}`}, answered ${answered}`,
    ...faults.map((fault) => `  ! ${printable(fault)}`),
    ...(isReplay ? ['  sent again by an operator'] : []),
    ...(gap === '' ? [] : [`  given up before it: ${printable(gap)}`]),
    indented(readableBody(body)),
    '',
  ].join('\n');
}

/** The same for programs; a body that is no JSON is a text. Pure. */
function jsonLine({ body, atMs, ...arrival }: Arrival): string {
  let parsed: unknown = body;
  try {
    parsed = JSON.parse(body);
  } catch {
    // Then as it is.
  }
  const { verified = null, ...rest } = arrival;
  return printable(JSON.stringify({ time: new Date(atMs).toISOString(), ...rest, verified, body: parsed }));
}

function parsePort(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (port <= 65_535) return port;
  throw new InvalidArgumentError('A port is a whole number from 0 to 65535.');
}

export function parseAnswer(text: string): Behaviour['answer'] {
  if (text === 'allow' || text === 'drop') return text;
  if (text === 'refuse') return { code: 1, info: '' };
  const [, digits, info = ''] = /^refuse:([0-9]{1,6})(?::(.*))?$/s.exec(text) ?? [];
  const code = Number(digits);
  if (code === 1 || (code >= 120_001 && code <= 130_000) || (code >= 10_100 && code <= 10_200)) return { code, info };
  if (text.startsWith('{')) {
    try {
      JSON.parse(text);
      return { json: text };
    } catch {
      throw new InvalidArgumentError('The answer is no JSON.');
    }
  }
  throw new InvalidArgumentError(
    'Answers are allow, refuse, refuse:<code>, refuse:<code>:<text>, drop, or JSON; codes are 1, 120001 to 130000, and 10100 to 10200 for groups.',
  );
}

export function parseFailure(text: string): NonNullable<Behaviour['failure']> {
  if (text === 'silent' || text === 'reset' || text === 'garbage') return text;
  const delay = /^slow:([0-9]{1,6})$/.exec(text)?.[1];
  if (delay !== undefined) return { delayMs: Number(delay) };
  if (/^[2-5][0-9]{2}$/.test(text)) return { status: Number(text) };
  throw new InvalidArgumentError('Failures are a status from 200 to 599, silent, reset, garbage, or slow:<ms>.');
}
