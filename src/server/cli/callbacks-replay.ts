import { Command, Option } from 'commander';
import { parseReplay, type ReplayAnswer, type ReplayView, replayFields } from '../../callbacks/index.ts';
import {
  actorOf,
  type CallbacksOptions,
  doneOrFail,
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
import { printable } from './printable.ts';

interface ReplayOptions extends CallbacksOptions {
  dryRun?: true;
}

/** `qalgate callbacks replay` */
export function callbacksReplayCommand(context: CliContext): Command {
  return withFilter(withApp(new Command('replay')))
    .description(
      'Send events again: dead letters, or with --source outbox events that were told. The service puts them behind what waits, at ' +
        'the rate given, each under the webhook-id that it had, with the field qalgate-replay.',
    )
    .argument('[event...]', 'numbers of events, or their webhook-ids; instead of options that choose some')
    .addOption(new Option('--source <source>', 'what is sent again (default: dead)').choices(['dead', 'outbox']))
    .addOption(
      new Option('--state <state>', 'of the source outbox: what became of them (default: delivered)').choices([
        'delivered',
        'dropped',
        'superseded',
      ]),
    )
    .option('--all', 'all dead letters of the app')
    .option('--per-sec <number>', 'so many a second, 1 to 1000 (default: 50)')
    .option('--dry-run', 'only say how many it would be')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks replay 17 --app 1400000000
  $ qalgate callbacks replay --app 1400000000 --all --dry-run
  $ qalgate callbacks replay --app 1400000000 --command C2C.CallbackAfterSendMsg --since 2026-11-26 --per-sec 200
  $ qalgate callbacks replay --app 1400000000 --source outbox --since 3h --until 2h`,
    )
    .action(async (events: string[], options: ReplayOptions) => {
      const fields = {
        ...given(options, replayFields),
        ...(events.length === 0 ? {} : { ids: events }),
        ...(options.dryRun ? { preview: true } : {}),
      };
      const order = readOrFail(parseReplay(fields, Date.now()));
      await withCallbacks(context, options, async ({ admin, app, audit, isAlone }) => {
        const answer = await audit('replays', fields, async () =>
          doneOrFail(await admin.replay(app, order, actorOf(context))),
        );
        context.print(options.json ? toJson(answer) : formatAnswer(answer));
        if (isAlone && answer.replays.length > 0) {
          context.warn('no qalgate serves from this data folder: they are sent when one does');
        }
      });
    });
}

/** `qalgate callbacks replays` */
export function callbacksReplaysCommand(context: CliContext): Command {
  return withApp(new Command('replays'))
    .description('List what was and is being sent again, the newest first.')
    .addHelpText('after', '\nExample:\n  $ qalgate callbacks replays --app 1400000000')
    .action(async (options: CallbacksOptions) => {
      await withCallbacks(context, options, async ({ admin, app }) => {
        const replays = await admin.replays(app);
        context.print(options.json ? toJson(replays) : formatReplays(replays));
      });
    });
}

/** `qalgate callbacks cancel` */
export function callbacksCancelCommand(context: CliContext): Command {
  return withApp(new Command('cancel'))
    .description('End a replay before it is done; what it has put behind what waits is sent all the same.')
    .argument('<replay>', 'number of the replay')
    .addHelpText('after', '\nExample:\n  $ qalgate callbacks cancel 3 --app 1400000000')
    .action(async (name: string, options: CallbacksOptions) => {
      const id = /^[1-9][0-9]{0,15}$/.test(name) ? Number(name) : 0;
      if (!Number.isSafeInteger(id) || id === 0) {
        throw new CliError(
          exitCodes.usage,
          '<replay>: is no number of a replay; `qalgate callbacks replays` lists them',
        );
      }
      await withCallbacks(context, options, async ({ admin, app, audit }) => {
        await audit(`replays/${id}/cancel`, {}, async () => doneOrFail(await admin.cancel(app, id)));
        context.print(options.json ? toJson({ cancelled: id }) : `replay ${id} is cancelled`);
      });
    });
}

/** Pure. */
export function formatAnswer({ total, byCommand, oldestAt, newestAt, replays }: ReplayAnswer): string {
  const counts = Object.entries(byCommand).map(([command, count]) => `  ${count}  ${command}`);
  const span = oldestAt === null ? '' : `, from ${oldestAt} to ${newestAt}`;
  const lines = [`${total === 1 ? '1 event' : `${total} events`}${span}`, ...counts];
  for (const { id, perSec } of replays) lines.push(`replay ${id} is running, ${perSec} a second`);
  return lines.join('\n');
}

export function formatReplays(replays: readonly ReplayView[]): string {
  if (replays.length === 0) return 'nothing was sent again yet';
  const rows = replays.map(({ id, state, done, total, perSec, source, filter, actor, createdAt }) => [
    String(id),
    createdAt,
    state,
    `${done} of ${total}`,
    String(perSec),
    source,
    Object.entries(filter)
      .map(([name, value]) => `${name} ${Array.isArray(value) ? value.slice(0, 3).join(', ') : value}`)
      .join('; '),
    actor,
  ]);
  return printable(table([['REPLAY', 'BEGUN', 'STATE', 'DONE', 'A SECOND', 'SOURCE', 'WHICH', 'BY'], ...rows]));
}
