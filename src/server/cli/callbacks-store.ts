import { type Command, Option } from 'commander';
import { type CallbackAdmin, createAdmin, createPauses, refusalOfTooMuch } from '../../callbacks/index.ts';
import { auditTarget, changeText } from '../../observe/index.ts';
import type { AppSettings, Refusal, Result } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { audited } from '../command-audit.ts';
import { parseAppNumber } from './arguments.ts';
import { appOf } from './callbacks-test.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { type CommandStore, withStore } from './open-store.ts';
import { printable } from './printable.ts';

/** What the commands that look into callbacks, and change what waits, have in common. */

export interface CallbacksOptions extends ConfigOption {
  app: SdkAppId;
  json?: true;
}

export function withApp(command: Command): Command {
  return withConfig(command)
    .requiredOption('-a, --app <number>', 'the app', parseAppNumber)
    .option('--json', 'answer in JSON');
}

/** Options that say which events are meant, and when they happened. */
export function withFilter(command: Command): Command {
  return command
    .option('--command <command>', 'a callback command, such as C2C.CallbackAfterSendMsg')
    .option('--account <account>', 'of whom it is')
    .addOption(new Option('--from <account>', 'with --to: of this conversation').conflicts('account'))
    .addOption(new Option('--to <account>', 'the other account of the conversation').conflicts('account'))
    .addOption(new Option('--group <group>', 'of a group').conflicts(['account', 'from', 'key']))
    .option('--since <time>', 'what happened since then: 2026-11-26, 2026-11-26T10:00:00Z, or how long ago, such as 2h')
    .option('--until <time>', 'and until then');
}

export function withPage(command: Command): Command {
  return command
    .option('--limit <number>', 'so many at most (default: 50)')
    .option('--after <cursor>', 'the page after that one, as its `next` says');
}

/** Of the options those with that name, by which the service calls them. */
export function given(options: object, names: readonly string[]): Record<string, unknown> {
  const values = new Map<string, unknown>(Object.entries(options));
  return Object.fromEntries(names.filter((name) => values.has(name)).map((name) => [name, values.get(name)]));
}

/** The value, or the end of the command with what is wrong with which option. @param argument what ids are called on the command line */
export function readOrFail<T>(read: Result<T>, argument?: string): T {
  if (read.ok) return read.value;
  throw new CliError(exitCodes.usage, textOf(read, argument));
}

function textOf({ field, reason, allowed }: Refusal, argument = '<event>'): string {
  const where = field === undefined ? '' : `${optionOf(field, argument)}: `;
  return `${where}${reason}${allowed === undefined ? '' : `; allowed: ${allowed}`}`;
}

function optionOf(field: string, argument: string): string {
  if (field.startsWith('ids')) return argument;
  return `--${field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A refusal of what was asked for rightly. */
export function doneOrFail<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  const { reason, allowed } = result;
  throw new CliError(exitCodes.failed, `${reason}${allowed === undefined ? '' : `; possible: ${allowed}`}`);
}

/** Who did it, for pauses, replays and dropped events. */
export function actorOf({ env }: CliContext): string {
  const user = env.SUDO_USER ?? env.USER ?? env.LOGNAME;
  return user === undefined || user === '' ? 'cli' : `cli (${user.slice(0, 40)})`;
}

/** Makes a change of an app and has the audit log of the service say so: `drop`, with what it was called with. */
export type Auditor = <T>(change: string, fields: object, act: () => Promise<T>) => Promise<T>;

/** `command`: that of the ops API which does the same. */
export function createAuditor(
  context: CliContext,
  { bus }: Pick<CommandStore, 'bus'>,
  { sdkAppId }: Pick<AppSettings, 'sdkAppId'>,
  command: 'ops.callback.write' | 'ops.push.write',
): Auditor {
  return (change, fields, act) =>
    audited(
      bus,
      { actor: actorOf(context), command, target: auditTarget([sdkAppId, changeText(change, fields)]) },
      act,
    );
}

/** Opens the database for a command and closes it again. `isAlone`: no service runs on it. */
export async function withCallbacks(
  context: CliContext,
  options: CallbacksOptions,
  work: (callbacks: { admin: CallbackAdmin; app: AppSettings; audit: Auditor; isAlone: boolean }) => Promise<void>,
): Promise<void> {
  const loaded = loadOrFail(context, options);
  await withStore(context, loaded, options, async (store) => {
    const { db, bus, logger, metrics } = store;
    const app = await appOf(loaded, store, options.app);
    const pauses = await createPauses({ db, control: bus, clock: Date.now, logger, metrics });
    try {
      const admin = createAdmin({ db, control: bus, pauses, clock: Date.now, logger });
      const audit = createAuditor(context, store, app, 'ops.callback.write');
      await work({ admin, app, audit, isAlone: db.kind === 'embedded' });
    } catch (error) {
      const tooMuch = refusalOfTooMuch(error);
      throw tooMuch === undefined ? error : new CliError(exitCodes.failed, textOf(tooMuch));
    } finally {
      await pauses.close();
    }
  });
}

/** What backends answered is among it: nothing that acts on a terminal stays, and JSON it is all the same. */
export function toJson(value: unknown): string {
  return printable(JSON.stringify(value, undefined, 2));
}

export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
