import type { Test } from 'tap';
import type { ProxyOptions } from '../../src/proxy/index.ts';
import type { AppSettings, Route, Timeouts } from '../../src/store/index.ts';
import { type Access, type AccessOptions, openAccess, testApp, testOptions, testRoute } from './access.ts';
import { type Message, type Origin, type OriginScript, openClient, openOrigin, type Wire } from './wire.ts';

export interface Proxied {
  access: Access;
  /** The first one. */
  origin: Origin;
  origins: Origin[];
  /** A connection to the access service. */
  client(): Promise<Wire>;
}

export interface ProxiedOptions {
  options?: Partial<Omit<AccessOptions, 'limits' | 'timeouts'>>;
  limits?: Partial<ProxyOptions['limits']>;
  timeouts?: Partial<Timeouts>;
  route?: Partial<Route>;
  access?: Partial<AppSettings['access']>;
}

/** Opens scripted origins and an access service with one route to all of them; closed behind the test. */
export async function openProxied(
  t: Test,
  scripts: OriginScript | OriginScript[] = {},
  settings: ProxiedOptions = {},
): Promise<Proxied> {
  const origins: Origin[] = [];
  for (const script of [scripts].flat()) origins.push(await openOrigin(script));
  const upstream = origins.map(({ url }) => url);
  const access = await openAccess(
    [
      testApp(upstream, {
        routes: [testRoute(upstream, settings.route)],
        ...settings.access,
      }),
    ],
    {
      ...settings.options,
      limits: { ...testOptions.limits, ...settings.limits },
      timeouts: { ...testOptions.timeouts, ...settings.timeouts },
    },
  );
  t.teardown(async () => {
    await access.close();
    for (const origin of origins) await origin.close();
  });
  return { access, origin: origins[0] as Origin, origins, client: () => openClient(access.port) };
}

/** Fields that Node's server adds to each answer of ours; the rest came from the origin. */
const ownFields = /^(?:Date|Connection|Keep-Alive|Transfer-Encoding): .*$/;

/** An answer's head as the origin meant it: without its fields that speak of the client's connection, and without Date. */
export function originHead(answer: Message): string[] {
  return answer.raw
    .slice(0, answer.raw.indexOf('\r\n\r\n'))
    .split('\r\n')
    .filter((line) => !ownFields.test(line));
}
