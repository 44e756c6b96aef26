import type { QalStorage } from '../../index.ts';
import { decodeJson, encodeJson } from '../block.ts';
import type { ImClient } from '../client.ts';
import { toImError } from '../error.ts';
import type { ImEvent } from '../events.ts';
import { fieldsOf, listOf } from '../frames.ts';
import { createSignal } from '../signal.ts';
import type { Groups } from './groups.ts';
import type { GroupMember, GroupProfile } from './views.ts';

/** A group of the account's, as it is known here. */
export interface CachedGroup extends GroupProfile {
  /** What is noted of the account itself; undefined: the type tells nobody. `readSeq` and `lastSendTime` may be old. */
  readonly self?: GroupMember;
}

export interface GroupCacheOptions {
  /**
   * Where the groups are kept over a restart. Give it the client's own: then `logout({ forget: true })` ends it, too. Default: in
   * memory alone.
   */
  readonly storage?: QalStorage;
  /** Told what happens inside, for logs; what it throws is ignored. */
  readonly onEvent?: (event: ImEvent) => void;
}

/** A listener comes off by the function that it was given back. */
type Listen<Args extends unknown[]> = (listener: (...args: Args) => unknown) => () => void;

export interface GroupCache {
  /** The account's groups by id; without an account none. Read it each time: it changes. */
  readonly groups: ReadonlyMap<string, CachedGroup>;
  /**
   * All members of a group that its type lists. The first call asks the service; from then on they are kept here and listened to,
   * of the {@link maxKept} groups that were asked for last.
   *
   * @throws ImError as `groups.members` does
   */
  members(group: string): Promise<GroupMember[]>;
  /** Asks again for a group, and its members if they are kept: for changes of which nobody is told, such as a name card. */
  refresh(group: string): Promise<void>;
  /** A group is known here now: it was stored, or listed, or the account joined it. */
  readonly onGroupAdd: Listen<[group: CachedGroup]>;
  readonly onGroupUpdate: Listen<[group: CachedGroup]>;
  readonly onGroupDelete: Listen<[group: string]>;
  /** Of groups whose members are kept. */
  readonly onMemberJoin: Listen<[group: string, members: readonly GroupMember[]]>;
  readonly onMemberUpdate: Listen<[group: string, members: readonly GroupMember[]]>;
  readonly onMemberQuit: Listen<[group: string, accounts: readonly string[]]>;
}

/** Groups whose members are kept. */
const maxKept = 20;
/** The service gives and takes so many at once. */
const pageSize = 200;
/** Not worth an event. */
const volatile = ['readSeq', 'lastSendTime', 'infoSeq', 'infoTime'];

/**
 * Keeps the account's groups, and members where they are asked for, and tells what changes in them: the vendor's group assistant. Off
 * unless it is made. It asks the service after each login and interruption, and of a group whenever `groups.onChange` names it.
 *
 * @param groups of this client
 */
