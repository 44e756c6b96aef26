import { createHash } from 'node:crypto';
import { type AppSettings, callbackSecrets, callbackUrlOf } from '../../store/index.ts';
import { type CallbackCommand, callbackCommands, type SdkAppId } from '../../wire/index.ts';

/** Where callbacks of an app go, and how: one an app and URL. */
export interface Endpoint {
  /** `1400000000-0a1b2c3d`: names it in job ids, pauses and logs; says nothing of the URL. */
  readonly id: string;
  readonly sdkAppId: SdkAppId;
  /** As configured. */
  readonly url: string;
  /** Keys that sign, newest first; one at least. */
  readonly secrets: readonly string[];
  readonly signToken: string | undefined;
  readonly allowPrivateNetwork: boolean | readonly string[];
  readonly caFile: string | undefined;
  readonly clientCertFile: string | undefined;
  readonly clientKeyFile: string | undefined;
  /** After-callbacks at once. */
  readonly concurrency: number;
  /** Of one after-callback. */
  readonly timeoutMs: number;
}

/** Eight hexadecimal digits that stand for a URL. */
export function urlHash(url: string): string {
  return createHash('sha256').update(url).digest('hex').slice(0, 8);
}

/** The endpoint of a command; undefined: the app does not want it. */
export function endpointOf(app: AppSettings, command: CallbackCommand): Endpoint | undefined {
  return readEndpoints(app).byCommand.get(command);
}

/** Every endpoint of the app, by id. */
export function endpointsOf(app: AppSettings): ReadonlyMap<string, Endpoint> {
  return readEndpoints(app).byId;
}

interface AppEndpoints {
  readonly byCommand: ReadonlyMap<CallbackCommand, Endpoint>;
  readonly byId: ReadonlyMap<string, Endpoint>;
}

/** What was made of settings, as long as somebody has them: settings are replaced, never changed. */
const made = new WeakMap<AppSettings, AppEndpoints>();

function readEndpoints(app: AppSettings): AppEndpoints {
  let endpoints = made.get(app);
  if (endpoints === undefined) {
    endpoints = makeEndpoints(app);
    made.set(app, endpoints);
  }
  return endpoints;
}

function makeEndpoints(app: AppSettings): AppEndpoints {
  const urls = new Set([app.callbacks.url, ...app.callbacks.commands.map(({ url }) => url)]);
  const byUrl = new Map(
    [...urls].flatMap((url) => (url === undefined ? [] : [[url, makeEndpoint(app, url)] as const])),
  );
  const byCommand = callbackCommands.flatMap((command) => {
    const endpoint = byUrl.get(callbackUrlOf(app, command) ?? '');
    return endpoint === undefined ? [] : [[command, endpoint] as const];
  });
  return {
    byCommand: new Map(byCommand),
    byId: new Map([...byUrl.values()].map((endpoint) => [endpoint.id, endpoint])),
  };
}

function makeEndpoint(app: AppSettings, url: string): Endpoint {
  const { signToken, allowPrivateNetwork, caFile, clientCertFile, clientKeyFile, concurrency, timeoutMs } =
    app.callbacks;
  return {
    id: `${app.sdkAppId}-${urlHash(url)}`,
    sdkAppId: app.sdkAppId,
    url,
    secrets: callbackSecrets(app),
    signToken,
    allowPrivateNetwork,
    caFile,
    clientCertFile,
    clientKeyFile,
    concurrency,
    timeoutMs,
  };
}
