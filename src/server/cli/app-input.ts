import { randomBytes } from 'node:crypto';
import type { TSchema } from 'typebox';
import {
  ApnsSchema,
  AppSchema,
  type AppSettings,
  CallbacksSchema,
  FcmSchema,
  SecretsSchema,
} from '../../store/index.ts';
import {
  checkValue,
  formatPath,
  formatProblem,
  parseYaml,
  readSecretFile,
  readYamlFile,
  type YamlFile,
} from '../config/index.ts';
import { CliError } from './cli-error.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';

/** What `qalgate app create|set` can say of an app. */
export interface AppOptions {
  name?: string;
  secret?: string;
  secretFile?: string;
  sessions?: string;
  sendImei?: boolean;
  route?: RouteOption[];
  callbackUrl?: string;
  callbackSecret?: string;
  callbackSecretFile?: string;
  callbackEvents?: string;
  callbackPrivateNetwork?: boolean;
  apnsKeyFile?: string;
  apnsKeyId?: string;
  apnsTeamId?: string;
  apnsTopic?: string;
  fcmServiceAccountFile?: string;
  file?: string;
}

export interface RouteOption {
  host: string;
  prefix: string;
  upstream: string[];
}

/** A secret as the vendor's console makes them: 64 hexadecimal digits. */
export function generateSecret(): string {
  return randomBytes(32).toString('hex');
}

/** A key that signs callbacks, as Standard Webhooks has them. */
export function generateCallbackSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

/** `api.example.com/v1=http://10.0.0.1:9000,http://10.0.0.2:9000`; without host `*`, without path `/`. Pure. */
export function parseRouteOption(text: string): RouteOption | undefined {
  const match = /^([^/=,]*)(\/.*?)?=(https?:\/\/.+)$/.exec(text);
  if (match === null) return undefined;
  const [, host = '', prefix, upstream = ''] = match;
  return {
    host: host === '' ? '*' : host,
    prefix: prefix ?? '/',
    upstream: upstream.split(',').map((origin) => origin.trim()),
  };
}

/**
 * Reads what the file (`-`: standard input) and the options say of an app; options win. The result is a merge patch
 * (RFC 7396): what it does not name stays, `null` removes, lists are replaced.
 */
export async function readAppPatch(
  context: CliContext,
  options: AppOptions,
): Promise<{ patch: object; file?: YamlFile }> {
  const file = options.file === undefined ? undefined : await readFile(context, options.file);
  const access = {
    ...(options.sessions === undefined ? {} : { sessions: options.sessions }),
    ...(options.sendImei === undefined ? {} : { sendImei: options.sendImei }),
    ...(options.route === undefined ? {} : { routes: options.route }),
  };
  const secret = secretOf(options.secret, options.secretFile, '--secret-file', SecretsSchema);
  const callbacks = callbacksOf(options);
  const push = pushOf(options);
  const given = {
    ...(options.name === undefined ? {} : { name: options.name === '' ? null : options.name }),
    ...(secret === undefined ? {} : { secret }),
    ...(Object.keys(access).length === 0 ? {} : { access }),
    ...(Object.keys(callbacks).length === 0 ? {} : { callbacks }),
    ...(Object.keys(push).length === 0 ? {} : { push }),
  };
  const patch = mergePatch(file?.value ?? {}, given, 'keep') as object;
  return file === undefined ? { patch } : { patch, file };
}

async function readFile(context: CliContext, name: string): Promise<YamlFile> {
  const read = name === '-' ? parseYaml(await context.readInput(), 'standard input') : readYamlFile(name);
  if (read.ok) return read.value;
  throw new CliError(exitCodes.usage, read.problems.map(formatProblem).join('\n'));
}

function callbacksOf(options: AppOptions): object {
  const { callbackUrl: url, callbackEvents: events, callbackPrivateNetwork: allowPrivateNetwork } = options;
  const secret = secretOf(
    options.callbackSecret,
    options.callbackSecretFile,
    '--callback-secret-file',
    CallbacksSchema.properties.secret,
  );
  return {
    ...(url === undefined ? {} : { url: url === '' ? null : url }),
    ...(secret === undefined ? {} : { secret }),
    ...(events === undefined ? {} : { events: events === 'all' ? 'all' : listOf(events) }),
    ...(allowPrivateNetwork === undefined ? {} : { allowPrivateNetwork }),
  };
}

/** The credentials of the services that push. */
function pushOf(options: AppOptions): object {
  const { apnsKeyFile, apnsKeyId: keyId, apnsTeamId: teamId, apnsTopic: topic, fcmServiceAccountFile } = options;
  const key = secretOf(undefined, apnsKeyFile, '--apns-key-file', ApnsSchema.properties.key);
  const account = secretOf(
    undefined,
    fcmServiceAccountFile,
    '--fcm-service-account-file',
    FcmSchema.properties.serviceAccount,
  );
  const apns = {
    // A key takes the place of a certificate.
    ...(key === undefined ? {} : { key, certificate: null, certificateKey: null }),
    ...(keyId === undefined ? {} : { keyId }),
    ...(teamId === undefined ? {} : { teamId }),
    ...(topic === undefined ? {} : { topic }),
  };
  return {
    ...(Object.keys(apns).length === 0 ? {} : { apns }),
    ...(account === undefined ? {} : { fcm: { serviceAccount: account } }),
  };
}

const listOf = (text: string): string[] =>
  text
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');

function secretOf(given: string | undefined, file: string | undefined, option: string, schema: TSchema): unknown {
  if (file === undefined) return given;
  const read = readSecretFile(file, schema);
  if (read.ok) return read.value;
  throw new CliError(exitCodes.usage, `${option}: ${file} ${read.reason}`);
}

/** Applies a merge patch (RFC 7396). `nulls`: whether `null` removes a field, or is kept for a later merge. Pure. */
export function mergePatch(target: unknown, patch: unknown, nulls: 'remove' | 'keep' = 'remove'): unknown {
  if (!isMap(patch)) return patch;
  const result = new Map(Object.entries(isMap(target) ? target : {}));
  for (const [name, value] of Object.entries(patch)) {
    if (value === null && nulls === 'remove') result.delete(name);
    else result.set(name, mergePatch(result.get(name), value, nulls));
  }
  return Object.fromEntries(result);
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The app that the input describes, defaults filled; or ends the command with all that is wrong. */
export function parseApp(input: unknown, file?: YamlFile): AppSettings {
  const { value, findings } = checkValue(AppSchema, input);
  if (findings.length === 0) return value as AppSettings;
  const lines = findings.map(({ path, ...finding }) => {
    const position = file?.has(path) ? file.locate(path) : undefined;
    const at = position === undefined ? {} : { at: `${file?.name}:${position.line}:${position.column}` };
    return formatProblem({ path: formatPath(path), ...finding, ...at });
  });
  throw new CliError(exitCodes.usage, `the app is not valid:\n  ${lines.join('\n  ')}`);
}
