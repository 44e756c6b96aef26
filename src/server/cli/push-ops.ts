import { Command, Option } from 'commander';
import {
  createPauses,
  createPushAdmin,
  dropFields,
  orderFields,
  type PushAdmin,
  type PushSummary,
  type PushView,
  parseChannel,
  parseDrop,
  parseOrder,
  parseQuery,
  pauseFields,
  pushStates,
  queryFields,
} from '../../push/index.ts';
import type { AppSettings } from '../../store/index.ts';
import {
  type Auditor,
  actorOf,
  type CallbacksOptions,
  createAuditor,
  given,
  readOrFail,
  table,
  toJson,
  withApp,
} from './callbacks-store.ts';
import { appOf } from './callbacks-test.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, loadOrFail } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { withStore } from './open-store.ts';
import { printable } from './printable.ts';

/** `qalgate push status|list|devices|retry|drop|pause|resume`: what operators see and do of pushes. */

type Options = CallbacksOptions & { yes?: true };

const channelOption = () => new Option('--channel <service>', 'only what goes through it').choices(['apns', 'fcm']);

async function withPushes(
  context: CliContext,
  options: Options,
  work: (pushes: { admin: PushAdmin; app: AppSettings; audit: Auditor }) => Promise<void>,
): Promise<void> {
  const loaded = loadOrFail(context, options);
  await withStore(context, loaded, options, async (store) => {
    const { db } = store;
    const app = await appOf(loaded, store, options.app);
    const pauses = createPauses({ db, clock: Date.now });
    // Whoever sends looks every second.
    const admin = createPushAdmin({ db, pauses, wake() {}, clock: Date.now });
    await work({ admin, app, audit: createAuditor(context, store, app, 'ops.push.write') });
  });
}

export function pushStatusCommand(context: CliContext): Command {
  return withApp(new Command('status'))
    .description(
      "How it stands with an app's pushes: devices, what waits, what became of those of the last hour, pauses.",
    )
    .addHelpText('after', '\nExample:\n  $ qalgate push status --app 1400000000')
    .action(async (options: Options) => {
      await withPushes(context, options, async ({ admin, app }) => {
        const summary = await admin.summary(app);
        context.print(options.json ? toJson(summary) : printable(formatSummary(summary)));
      });
    });
}

