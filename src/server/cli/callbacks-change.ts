import { Command, Option } from 'commander';
import {
  dropFields,
  parseDrop,
  parsePause,
  parseResume,
  parseRetry,
  pauseFields,
  retryFields,
  type Summary,
} from '../../callbacks/index.ts';
import {
  actorOf,
  type CallbacksOptions,
  given,
  readOrFail,
  table,
  toJson,
  withApp,
  withCallbacks,
  withFilter,
} from './callbacks-store.ts';
import { CliError } from './cli-error.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';

/** Times a thousand events that one `retry` has tried. */
const maxRounds = 100;

/** `qalgate callbacks drop` */
export function callbacksDropCommand(context: CliContext): Command {
  return withFilter(withApp(new Command('drop')))
    .description(
      'Give events up for good: those that wait are not told any more, dead letters are removed. The next callback of the same ' +
        'conversation or account names those that waited in its field qalgate-gap.',
    )
    .argument('[event...]', 'numbers of events, or their webhook-ids; instead of options that choose some')
    .addOption(new Option('--state <state>', 'what is dropped; needed without numbers').choices(['waiting', 'dead']))
    .option('--all', 'everything of the app in that state')
    .option('-y, --yes', 'really')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks drop 17 18 --app 1400000000 --yes
  $ qalgate callbacks drop --app 1400000000 --state dead --until 7d --yes
  $ qalgate callbacks drop --app 1400000000 --state waiting --command State.StateChange --yes
  $ qalgate callbacks drop --app 1400000000 --state waiting --group club --yes`,
    )
    .action(async (events: string[], options: CallbacksOptions & { yes?: true }) => {
      const fields = { ...given(options, dropFields), ...(events.length === 0 ? {} : { ids: events }) };
      const order = readOrFail(parseDrop(fields, Date.now()));
      if (!options.yes) {
        throw new CliError(exitCodes.usage, 'what is dropped is never told; repeat with --yes to do it');
      }
      await withCallbacks(context, options, async ({ admin, app, audit }) => {
        const total = { waiting: 0, dead: 0 };
        await audit('drop', fields, async () => {
          for (let isAll = false; !isAll; ) {
            const dropped = await admin.drop(app, order, actorOf(context));
            total.waiting += dropped.waiting;
            total.dead += dropped.dead;
            isAll = dropped.isAll;
          }
        });
        context.print(
          options.json
            ? toJson({ dropped: total })
            : `dropped: ${total.waiting} that waited, ${total.dead} dead letters`,
        );
      });
    });
}

/** `qalgate callbacks retry` */
export function callbacksRetryCommand(context: CliContext): Command {
  return withFilter(withApp(new Command('retry')))
    .description(
      'Have events that wait for their next attempt tried now, when their backend has been mended, for instance.',
    )
    .argument('[event...]', 'numbers of events, or their webhook-ids; instead of options that choose some')
    .option('--all', 'all of the app')
    .addHelpText('after', '\nExample:\n  $ qalgate callbacks retry --app 1400000000 --all')
    .action(async (events: string[], options: CallbacksOptions) => {
      const fields = { ...given(options, retryFields), ...(events.length === 0 ? {} : { ids: events }) };
      const selection = readOrFail(parseRetry(fields, Date.now()));
      await withCallbacks(context, options, async ({ admin, app, audit }) => {
        let total = 0;
        await audit('retry', fields, async () => {
          // Those that fail again meanwhile would keep it going for ever.
          for (let round = 0; round < maxRounds; round++) {
            const { retried, isAll } = await admin.retry(app, selection);
            total += retried;
            if (isAll) break;
          }
        });
        context.print(
          options.json
            ? toJson({ retried: total })
            : `${total} do not wait for their time any more; an endpoint that seems dead gets one of them now, and all when it answers`,
        );
      });
    });
}

function withWhat(command: Command): Command {
  return withApp(command)
    .option('--command <command>', 'only this callback command')
    .addOption(new Option('--url <url>', 'only what goes to this URL').conflicts('urlHash'))
    .option('--url-hash <hash>', 'the same, by the eight digits that `qalgate callbacks status` shows');
}

/** `qalgate callbacks pause` */
export function callbacksPauseCommand(context: CliContext): Command {
  return withWhat(new Command('pause'))
    .description(
      'Hold callbacks back until they are resumed: after-callbacks wait, in order; before-callbacks are not asked, and the action ' +
        'goes on. All of an app, or of a command, a URL, or both.',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks pause --app 1400000000
  $ qalgate callbacks pause --app 1400000000 --command State.StateChange`,
    )
    .action(async (options: CallbacksOptions) => {
      await withCallbacks(context, options, async ({ admin, app, audit }) => {
        const fields = given(options, pauseFields);
        const order = readOrFail(parsePause(fields, app, Date.now()));
        const pauses = await audit('pause', fields, () => admin.pause(app, order, actorOf(context)));
        context.print(options.json ? toJson({ pauses }) : formatPauses(pauses));
      });
    });
}

