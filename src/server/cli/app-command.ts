import { Command, InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import { keyFingerprint } from '../../callbacks/index.ts';
import {
  AppSchema,
  type AppSettings,
  appSecrets,
  callbackSecrets,
  type Refusal,
  type Result,
  type StoredApp,
} from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { checkRelations, checkValue, formatPath, localHosts, redact } from '../config/index.ts';
import {
  type AppOptions,
  generateCallbackSecret,
  generateSecret,
  mergePatch,
  parseApp,
  parseRouteOption,
  type RouteOption,
  readAppPatch,
} from './app-input.ts';
import { parseAppNumber } from './arguments.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, type Loaded, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { hasDatabase, unknownApp, withNewStore, withStore } from './open-store.ts';

interface OutputOptions extends ConfigOption {
  json?: true;
  showSecret?: true;
  /** The secret, or the key for callbacks, was made just now: it is shown, whatever else is not. */
  showMadeSecret?: true;
  showCallbackSecret?: true;
}

const secretNote = 'The secret was made just now; from here on it is shown only with --show-secret.';
const callbackSecretNote =
  'The key that signs callbacks (callbacks.secret) was made just now; from here on it is shown only with --show-secret.';

/** Generated numbers start where the vendor's do, behind that of the demo app, which `--demo` would put in its place. */
const firstGeneratedId = 1_400_000_001;

export function appCommand(context: CliContext): Command {
  const command = new Command('app').description(
    'Manage apps in the database. Apps of the configuration file are changed there; here they are only shown.',
  );
  command.addCommand(listCommand(context));
  command.addCommand(showCommand(context));
  command.addCommand(createCommand(context));
  command.addCommand(setCommand(context));
  command.addCommand(deleteCommand(context));
  return command;
}

function withOutput(command: Command): Command {
  return withConfig(command).option('--json', 'answer in JSON').option('--show-secret', 'show the secrets');
}

function listCommand(context: CliContext): Command {
  return withOutput(new Command('list'))
    .description('List all apps, those of the configuration and those of the database.')
    .addHelpText('after', '\nExample:\n  $ qalgate app list --json')
    .action(async (options: OutputOptions) => {
      const apps = await allApps(context, loadOrFail(context, options), options);
      if (options.json)
        context.print(
          JSON.stringify(
            apps.map((app) => toView(app, options)),
            undefined,
            2,
          ),
        );
      else context.print(formatList(apps, options));
    });
}

function showCommand(context: CliContext): Command {
  return withOutput(new Command('show'))
    .description('Show one app.')
    .argument('<app>', 'number of the app', parseAppNumber)
    .addHelpText('after', '\nExample:\n  $ qalgate app show 1400000000 --show-secret')
    .action(async (id: SdkAppId, options: OutputOptions) => {
      const apps = await allApps(context, loadOrFail(context, options), options);
      const app = apps.find(({ settings }) => settings.sdkAppId === id);
      if (app === undefined) throw unknownApp(id);
      printApp(context, app, options);
    });
}

function withSettings(command: Command): Command {
  return withOutput(command)
    .option('-n, --name <name>', 'name for people')
    .option('--secret <secret>', 'UserSig key; visible to others on this machine while the command runs')
    .addOption(new Option('--secret-file <file>', 'file with the UserSig key').conflicts('secret'))
    .addOption(new Option('--sessions <mode>', 'whether requests need a session').choices(['optional', 'required']))
    .option('--send-imei', 'send QAL-IMEI and QAL-IMSI to the backend')
    .option('--no-send-imei', 'do not')
    .option(
      '--route <route>',
      'host/prefix=upstream[,upstream…]; repeat it for several; replaces all routes',
      (text: string, before: RouteOption[] = []) => {
        const route = parseRouteOption(text);
        if (route === undefined) {
          throw new InvalidArgumentError(
            "A route is written host/prefix=upstream, such as '*/api=http://127.0.0.1:9000'.",
          );
        }
        return [...before, route];
      },
    )
    .option('--callback-url <url>', "where callbacks go: a URL of the app's backend; '' for none")
    .option(
      '--callback-secret <key>',
      'key that signs callbacks, whsec_…; visible to others on this machine while the command runs (default: one is made)',
    )
    .addOption(new Option('--callback-secret-file <file>', 'file with that key').conflicts('callbackSecret'))
    .option('--callback-events <list>', 'callbacks that the app gets: commands with commas between, or all')
    .option('--callback-private-network', 'callbacks may reach loopback and private addresses')
    .option('--no-callback-private-network', 'they may not')
    .option('--apns-key-file <file>', 'pushes to iOS: the .p8 file from Apple; a key replaces a certificate')
    .option('--apns-key-id <id>', 'id of that key: 10 characters')
    .option('--apns-team-id <id>', 'id of the team at Apple: 10 characters')
    .option('--apns-topic <bundle>', 'bundle id of the app on iOS')
    .option('--fcm-service-account-file <file>', 'pushes to Android: the JSON file from Google')
    .option('-f, --file <file>', 'settings in YAML or JSON, - for standard input; options win over it');
}

function createCommand(context: CliContext): Command {
  return withSettings(new Command('create'))
    .description('Create an app. A secret that is not given is made, and shown.')
    .option('--id <number>', 'number of the app (default: the next free one)', parseAppNumber)
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate app create --name shop --route '*/=http://127.0.0.1:9000'
  $ qalgate app create --id 1400000001 --file app.yaml
  $ qalgate app create --name chat --callback-url https://api.example.com/im --callback-events all
  $ qalgate app create --name chat --fcm-service-account-file service-account.json
  $ echo '{"access":{"sessions":"required"}}' | qalgate app create --file - --json`,
    )
    .action(async (options: OutputOptions & AppOptions & { id?: SdkAppId }) => {
      const loaded = loadOrFail(context, options);
      const { patch, file } = await readAppPatch(context, options);
      const given = mergePatch({}, options.id === undefined ? patch : { ...patch, sdkAppId: options.id });
      const made = 'secret' in (given as object) ? undefined : generateSecret();
      const key = needsCallbackSecret(given) ? generateCallbackSecret() : undefined;
      await withNewStore(context, loaded, options, async ({ apps }) => {
        const taken = [...(await apps.list()).map(({ settings }) => settings), ...loaded.config.apps];
        const defaults = { sdkAppId: nextFreeId(taken), ...(made === undefined ? {} : { secret: made }) };
        const app = parseApp({ ...defaults, ...withCallbackSecret(given, key) }, file);
        refuseConfigured(loaded, app.sdkAppId);
        checkAgainstConfig(loaded, app);
        orFail(await apps.create(app));
        const stored = await apps.get(app.sdkAppId);
        if (stored !== undefined) printApp(context, stored, { ...options, ...shownOf(made, key) });
      });
      if (made !== undefined) context.warn(secretNote);
      if (key !== undefined) context.warn(callbackSecretNote);
    });
}

function setCommand(context: CliContext): Command {
  return withSettings(new Command('set'))
    .description('Change an app. What is not given stays; lists are replaced; null in a file removes a field.')
    .argument('<app>', 'number of the app', parseAppNumber)
    .option('--rotate-secret', 'make a new secret and keep the present one valid beside it')
    .addOption(
      new Option('--drop-old-secret', 'end the rotation: only the newest secret stays').conflicts('rotateSecret'),
    )
    .option('--rotate-callback-secret', 'make a new key for callbacks; the present one signs beside it')
    .addOption(
      new Option('--drop-old-callback-secret', 'end that rotation: only the newest key signs').conflicts(
        'rotateCallbackSecret',
      ),
    )
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate app set 1400000000 --sessions required
  $ qalgate app set 1400000000 --route 'api.example.com/=http://10.0.0.1:9000,http://10.0.0.2:9000'
  $ qalgate app set 1400000000 --rotate-secret
  $ qalgate app set 1400000000 --drop-old-secret
  $ qalgate app set 1400000000 --callback-events C2C.CallbackAfterSendMsg,State.StateChange
  $ qalgate app set 1400000000 --rotate-callback-secret
  $ qalgate app set 1400000000 --apns-key-file AuthKey_ABC1234567.p8 --apns-key-id ABC1234567 --apns-team-id DEF1234567 \\
      --apns-topic com.example.chat`,
    )
    .action(async (id: SdkAppId, options: OutputOptions & AppOptions & RotationOptions) => {
      const loaded = loadOrFail(context, options);
      const { patch, file } = await readAppPatch(context, options);
      const made = options.rotateSecret ? generateSecret() : undefined;
      let key = options.rotateCallbackSecret ? generateCallbackSecret() : undefined;
      await withStore(context, loaded, options, async ({ apps }) => {
        refuseConfigured(loaded, id);
        const before = await apps.get(id);
        if (before === undefined) throw unknownApp(id);
        const [newest] = appSecrets(before.settings);
        const rotation =
          made !== undefined ? { secret: [made, newest] } : options.dropOldSecret ? { secret: newest } : {};
        const merged = mergePatch(before.settings, { ...patch, ...rotation });
        if (needsCallbackSecret(merged)) key ??= generateCallbackSecret();
        const app = parseApp(withCallbackSecret(merged, key, options), file);
        if (app.sdkAppId !== id)
          throw new CliError(exitCodes.usage, `the file is of app ${app.sdkAppId}, not of app ${id}`);
        checkAgainstConfig(loaded, app);
        // The patch was made from what was read: nobody's change in between is lost.
        orFail(await apps.set(app, { ifUpdatedAt: before.updatedAt }));
        const stored = await apps.get(id);
        if (stored !== undefined) printApp(context, stored, { ...options, ...shownOf(made, key) });
      });
      if (made !== undefined) context.warn(secretNote);
      if (key !== undefined) context.warn(callbackSecretNote);
    });
}