export function pushListCommand(context: CliContext): Command {
  return withApp(new Command('list'))
    .description('Pushes, the newest first, each with what became of it and why, also those that were not to be.')
    .addOption(new Option('--state <state>', 'only those').choices(pushStates))
    .option('--account <account>', 'who gets it')
    .option('--key <key>', 'with --account: of the message with this MsgKey')
    .option('--group <group>', 'with --seq: of a message of this group')
    .option('--seq <number>', 'its seq in the group')
    .option('--campaign <number>', 'of a push to many')
    .option('--limit <number>', 'so many at most (default: 50)')
    .option('--before <number>', 'the page after that one, as its `next` says')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate push list --app 1400000000 --account bob
  $ qalgate push list --app 1400000000 --account bob --key 20481_771231_1543500000
  $ qalgate push list --app 1400000000 --state dead`,
    )
    .action(async (options: Options) => {
      const query = readOrFail(parseQuery(given(options, queryFields)));
      await withPushes(context, options, async ({ admin, app }) => {
        const { pushes, notes, next } = await admin.list(app, query);
        if (options.json) return context.print(toJson({ pushes, notes, next: next ?? null }));
        const lines = [...(pushes.length === 0 ? [] : [table(pushes.map(lineOf))]), ...notes];
        context.print(lines.length === 0 ? 'no pushes' : printable(lines.join('\n')));
        if (next !== undefined) context.print(`more: --before ${next}`);
      });
    });
}

export function pushDevicesCommand(context: CliContext): Command {
  return withApp(new Command('devices'))
    .description('Where an account is reached while it is not there: its tokens, shortened, and how its terminals are.')
    .argument('<account>', 'whose')
    .addHelpText('after', '\nExample:\n  $ qalgate push devices bob --app 1400000000')
    .action(async (account: string, options: Options) => {
      await withPushes(context, options, async ({ admin, app }) => {
        const devices = await admin.devices(app, account);
        if (devices === undefined) throw new CliError(exitCodes.failed, `the app has no account ${printable(account)}`);
        if (options.json) return context.print(toJson({ devices }));
        const rows = devices.map(({ platform, channel, token, environment, badge, terminal, lastThereAt }) => [
          platform,
          channel,
          token,
          environment,
          `badge ${badge}`,
          terminal,
          lastThereAt === null ? '' : `last there ${lastThereAt}`,
        ]);
        context.print(rows.length === 0 ? 'no terminal of it has set a token' : printable(table(rows)));
      });
    });
}

export function pushRetryCommand(context: CliContext): Command {
  return withApp(new Command('retry'))
    .description('Send again what was given up, with a new deadline.')
    .argument('[push...]', 'numbers of pushes; instead of options that choose some')
    .addOption(channelOption())
    .option('--campaign <number>', 'of a push to many')
    .option('--all', 'all of the app')
    .addHelpText('after', '\nExample:\n  $ qalgate push retry --app 1400000000 --all')
    .action(async (ids: string[], options: Options) => {
      const fields = { ...given(options, orderFields), ...(ids.length === 0 ? {} : { ids }) };
      const order = readOrFail(parseOrder(fields), '<push>');
      await withPushes(context, options, async ({ admin, app, audit }) => {
        let total = 0;
        await audit('retry', fields, async () => {
          for (let isAll = false; !isAll; ) {
            const answer = await admin.retry(app, order);
            total += answer.retried;
            isAll = answer.isAll;
          }
        });
        context.print(options.json ? toJson({ retried: total }) : `${total} are sent again`);
      });
    });
}

export function pushDropCommand(context: CliContext): Command {
  return withApp(new Command('drop'))
    .description(
      'Give pushes up for good: those that wait are not sent any more, those that were given up cannot be sent again.',
    )
    .argument('[push...]', 'numbers of pushes; instead of options that choose some')
    .addOption(new Option('--state <state>', 'which').choices(['waiting', 'dead']).makeOptionMandatory())
    .addOption(channelOption())
    .option('--campaign <number>', 'of a push to many')
    .option('--all', 'everything of the app in that state')
    .option('-y, --yes', 'really')
    .addHelpText('after', '\nExample:\n  $ qalgate push drop --app 1400000000 --state waiting --campaign 7 --yes')
    .action(async (ids: string[], options: Options) => {
      const fields = { ...given(options, dropFields), ...(ids.length === 0 ? {} : { ids }) };
      const order = readOrFail(parseDrop(fields), '<push>');
      if (!options.yes) {
        throw new CliError(exitCodes.usage, 'what is dropped never rings; repeat with --yes to do it');
      }
      await withPushes(context, options, async ({ admin, app, audit }) => {
        let total = 0;
        await audit('drop', fields, async () => {
          for (let isAll = false; !isAll; ) {
            const answer = await admin.drop(app, order);
            total += answer.dropped;
            isAll = answer.isAll;
          }
        });
        context.print(options.json ? toJson({ dropped: total }) : `${total} dropped`);
      });
    });
}

export function pushPauseCommand(context: CliContext): Command {
  return withApp(new Command('pause'))
    .description('Hold pushes back until they are resumed. They wait meanwhile, and may expire.')
    .addOption(channelOption())
    .addHelpText('after', '\nExample:\n  $ qalgate push pause --app 1400000000 --channel apns')
    .action(async (options: Options) => {
      const fields = given(options, pauseFields);
      const channel = readOrFail(parseChannel(fields));
      await withPushes(context, options, async ({ admin, app, audit }) => {
        const pauses = await audit('pause', fields, () => admin.pause(app, channel, actorOf(context)));
        context.print(options.json ? toJson({ pauses }) : formatPauses(pauses));
      });
    });
}

export function pushResumeCommand(context: CliContext): Command {
  return withApp(new Command('resume'))
    .description('End a pause, also one that a service has asked for. Without a service all pauses of the app.')
    .addOption(channelOption())
    .addHelpText('after', '\nExample:\n  $ qalgate push resume --app 1400000000')
    .action(async (options: Options) => {
      const fields = given(options, pauseFields);
      const channel = readOrFail(parseChannel(fields));
      await withPushes(context, options, async ({ admin, app, audit }) => {
        const { resumed, pauses } = await audit('resume', fields, () => admin.resume(app, channel));
        const count = resumed === 0 ? 'nothing was paused' : `${resumed === 1 ? '1 pause' : `${resumed} pauses`} ended`;
        const text = pauses.length === 0 ? count : `${count}\nstill ${formatPauses(pauses)}`;
        context.print(options.json ? toJson({ resumed, pauses }) : text);
      });
    });
}

function lineOf({ id, at, account, platform, kind, from, group, why }: PushView): string[] {
  const what = kind === 'badge' ? 'badge' : `from ${from ?? '?'}${group === null ? '' : ` in ${group}`}`;
  return [String(id), at, account === null ? '' : `${account} ${platform ?? ''}`.trim(), what, why];
}

/** Pure. */
export function formatSummary({ services, devices, waiting, lastHour, dead, pauses }: PushSummary): string {
  const part = (title: string, rows: string[][], none: string) =>
    rows.length === 0 ? `${title}: ${none}` : `${title}:\n${table(rows).replace(/^/gm, '  ')}`;
  return [
    `services: ${services.length === 0 ? 'none; set push.apns or push.fcm' : services.join(', ')}`,
    part(
      'devices',
      devices.map((one) => [one.channel, String(one.devices)]),
      'none',
    ),
    part(
      'waiting',
      waiting.map(({ channel, campaigns, pushes, oldestAt }) => [
        channel,
        String(pushes),
        campaigns ? 'of campaigns' : 'of messages',
        `since ${oldestAt}`,
      ]),
      'nothing',
    ),
    part(
      'within the last hour',
      lastHour.map(({ outcome, reason, pushes }) => [String(pushes), outcome, reason ?? '']),
      'none',
    ),
    `given up: ${dead}`,
    formatPauses(pauses),
  ].join('\n');
}

function formatPauses(pauses: PushSummary['pauses']): string {
  if (pauses.length === 0) return 'paused: nothing';
  const rows = pauses.map(({ channel, reason, actor, since }) => [
    channel ?? 'all',
    actor === 'service' ? `its service said ${reason}` : `by ${actor}`,
    `since ${since}`,
  ]);
  return printable(`paused:\n${table(rows).replace(/^/gm, '  ')}`);
}