/** `qalgate callbacks resume` */
export function callbacksResumeCommand(context: CliContext): Command {
  return withWhat(new Command('resume'))
    .description('End a pause, also that of a backend which answered 410. Without options all pauses of the app.')
    .addHelpText('after', '\nExample:\n  $ qalgate callbacks resume --app 1400000000')
    .action(async (options: CallbacksOptions) => {
      const fields = given(options, pauseFields);
      const order = readOrFail(parseResume(fields, Date.now()));
      await withCallbacks(context, options, async ({ admin, app, audit }) => {
        const { resumed, pauses } = await audit('resume', fields, () => admin.resume(app, order));
        const count =
          resumed === 0 ? 'no pause was exactly that' : `${resumed === 1 ? '1 pause' : `${resumed} pauses`} ended`;
        const text = pauses.length === 0 && resumed === 0 ? 'nothing was paused' : count;
        context.print(
          options.json
            ? toJson({ resumed, pauses })
            : [text, ...(pauses.length === 0 ? [] : [`still ${formatPauses(pauses)}`])].join('\n'),
        );
      });
    });
}

/** `qalgate callbacks status` */
export function callbacksStatusCommand(context: CliContext): Command {
  return withApp(new Command('status'))
    .description(
      "How it stands with an app's callbacks: endpoints, keys and their last use, what waits, dead letters, pauses.",
    )
    .addHelpText('after', '\nExample:\n  $ qalgate callbacks status --app 1400000000')
    .action(async (options: CallbacksOptions) => {
      await withCallbacks(context, options, async ({ admin, app }) => {
        const summary = await admin.summary(app);
        context.print(options.json ? toJson(summary) : formatSummary(summary));
      });
    });
}

/** Pure. */
export function formatSummary(summary: Summary): string {
  const { endpoints, keys, waiting, deadLetters, pauses, relay, replaysRunning } = summary;
  const urls = endpoints.map(({ urlHash, url, commands }) => [urlHash, url, `${commands.length} commands`]);
  const fingerprints = keys.map(({ fingerprint, isCurrent, lastUsedAt }) => [
    fingerprint,
    isCurrent ? 'signs' : 'no more in use',
    lastUsedAt === null ? 'never used' : `last used ${lastUsedAt}`,
  ]);
  const counts = waiting.map(({ command, count, oldestAt }) => [String(count), command, `since ${oldestAt}`]);
  const part = (title: string, rows: string[][], none: string) =>
    rows.length === 0 ? `${title}: ${none}` : `${title}:\n${table(rows).replace(/^/gm, '  ')}`;
  const seen = relay.seenAt === null ? '' : `, the last was there until ${relay.seenAt}`;
  const newest = deadLetters.newestAt === null ? '' : `, the newest of ${deadLetters.newestAt}`;
  return [
    part('endpoints', urls, 'none'),
    part('keys', fingerprints, 'none'),
    part('waiting', counts, 'nothing'),
    `dead letters: ${deadLetters.count}${newest}`,
    formatPauses(pauses),
    `replays running: ${replaysRunning}`,
    `sent by a running process: ${relay.isRunning ? 'yes' : `no${seen}`}`,
  ].join('\n');
}

function formatPauses(pauses: Summary['pauses']): string {
  if (pauses.length === 0) return 'paused: nothing';
  const rows = pauses.map(({ command, urlHash, reason, actor, since }) => [
    [command ?? 'all', ...(urlHash === null ? [] : [`to ${urlHash}`])].join(' '),
    reason === 'gone' ? 'the backend answered 410' : `by ${actor}`,
    `since ${since}`,
  ]);
  return `paused:\n${table(rows).replace(/^/gm, '  ')}`;
}
