import type { Metrics } from '../../observe/index.ts';
import type { Account } from '../model.ts';
import type { Platform } from '../services.ts';

/** A link of this process that has its terminal's place. */
export interface OwnLink {
  readonly account: Account;
  readonly platform: Platform;
  isBackground: boolean;
}

/** The links of this process, by id. Bounded by whoever opens links. */
export interface OwnLinks {
  add(linkId: string, link: OwnLink): void;
  get(linkId: string): OwnLink | undefined;
  delete(linkId: string): boolean;
  entries(): IterableIterator<[linkId: string, link: OwnLink]>;
  clear(): void;
  readonly size: number;
}

export function createOwnLinks({ metrics }: { metrics: Metrics }): OwnLinks {
  const links = new Map<string, OwnLink>();
  const gauge = metrics.gauge('qalgate_im_links', 'Links of this process that are logged in, by platform', [
    'platform',
  ]);
  return {
    add(linkId, link) {
      links.set(linkId, link);
      gauge.inc({ platform: link.platform });
    },
    get: (linkId) => links.get(linkId),
    delete(linkId) {
      const link = links.get(linkId);
      if (link === undefined) return false;
      gauge.dec({ platform: link.platform });
      return links.delete(linkId);
    },
    entries: () => links.entries(),
    clear() {
      links.clear();
      gauge.reset();
    },
    get size() {
      return links.size;
    },
  };
}