interface RotationOptions {
  rotateSecret?: true;
  dropOldSecret?: true;
  rotateCallbackSecret?: true;
  dropOldCallbackSecret?: true;
}

/** Whether callbacks have a URL, and no key to sign them with. */
function needsCallbackSecret(app: unknown): boolean {
  const { url, secret, commands } = (app as Partial<AppSettings>).callbacks ?? {};
  return secret === undefined && (url !== undefined || (Array.isArray(commands) && commands.some((one) => one?.url)));
}

/** The app with that key as the newest one, beside the one before it; or with the newest alone. */
function withCallbackSecret(
  app: unknown,
  key: string | undefined,
  { dropOldCallbackSecret }: RotationOptions = {},
): object {
  const settings = app as Partial<AppSettings>;
  const callbacks: Partial<AppSettings['callbacks']> = settings.callbacks ?? {};
  const newest = typeof callbacks.secret === 'string' ? callbacks.secret : callbacks.secret?.[0];
  if (dropOldCallbackSecret && newest !== undefined)
    return { ...settings, callbacks: { ...callbacks, secret: newest } };
  if (key === undefined) return settings;
  return { ...settings, callbacks: { ...callbacks, secret: newest === undefined ? key : [key, newest] } };
}

function shownOf(made: string | undefined, key: string | undefined): Partial<OutputOptions> {
  return {
    ...(made === undefined ? {} : { showMadeSecret: true }),
    ...(key === undefined ? {} : { showCallbackSecret: true }),
  };
}

