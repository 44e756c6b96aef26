import { randomUUID } from 'node:crypto';
import { Command } from 'commander';
import { createPoster, type TestReport, testBackend } from '../../callbacks/index.ts';
import type { AppSettings, Refusal } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { parseAppNumber } from './arguments.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, type Loaded, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { type CommandStore, unknownApp, withStore } from './open-store.ts';
import { indented, printable, readableBody } from './printable.ts';

interface TestOptions extends ConfigOption {
  app: SdkAppId;
  command?: string;
  url?: string;
  print?: true;
  json?: true;
}

/** `qalgate callbacks test` */
export function callbacksTestCommand(context: CliContext): Command {
  return withConfig(new Command('test'))
    .description(
      'Send a callback that nothing caused to the backend of an app, as all callbacks are sent, and show it to the byte: what was ' +
        'signed, what came back, what that means, and a curl line that sends it again. Fails when the answer is no good one.',
    )
    .requiredOption('-a, --app <number>', 'the app', parseAppNumber)
    .option('--command <command>', 'the callback command (default: the first that the app gets)')
    .option('--url <url>', 'send it there instead of where the app has it')
    .option('--print', 'only show it, send nothing')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks test --app 1400000000
  $ qalgate callbacks test --app 1400000000 --command C2C.CallbackBeforeSendMsg --url http://127.0.0.1:9100/
  $ qalgate callbacks test --app 1400000000 --print`,
    )
    .action(async (options: TestOptions) => {
      const loaded = loadOrFail(context, options);
      const { command, url, print, json } = options;
      const given = { command, url, ...(print === undefined ? {} : { send: false }) };
      const report = await withStore(context, loaded, options, async (store) => {
        const app = await appOf(loaded, store, options.app);
        const ownAddresses = Object.values(loaded.config.listen);
        const { logger, metrics } = store;
        const poster = createPoster({ clock: Date.now, ownAddresses: () => ownAddresses, logger, metrics });
        try {
          const input = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
          const tested = await testBackend({ poster, clock: Date.now, randomUuid: randomUUID }, app, input);
          if (!tested.ok) throw refusalError(tested);
          return tested.value;
        } finally {
          await poster.close();
        }
      });
      context.print(json ? JSON.stringify(report, undefined, 2) : formatReport(report));
      if (report.result?.isGood === false) throw new CliError(exitCodes.failed, 'the answer is no good one');
    });
}

/** An app as the configuration at hand has it, else as the database has it. */
export async function appOf({ config }: Loaded, { apps }: CommandStore, sdkAppId: SdkAppId): Promise<AppSettings> {
  const app = config.apps.find((one) => one.sdkAppId === sdkAppId) ?? (await apps.get(sdkAppId))?.settings;
  if (app === undefined) throw unknownApp(sdkAppId);
  return app;
}

export function refusalError({ field, reason, allowed }: Refusal): CliError {
  const where = field === undefined ? '' : `${field}: `;
  return new CliError(exitCodes.usage, `${where}${reason}${allowed === undefined ? '' : `; allowed: ${allowed}`}`);
}

/** Pure. */
export function formatReport(report: TestReport): string {
  const { command, isSwitchedOn, url, fields, body, signedText, curl, result } = report;
  const note = isSwitchedOn
    ? []
    : [`The app does not get ${command} by its settings: this is a test all the same.`, ''];
  const lines = [
    ...note,
    `POST ${url}`,
    ...Object.entries(fields).map(([name, value]) => `${name}: ${value}`),
    '',
    body,
    '',
    'Signed (id, time and body, joined by dots):',
    indented(signedText),
    '',
    'Again from a shell (the signature holds for five minutes):',
    indented(curl),
  ];
  if (result === undefined) return lines.join('\n');
  const { tookMs, status, answer = '', failure, detail, meaning } = result;
  const outcome =
    status === undefined
      ? [`No answer: ${failure}${detail === undefined || detail === '' ? '' : ` (${printable(detail)})`}, ${tookMs} ms`]
      : [`Answer: HTTP ${status} after ${tookMs} ms`, ...(answer === '' ? [] : [indented(readableBody(answer))])];
  return [...lines, '', ...outcome, printable(meaning)].join('\n');
}
