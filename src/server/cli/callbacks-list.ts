import { Command, Option } from 'commander';
import {
  type EventView,
  eventStates,
  type LetterView,
  listFields,
  parseEventName,
  parseList,
  type Shown,
} from '../../callbacks/index.ts';
import { formatExplanation } from './callbacks-explain.ts';
import {
  type CallbacksOptions,
  given,
  readOrFail,
  table,
  toJson,
  withApp,
  withCallbacks,
  withFilter,
  withPage,
} from './callbacks-store.ts';
import { CliError } from './cli-error.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { indented, printable, readableBody } from './printable.ts';

/** `qalgate callbacks list` */
export function callbacksListCommand(context: CliContext): Command {
  return withPage(
    withFilter(withApp(new Command('list'))).addOption(
      new Option('--state <state>', 'what became of them so far').choices(eventStates),
    ),
  )
    .description(
      'List events for an app and what became of them: those of the last 24 hours, the newest first; all that wait, the oldest ' +
        'first, with what they wait for; or all dead letters.',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks list --app 1400000000 --state waiting
  $ qalgate callbacks list --app 1400000000 --state dead --command State.StateChange --json
  $ qalgate callbacks list --app 1400000000 --account alice --since 2h`,
    )
    .action(async (options: CallbacksOptions) => {
      const query = readOrFail(parseList(given(options, listFields), Date.now()));
      await withCallbacks(context, options, async ({ admin, app }) => {
        if (query.state === 'dead') {
          const { letters, next } = await admin.letters(app, query);
          context.print(
            options.json ? toJson({ deadLetters: letters, next: next ?? null }) : formatLetters(letters, next),
          );
          return;
        }
        const { events, next } = await admin.list(app, query);
        context.print(options.json ? toJson({ events, next: next ?? null }) : formatEvents(events, next));
      });
    });
}

/** `qalgate callbacks show` */
export function callbacksShowCommand(context: CliContext): Command {
  return withApp(new Command('show'))
    .description(
      'Show one event: what caused it, its attempts, why it waits; of a dead letter also what was sent and what was answered.',
    )
    .argument('<event>', 'number of the event, or its webhook-id')
    .addHelpText('after', '\nExample:\n  $ qalgate callbacks show 17 --app 1400000000')
    .action(async (name: string, options: CallbacksOptions) => {
      const event = parseEventName(name);
      if (event === undefined) {
        throw new CliError(exitCodes.usage, '<event>: is no number of an event; allowed: 17 or cb_0a1b2c3d_17');
      }
      await withCallbacks(context, options, async ({ admin, app }) => {
        const shown = await admin.show(app, event);
        if (shown === undefined) throw new CliError(exitCodes.failed, `app ${app.sdkAppId} has no event ${name}`);
        context.print(options.json ? toJson(jsonOf(shown)) : formatShown(shown));
      });
    });
}

function jsonOf({ event, log, letter, explained }: Shown): object {
  return { event: event ?? null, log, deadLetter: letter ?? null, explanations: explained.explanations };
}

/** Pure. */
export function formatEvents(events: readonly EventView[], next: string | undefined): string {
  if (events.length === 0) return endOf('There are no such events', next);
  const rows = events.map(({ id, createdAt, state, command, subject, attempts, status, lastError, waits = [] }) => [
    String(id),
    createdAt,
    state,
    command,
    subject,
    String(attempts),
    waits.length > 0
      ? waits.map(({ code }) => code).join(', ')
      : (lastError ?? (status === undefined ? '' : `HTTP ${status}`)),
  ]);
  return endOf(table([['EVENT', 'SINCE', 'STATE', 'CALLBACK', 'ABOUT', 'ATTEMPTS', 'LAST'], ...rows]), next);
}

export function formatLetters(letters: readonly LetterView[], next: string | undefined): string {
  if (letters.length === 0) return endOf('There are no such dead letters', next);
  const rows = letters.map(({ id, diedAt, command, subject, attempts, reason, status }) => [
    String(id),
    diedAt,
    command,
    subject,
    String(attempts),
    `${reason}${status === undefined ? '' : `, HTTP ${status}`}`,
  ]);
  return endOf(table([['EVENT', 'GIVEN UP', 'CALLBACK', 'ABOUT', 'ATTEMPTS', 'WHY'], ...rows]), next);
}

function endOf(text: string, next: string | undefined): string {
  return printable(next === undefined ? text : `${text}\n\nThere is more: --after ${next}`);
}

export function formatShown({ event, log, letter, explained }: Shown): string {
  const lines = explained.explanations.map((explanation) => printable(formatExplanation(explanation)));
  if (event !== undefined) lines.push(printable(`event ${event.id}, ${event.webhookId}: ${event.state}`));
  const attempts = letter?.log ?? log;
  if (attempts.length > 0) {
    const rows = attempts.map(({ at, tookMs, status, failure, detail, by }) => [
      at,
      `${tookMs} ms`,
      by === undefined ? (status === undefined ? `${failure}: ${detail}` : `HTTP ${status}`) : `dropped by ${by}`,
    ]);
    lines.push(`failed attempts, the first and the last ones:\n${indented(printable(table(rows)))}`);
  }
  if (letter !== undefined) {
    const { diedAt, reasonText, url, content } = letter;
    lines.push(
      printable(`dead letter since ${diedAt}: ${reasonText}${url === undefined ? '' : `\nsent to ${url}`}`),
      `sent:\n${indented(content?.request ? readableBody(content.request) : 'nothing could be made of it')}`,
    );
    if (content?.response) lines.push(`answered:\n${indented(readableBody(content.response))}`);
  }
  return lines.join('\n\n');
}
