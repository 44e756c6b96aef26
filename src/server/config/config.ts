import { resolve } from 'node:path';
import type { AppSettings } from '../../store/index.ts';
import type { Address } from './address.ts';
import { listenAddress } from './relations.ts';
import { parseMasterKey, parseNetwork, type Settings } from './schema.ts';

/** Where one listener listens, and whether with TLS. */
export interface Listen extends Address {
  tls?: { certFile: string; keyFile: string };
}

/** The configuration as the program uses it: complete, parsed, secrets in place. */
export interface Config
  extends Pick<
    Settings,
    'log' | 'sessions' | 'timeouts' | 'limits' | 'cache' | 'im' | 'callbacks' | 'push' | 'shutdown'
  > {
  /** Absolute path of the data folder. */
  data: string;
  /** A listener that is switched off is absent. */
  listen: { access?: Listen; im?: Listen; ops?: Listen };
  /** `embedded`, or the URL of an external database. */
  database: string;
  /** `none`, or the URL of a Redis. */
  redis: string;
  /** Newest first; empty with an embedded database that keeps its own: use `readMasterKeys`. */
  masterKeys: Buffer[];
  /** CIDR blocks, also for single addresses. */
  trustedProxies: string[];
  ops: { tokens: { name: string; role: 'viewer' | 'operator'; token: string }[] };
  apps: AppSettings[];
}

/** Parses checked settings. Pure, but for the working directory that `data` is relative to. */
export function toConfig(settings: Settings): Config {
  const { data, listen, database, redis, masterKey = [], trustedProxies, ops, apps } = settings;
  const { log, sessions, timeouts, limits, cache, im, callbacks, push, shutdown } = settings;
  const access = toListen(listen.access);
  const imListen = toListen(listen.im);
  const opsListen = toListen(listen.ops);
  return {
    data: resolve(data),
    listen: {
      ...(access === undefined ? {} : { access }),
      ...(imListen === undefined ? {} : { im: imListen }),
      ...(opsListen === undefined ? {} : { ops: opsListen }),
    },
    database,
    redis,
    masterKeys: [masterKey].flat().flatMap((key) => parseMasterKey(key) ?? []),
    trustedProxies: trustedProxies.flatMap((network) => parseNetwork(network) ?? []),
    ops: { tokens: ops.tokens.map(({ name, role, token }) => ({ name, role, token })) },
    log,
    sessions,
    timeouts,
    limits,
    cache,
    im,
    callbacks,
    push,
    shutdown,
    apps,
  };
}

function toListen(listener: Settings['listen']['access']): Listen | undefined {
  const address = listenAddress(listener);
  if (address === undefined) return undefined;
  return typeof listener === 'object' && listener.tls !== undefined ? { ...address, tls: listener.tls } : address;
}