function deleteCommand(context: CliContext): Command {
  return withConfig(new Command('delete'))
    .description('Delete an app: its routes, and all its sessions.')
    .argument('<app>', 'number of the app', parseAppNumber)
    .option('-y, --yes', 'really')
    .addHelpText('after', '\nExample:\n  $ qalgate app delete 1400000001 --yes')
    .action(async (id: SdkAppId, options: ConfigOption & { yes?: true }) => {
      const loaded = loadOrFail(context, options);
      if (!options.yes) {
        throw new CliError(
          exitCodes.usage,
          `deleting app ${id} ends its routes and sessions; repeat with --yes to do it`,
        );
      }
      refuseConfigured(loaded, id);
      await withStore(context, loaded, options, async ({ apps }) => {
        if ((await apps.get(id)) === undefined) throw unknownApp(id);
        orFail(await apps.delete(id));
      });
      context.print(`app ${id} is deleted`);
    });
}

/** Apps of the database and of the configuration at hand, which may not have been applied yet. */
async function allApps(context: CliContext, loaded: Loaded, options: ConfigOption): Promise<ShownApp[]> {
  const made = await hasDatabase(loaded.config);
  const stored: ShownApp[] = made ? await withStore(context, loaded, options, ({ apps }) => apps.list()) : [];
  const byId = new Map(stored.map((app) => [app.settings.sdkAppId, app]));
  for (const settings of loaded.config.apps) {
    byId.set(settings.sdkAppId, { ...byId.get(settings.sdkAppId), settings, origin: 'config' });
  }
  return [...byId.values()].sort((a, b) => a.settings.sdkAppId - b.settings.sdkAppId);
}

