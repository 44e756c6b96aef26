import { createHash } from 'node:crypto';
import { type AppSettings, callbackSecrets, callbackUrlOf } from '../../store/index.ts';
import type { CallbackCommand, SdkAppId } from '../../wire/index.ts';

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

/** The endpoint of a command; undefined: the app does not want it. Pure. */
export function endpointOf(app: AppSettings, command: CallbackCommand): Endpoint | undefined {
  const url = callbackUrlOf(app, command);
  return url === undefined ? undefined : makeEndpoint(app, url);
}

/** Every endpoint of the app, by id. Pure. */
export function endpointsOf(app: AppSettings): Map<string, Endpoint> {
  const urls = new Set([app.callbacks.url, ...app.callbacks.commands.map(({ url }) => url)]);
  const endpoints = [...urls].flatMap((url) => (url === undefined ? [] : makeEndpoint(app, url)));
  return new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
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
