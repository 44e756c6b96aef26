import type { AccountNo } from '../model.ts';
import type { Link } from './link.ts';

/** The links of this process: all, those that wait for their login, and by what they are asked for. Bounded by the entrance. */
export interface LinkDirectory {
  /** Every link until its socket is closed. */
  readonly all: ReadonlySet<Link>;
  /** Links without a login, oldest first. */
  readonly awaiting: ReadonlySet<Link>;
  add(link: Link): void;
  /** Its login is being looked at, and so it has an id, or none yet. */
  loginBegins(link: Link): void;
  named(link: Link, linkId: string): void;
  /** It gets its account's events. */
  opened(link: Link): void;
  /** It gets no more events. */
  ended(link: Link): void;
  /** Its socket is closed; false: it was not here. */
  closed(link: Link): boolean;
  byId(linkId: string): Link | undefined;
  ofAccount(no: AccountNo): readonly Link[] | undefined;
}

export function createLinkDirectory(): LinkDirectory {
  const all = new Set<Link>();
  const awaiting = new Set<Link>();
  const byId = new Map<string, Link>();
  const byAccount = new Map<AccountNo, Link[]>();
  return {
    all,
    awaiting,
    add(link) {
      all.add(link);
      awaiting.add(link);
    },
    loginBegins: (link) => void awaiting.delete(link),
    named(link, linkId) {
      link.linkId = linkId;
      // It may be gone already.
      if (all.has(link)) byId.set(linkId, link);
    },
    opened(link) {
      const no = link.terminal?.account.no;
      if (no === undefined) return;
      const links = byAccount.get(no);
      if (links === undefined) byAccount.set(no, [link]);
      else links.push(link);
    },
    ended(link) {
      awaiting.delete(link);
      const no = link.terminal?.account.no;
      const links = no === undefined ? undefined : byAccount.get(no);
      const at = links?.indexOf(link) ?? -1;
      if (no === undefined || links === undefined || at < 0) return;
      if (links.length === 1) byAccount.delete(no);
      else links.splice(at, 1);
    },
    closed(link) {
      if (byId.get(link.linkId) === link) byId.delete(link.linkId);
      return all.delete(link);
    },
    byId: (linkId) => byId.get(linkId),
    ofAccount: (no) => byAccount.get(no),
  };
}