type ShownApp = Pick<StoredApp, 'settings' | 'origin'> & Partial<StoredApp>;

function toView({ settings, origin, createdAt, updatedAt }: ShownApp, options: OutputOptions) {
  // The database keeps no order of fields; the schema's is the one that people know.
  const ordered = checkValue(AppSchema, settings).value as AppSettings;
  const shown = options.showSecret ? ordered : (redact(AppSchema, ordered) as AppSettings);
  if (options.showMadeSecret) shown.secret = settings.secret;
  const { secret } = settings.callbacks;
  if (options.showCallbackSecret && secret !== undefined) shown.callbacks = { ...shown.callbacks, secret };
  const keys = callbackSecrets(settings).map(keyFingerprint);
  return {
    origin,
    createdAt,
    updatedAt,
    ...(keys.length === 0 ? {} : { callbackKeys: keys }),
    settings: shown,
  };
}

function printApp(context: CliContext, app: ShownApp, options: OutputOptions): void {
  const view = toView(app, options);
  if (options.json) context.print(JSON.stringify(view, undefined, 2));
  else {
    const where =
      view.origin === 'config' ? 'of the configuration' : `of the database, changed ${view.updatedAt?.toISOString()}`;
    const keys =
      view.callbackKeys === undefined ? '' : `\n# callbacks are signed by ${view.callbackKeys.join(' and ')}`;
    context.print(`# ${where}${keys}\n${stringify(view.settings, { lineWidth: 0 }).trimEnd()}`);
  }
}

function formatList(apps: ShownApp[], { showSecret }: OutputOptions): string {
  if (apps.length === 0) return 'there are no apps: make one with `qalgate app create`';
  const rows = apps.map(({ settings, origin }) => [
    String(settings.sdkAppId),
    settings.name ?? '',
    origin === 'config' ? 'configuration' : 'database',
    settings.access.sessions,
    settings.access.routes.map(({ host, prefix }) => `${host}${prefix}`).join(' '),
    ...(showSecret ? [appSecrets(settings).join(' ')] : []),
  ]);
  const table = [['APP', 'NAME', 'FROM', 'SESSIONS', 'ROUTES', ...(showSecret ? ['SECRET'] : [])], ...rows];
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function nextFreeId(taken: AppSettings[]): SdkAppId {
  const ids = new Set(taken.map(({ sdkAppId }) => sdkAppId));
  let id = firstGeneratedId;
  while (ids.has(id)) id += 1;
  return id;
}

function refuseConfigured({ config, file }: Loaded, id: SdkAppId): void {
  if (!config.apps.some(({ sdkAppId }) => sdkAppId === id)) return;
  throw new CliError(exitCodes.failed, `app ${id} is one of the configuration: change it in ${file ?? 'QALGATE_APPS'}`);
}

/** What the database cannot see: apps of a configuration that is not applied yet, and our own listeners. */
function checkAgainstConfig({ config, settings, file }: Loaded, app: AppSettings): void {
  const findings = checkRelations(
    { listen: settings.listen, im: settings.im, apps: [...config.apps, app] },
    localHosts(),
  );
  const own = findings.filter(({ path }) => path[0] === 'apps' && path[1] === config.apps.length);
  if (own.length === 0) return;
  const reasons = own.map(({ path, reason }) => `${formatPath(path.slice(2))}: ${reason}`);
  throw new CliError(exitCodes.failed, `with the configuration (${file ?? 'QALGATE_APPS'}): ${reasons.join('; ')}`);
}

function orFail(result: Result): void {
  if (!result.ok) throw new CliError(exitCodes.failed, formatRefusal(result));
}

function formatRefusal({ field, reason, allowed }: Refusal): string {
  return `${field === undefined ? '' : `${field}: `}${reason}${allowed === undefined ? '' : `; allowed: ${allowed}`}`;
}
