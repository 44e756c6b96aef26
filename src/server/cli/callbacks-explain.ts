import { Command, Option } from 'commander';
import { type Explained, type Explanation, explainFields, parseExplain, type Step } from '../../callbacks/index.ts';
import {
  type CallbacksOptions,
  given,
  readOrFail,
  toJson,
  withApp,
  withCallbacks,
  withFilter,
  withPage,
} from './callbacks-store.ts';
import type { CliContext } from './context.ts';
import { indented, printable } from './printable.ts';

/** `qalgate callbacks explain` */
export function callbacksExplainCommand(context: CliContext): Command {
  return withPage(
    withFilter(withApp(new Command('explain')))
      .addOption(new Option('--key <key>', 'with --from and --to: the message of that MsgKey').conflicts('seq'))
      .option('--seq <number>', 'with --from and --to, or --group: the message of that number')
      .option('--id <event>', 'an event by its number or webhook-id'),
  )
    .description(
      'Tell of messages and actions which callbacks they caused, what became of each, and why there was none. ' +
        'Without a key or number it lists what happened within the last 24 hours, the newest first.',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks explain --app 1400000000 --from alice --to bob --key 20481_771231_1543500000
  $ qalgate callbacks explain --app 1400000000 --group club --seq 42
  $ qalgate callbacks explain --app 1400000000 --account alice --since 2h
  $ qalgate callbacks explain --app 1400000000 --command State.StateChange --limit 10
  $ qalgate callbacks explain --app 1400000000 --id cb_0a1b2c3d_17`,
    )
    .action(async (options: CallbacksOptions) => {
      const query = readOrFail(parseExplain(given(options, explainFields), Date.now()));
      await withCallbacks(context, options, async ({ admin, app }) => {
        const explained = await admin.explain(app, query);
        context.print(
          options.json ? toJson({ ...explained, next: explained.next ?? null }) : formatExplained(explained),
        );
      });
    });
}

/** Pure. */
export function formatExplained({ explanations, notes, next }: Explained): string {
  const parts = [
    ...explanations.map(formatExplanation),
    ...(explanations.length === 0 && notes.length === 0 ? ['Nothing is known that fits.'] : []),
    ...notes,
    ...(next === undefined ? [] : [`There is more: --after ${next}`]),
  ];
  return printable(parts.join('\n\n'));
}

export function formatExplanation({ at, subject, happened, asked, told }: Explanation): string {
  const rows = [
    `${at}  ${subject}`,
    `  happened  ${happened.text}`,
    ...asked.map((step) => `  asked     ${step.text}`),
    ...told.flatMap((step) => [`  told      ${step.text}${nameOf(step)}`, ...waitsOf(step)]),
  ];
  return rows.join('\n');
}

function nameOf({ eventId, webhookId }: Step): string {
  return eventId === undefined ? '' : ` (event ${eventId}, ${webhookId})`;
}

function waitsOf({ waits = [] }: Step): string[] {
  return waits.map(({ text }) => indented(text, ' '.repeat(12)));
}
