import { type Purge, type Purges, parsePurge } from '../cache/index.ts';
import type { Metrics } from '../observe/index.ts';
import type { AppStore } from '../store/index.ts';
import type { Handle } from './answer.ts';
import { findApp } from './app-lookup.ts';
import { readCacheFigures } from './cache-figures.ts';
import type { Asking } from './database-away.ts';

export interface CacheCommandDeps {
  apps: AppStore;
  purges: Pick<Purges, 'publish'>;
  metrics: Metrics;
  asking: Asking;
}

export interface CacheCommands {
  read: Handle;
  purge: Handle;
}

/** The commands on caches. A purge has been committed and told to every process when its answer is given. */
export function createCacheCommands({ apps, purges, metrics, asking }: CacheCommandDeps): CacheCommands {
  return {
    read: async () => ({
      ok: true,
      value: { status: 200, body: { cache: (await readCacheFigures(metrics)) ?? null } },
    }),

    purge: asking(async ({ sdkAppId, body }) => {
      const found = await findApp(apps, sdkAppId);
      if (!found.ok) return found;
      const purge = parsePurge(found.value.settings.sdkAppId, body);
      if (!purge.ok) return purge;
      const { generation, ended } = await purges.publish(purge.value);
      return {
        ok: true,
        value: { status: 200, body: { purged: describe(purge.value), generation, ended: ended ?? null } },
      };
    }),
  };
}

/** As the request had it, a URL in the form in which it is looked for. */
function describe(purge: Purge): object {
  switch (purge.by) {
    case 'url':
      return { url: purge.url };
    case 'prefix':
      return { prefix: purge.url };
    case 'tag':
      return { tag: purge.tag };
    default:
      return { all: true };
  }
}