export function createGroupCache(
  client: ImClient,
  groups: Groups,
  { storage, onEvent }: GroupCacheOptions = {},
): GroupCache {
  const emit = (event: ImEvent): void => {
    try {
      onEvent?.(event);
    } catch {
      // The application's.
    }
  };
  const onGroupAdd = createSignal<[CachedGroup]>('groupCache.onGroupAdd', emit);
  const onGroupUpdate = createSignal<[CachedGroup]>('groupCache.onGroupUpdate', emit);
  const onGroupDelete = createSignal<[string]>('groupCache.onGroupDelete', emit);
  const onMemberJoin = createSignal<[string, readonly GroupMember[]]>('groupCache.onMemberJoin', emit);
  const onMemberUpdate = createSignal<[string, readonly GroupMember[]]>('groupCache.onMemberUpdate', emit);
  const onMemberQuit = createSignal<[string, readonly string[]]>('groupCache.onMemberQuit', emit);

  const known = new Map<string, CachedGroup>();
  /** Members by group, the one that was asked for last at the end. */
  const kept = new Map<string, Map<string, GroupMember>>();
  /** Groups that have a turn to be read already. */
  const waiting = new Set<string>();
  let owner: string | undefined;
  let isDirty = false;
  let turn: Promise<unknown> = Promise.resolve();

  /** One after another, so that no older answer replaces a newer one. What another account began is left. */
  function inTurn<T>(run: (isOurs: () => boolean) => Promise<T>): Promise<T | undefined> {
    const mine = owner;
    const isOurs = (): boolean => mine === owner;
    const result = turn.then(() => (isOurs() ? run(isOurs) : undefined));
    turn = result.catch(() => {}).then(save);
    return result;
  }

  /** What cannot be read without a connection is read with the next one; of that others tell. */
  function behind(request: string, run: (isOurs: () => boolean) => Promise<void>): void {
    inTurn(run).catch((reason: unknown) => {
      const error = toImError(reason);
      if (error.code !== 'NETWORK') emit({ type: 'request-failed', request, error });
    });
  }

  const keyOf = (account: string): string => `im/${client.sdkAppId}=${encodeURIComponent(account)}/groups`;

  async function save(): Promise<void> {
    if (!isDirty || storage === undefined || owner === undefined) return;
    isDirty = false;
    const value = encodeJson({ version: 1, groups: [...known.values()] });
    await storage
      .set(keyOf(owner), value)
      .catch((error: unknown) => emit({ type: 'storage-failed', operation: 'set', error }));
  }

  async function load(isOurs: () => boolean): Promise<void> {
    const stored = await storage?.get(keyOf(owner ?? '')).catch((error: unknown) => {
      emit({ type: 'storage-failed', operation: 'get', error });
      return undefined;
    });
    const { version, groups: some } = fieldsOf(decodeJson(stored));
    if (version !== 1 || !isOurs()) return;
    for (const one of listOf(some)) if (typeof fieldsOf(one).group === 'string') put(one as CachedGroup);
    isDirty = false;
  }

  function put(group: CachedGroup): void {
    const old = known.get(group.group);
    known.set(group.group, group);
    isDirty = true;
    if (old === undefined) onGroupAdd.emit(group);
    else if (!isSame(old, group)) onGroupUpdate.emit(group);
  }

  function drop(group: string): void {
    kept.delete(group);
    if (!known.delete(group)) return;
    isDirty = true;
    onGroupDelete.emit(group);
  }

  async function readGroup(group: string, isOurs: () => boolean): Promise<void> {
    waiting.delete(group);
    let profile: GroupProfile;
    try {
      profile = await groups.get(group);
    } catch (error) {
      const { code } = toImError(error);
      if (code !== 'GROUP_FORBIDDEN' && code !== 'GROUP_UNKNOWN') throw error;
      return drop(group);
    }
    // Some types name no members.
    const { members } = await groups.members(group, { accounts: [owner ?? ''] }).catch((error: unknown) => {
      if (toImError(error).retryable) throw error;
      return { members: [] };
    });
    const [self] = members;
    if (isOurs()) put({ ...profile, ...(self !== undefined && { self }) });
  }

  async function readAll(isOurs: () => boolean): Promise<void> {
    const listed = new Set<string>();
    for (let offset = 0; ; offset += pageSize) {
      const page = await groups.list({ offset, limit: pageSize });
      if (!isOurs()) return;
      for (const { unread: _, ...group } of page.groups) {
        listed.add(group.group);
        put(group);
      }
      if (page.groups.length < pageSize) break;
    }
    // It is gone, or of a type that is not listed.
    for (const group of [...known.keys()]) if (!listed.has(group)) await readGroup(group, isOurs);
    for (const group of [...kept.keys()]) await readMembers(group, isOurs);
  }

  async function readMembers(group: string, isOurs: () => boolean): Promise<void> {
    const all: GroupMember[] = [];
    for (;;) {
      const { members } = await groups.members(group, { offset: all.length, limit: pageSize });
      all.push(...members);
      if (members.length < pageSize) break;
    }
    if (!isOurs()) return;
    compare(group, all, []);
    // Who left meanwhile has moved others over the edge of a page: nobody is gone who was not asked for.
    const found = new Set(all.map(({ account }) => account));
    const missing = [...(kept.get(group)?.keys() ?? [])].filter((account) => !found.has(account));
    await readSome(group, missing, isOurs);
  }

  /** What has become of some members. */
  async function readSome(group: string, accounts: readonly string[], isOurs: () => boolean): Promise<void> {
    for (let at = 0; at < accounts.length; at += pageSize) {
      const some = accounts.slice(at, at + pageSize);
      const { members } = await groups.members(group, { accounts: some });
      if (isOurs()) compare(group, members, some);
    }
  }

  /** @param asked of these, those that are not among the members are none */
  function compare(group: string, members: readonly GroupMember[], asked: readonly string[]): void {
    const old = kept.get(group);
    const now = new Map(old);
    for (const account of asked) now.delete(account);
    for (const member of members) now.set(member.account, member);
    kept.set(group, now);
    if (old === undefined) return;
    const joined = members.filter(({ account }) => !old.has(account));
    const changed = members.filter((member) => {
      const before = old.get(member.account);
      return before !== undefined && !isSame(before, member);
    });
    const gone = asked.filter((account) => old.has(account) && !now.has(account));
    if (joined.length > 0) onMemberJoin.emit(group, joined);
    if (changed.length > 0) onMemberUpdate.emit(group, changed);
    if (gone.length > 0) onMemberQuit.emit(group, gone);
  }

  client.onConnection(() => {
    if (owner === client.account) return;
    owner = client.account;
    for (const all of [known, kept, waiting]) all.clear();
    isDirty = false;
    if (owner !== undefined) behind('groups', load);
  });
  client.onRefresh(() => behind('groups', readAll));
  groups.onChange(({ group, kind }) => {
    if (kind === 'gone') return behind('group', async () => drop(group));
    if (waiting.has(group)) return;
    waiting.add(group);
    behind('group', (isOurs) => readGroup(group, isOurs));
  });
  groups.onTip(({ group, kind, accounts, changed }) => {
    if (kind === 'modifyInfo' && changed?.owner === undefined) return;
    behind('groupMembers', async (isOurs) => {
      const members = kept.get(group);
      if (members === undefined) return;
      const owners = [...members.values()].filter(({ role }) => role === 'Owner').map(({ account }) => account);
      await readSome(group, kind === 'modifyInfo' ? [changed?.owner ?? '', ...owners] : accounts, isOurs);
    });
  });

  return {
    groups: known,
    async members(group) {
      await inTurn(async (isOurs) => {
        if (!kept.has(group)) await readMembers(group, isOurs);
      });
      const members = kept.get(group);
      if (members === undefined) return [];
      kept.delete(group);
      kept.set(group, members);
      for (const other of [...kept.keys()].slice(0, -maxKept)) kept.delete(other);
      return [...members.values()];
    },
    async refresh(group) {
      await inTurn(async (isOurs) => {
        await readGroup(group, isOurs);
        if (kept.has(group)) await readMembers(group, isOurs);
      });
    },
    onGroupAdd: onGroupAdd.on,
    onGroupUpdate: onGroupUpdate.on,
    onGroupDelete: onGroupDelete.on,
    onMemberJoin: onMemberJoin.on,
    onMemberUpdate: onMemberUpdate.on,
    onMemberQuit: onMemberQuit.on,
  };
}

/** Whether two answers say the same, in whatever order. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b;
  const [one, other] = [fieldsOf(a), fieldsOf(b)];
  return [...new Set([...Object.keys(one), ...Object.keys(other)])].every(
    (key) => volatile.includes(key) || isSame(one[key], other[key]),
  );
}
