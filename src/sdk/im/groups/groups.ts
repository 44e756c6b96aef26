import { assertText, invalid } from '../arguments.ts';
import type { ImClient } from '../client.ts';
import type { ImConversation } from '../conversation.ts';
import { type Fields, fieldsOf, listOf, numberOr } from '../frames.ts';
import type { ImMessage } from '../message.ts';
import { createSignal } from '../signal.ts';
import { createCatchUp, noticesId } from './catch-up.ts';
import { conversationOf, type GroupNotice, groupOf, readNotice, type TipNotice, tipOf } from './news.ts';
import type {
  GroupChanges,
  GroupDraft,
  GroupMember,
  GroupProfile,
  GroupRequest,
  GroupRole,
  InviteResult,
  JoinedGroup,
  MemberChanges,
  PublicGroupProfile,
  RequestName,
} from './views.ts';

export interface GroupsOptions {
  /** Of a group more missed messages than these do not come through `onNewMessage`: `getMessage` has them. Default: 500. */
  readonly maxMissed?: number;
}

/** Something of a group is not as it was: ask again for what is shown of it. May come more than once for one change. */
export interface GroupChange {
  readonly group: string;
  /**
   * - `added`: the account is a member now
   * - `gone`: it is none any more, or the group is no more
   * - `profile`: its name, texts or owner
   * - `members`: who is in it, roles (so also another owner), mutes
   */
  readonly kind: 'added' | 'gone' | 'profile' | 'members';
}

/** A listener comes off by the function that it was given back. */
type Listen<Args extends unknown[]> = (listener: (...args: Args) => unknown) => () => void;

/**
 * The groups of a client's account. Every method asks the service, and throws ImError as it says: `GROUP_FORBIDDEN`,
 * `GROUP_UNKNOWN`, `GROUP_FULL`, `INVALID_FIELD` with `field`, …, `NETWORK`, `NOT_LOGGED_IN`. All can be called detached.
 */
export interface Groups {
  /** What the account is in, as far as the type is listed. */
  list(options?: {
    readonly type?: string;
    readonly offset?: number;
    readonly limit?: number;
  }): Promise<{ readonly total: number; readonly groups: JoinedGroup[] }>;
  /** A group of the account's. */
  get(group: string): Promise<GroupProfile>;
  /** Any group that can be found, by its exact id. */
  find(group: string): Promise<PublicGroupProfile>;
  /** @returns its id; the account is its owner */
  create(draft: GroupDraft): Promise<string>;
  modify(group: string, changes: GroupChanges): Promise<void>;
  transfer(group: string, to: string): Promise<void>;
  dismiss(group: string): Promise<void>;
  quit(group: string): Promise<void>;
  members(
    group: string,
    options?: {
      readonly roles?: readonly GroupRole[];
      readonly accounts?: readonly string[];
      readonly offset?: number;
      readonly limit?: number;
    },
  ): Promise<{ readonly total: number; readonly members: GroupMember[] }>;
  /** Takes up to 500 accounts in, or asks them: as the type has it. */
  invite(group: string, accounts: readonly string[]): Promise<InviteResult[]>;
  remove(group: string, accounts: readonly string[], reason?: string): Promise<void>;
  /** Changes what is noted of a member; of the account itself where `account` is not given. */
  modifyMember(group: string, changes: MemberChanges & { readonly account?: string }): Promise<void>;
  /** @param seconds 0: may speak again; 4294967295: for ever */
  mute(group: string, accounts: readonly string[], seconds: number): Promise<void>;
  /** Who may not speak, and until when (Unix seconds). */
  muted(group: string): Promise<{ readonly account: string; readonly until: number }[]>;
  /** @returns `waiting`: owner or admins answer it, and a notice says how */
  apply(
    group: string,
    options?: { readonly words?: string; readonly userField?: string },
  ): Promise<'joined' | 'waiting'>;
  /** Applications to groups that the account manages, and invitations of it, the newest first. @param before a `key` */
  requests(options?: {
    readonly before?: string;
    readonly limit?: number;
  }): Promise<{ readonly requests: GroupRequest[]; readonly isComplete: boolean }>;
  /** Answers one of {@link requests}, or the `request` of a notice. */
  answer(request: RequestName, answer: { readonly agrees: boolean; readonly words?: string }): Promise<void>;
  /** The group as a conversation: to send, read, recall, look at the history. */
  conversation(group: string): ImConversation;
  /** The newest 100 notices of the last 7 days, oldest first. */
  notices(): Promise<GroupNotice[]>;
  /** Notices that the account has not read on any terminal. */
  readonly unreadNotices: number;
  /** All notices that came were read; the service is told now or with the next connection. */
  setNoticesRead(): Promise<void>;
  /** A message that somebody wrote in a group. It comes through the client's `onNewMessage`, too. */
  readonly onMessage: Listen<[message: ImMessage, group: string]>;
  /** What changed in a group, as its members are told. Its message comes through the client's `onNewMessage`, too. */
  readonly onTip: Listen<[tip: TipNotice]>;
  /** Something of a group concerns the account. Each once; a crash may have the last ones come again. */
  readonly onNotice: Listen<[notice: GroupNotice]>;
  readonly onChange: Listen<[change: GroupChange]>;
}

const changeOfNotice: Partial<Record<GroupNotice['kind'], GroupChange['kind']>> = {
  created: 'added',
  pulledIn: 'added',
  accepted: 'added',
  kicked: 'gone',
  quit: 'gone',
  destroyed: 'gone',
  recycled: 'gone',
  madeAdmin: 'members',
  noAdmin: 'members',
};

/**
 * Gives a client its account's groups: from then on it hears of them. Call it before `login`.
 *
 * @example
 * const groups = createGroups(client);
 * groups.onMessage((message, group) => console.log(group, message.from, textOf(message)));
 * await client.login('alice', userSig);
 * const group = await groups.create({ type: 'Private', name: 'Tea club', members: ['bob'] });
 * groups.conversation(group).sendMessage('hi');
 *
 * @throws ImError `INVALID_ARGUMENT`: the client has an account, or groups, already
 */
export function createGroups(client: ImClient, { maxMissed = 500 }: GroupsOptions = {}): Groups {
  if (!Number.isInteger(maxMissed) || maxMissed < 0) throw invalid('maxMissed', 'must be an integer from 0');
  const mine = new Set<string>();
  const inside = client.extend(
    createCatchUp({
      maxMissed,
      mine,
      onNotice(notice) {
        onNotice.emit(notice);
        const kind = changeOfNotice[notice.kind];
        if (kind !== undefined) changed(notice.group, kind);
      },
      recount: (conversation) => inside.current().reports.recount(conversation),
      onCameOrWent: (group, isMember) => changed(group, isMember ? 'added' : 'gone'),
    }),
  );
  const { emit } = inside;
  const onMessage = createSignal<[ImMessage, string]>('groups.onMessage', emit);
  const onTip = createSignal<[TipNotice]>('groups.onTip', emit);
  const onNotice = createSignal<[GroupNotice]>('groups.onNotice', emit);
  const onChange = createSignal<[GroupChange]>('groups.onChange', emit);

  function changed(group: string, kind: GroupChange['kind']): void {
    if (kind === 'added') mine.add(group);
    if (kind === 'gone') {
      mine.delete(group);
      const head = inside.current().store.heads.get(conversationOf(group));
      // If it comes again it is as if it were new here: nobody has to be told what is said meanwhile.
      if (head !== undefined) Object.assign(head, { shown: 0, isSynced: false });
    }
    onChange.emit({ group, kind });
  }

  function came(group: string): void {
    if (!mine.has(group)) changed(group, 'added');
  }

  client.onNewMessage((message) => {
    const group = groupOf(message.conversation);
    if (group === undefined) return;
    const tip = tipOf(message);
    // Also of one to which the account was added in silence.
    came(group);
    if (tip === undefined) return message.extra?.tip === true ? undefined : onMessage.emit(message, group);
    onTip.emit(tip);
    if (tip.kind === 'modifyInfo') changed(group, 'profile');
    if (tip.kind !== 'modifyInfo' || tip.changed?.owner !== undefined) changed(group, 'members');
  });

  const ask = async (what: string, fields: object): Promise<Fields> => inside.current().request(what, fields);
  const tell = async (what: string, fields: object): Promise<void> => void (await ask(what, fields));
  /** What the service says of its groups is as it says in docs/reference/link.md. */
  const as = <T>(value: unknown): T => value as T;
  const pairs = (value: unknown): [string, unknown][] =>
    listOf(value).map((one) => [String(listOf(one)[0]), listOf(one)[1]]);

  return {
    async list(options = {}) {
      const { total, groups } = await ask('groups', options);
      return { total: numberOr(total, 0), groups: as(listOf(groups)) };
    },
    get: async (group) => as(await ask('group', { group })),
    find: async (group) => as(await ask('findGroup', { group })),
    create: async (draft) => String((await ask('createGroup', draft)).group),
    modify: (group, changes) => tell('modifyGroup', { ...changes, group }),
    transfer: (group, to) => tell('transferGroup', { group, to }),
    dismiss: (group) => tell('dismissGroup', { group }),
    quit: (group) => tell('quitGroup', { group }),
    async members(group, options = {}) {
      const { total, members } = await ask('groupMembers', { ...options, group });
      return { total: numberOr(total, 0), members: as(listOf(members)) };
    },
    async invite(group, accounts) {
      const { results } = await ask('inviteMembers', { group, accounts });
      return pairs(results).map(([account, outcome]) => ({ account, outcome: as(outcome) }));
    },
    remove: (group, accounts, reason) => tell('removeMembers', { group, accounts, reason }),
    modifyMember: (group, changes) => tell('modifyMember', { ...changes, group }),
    mute: (group, accounts, seconds) => tell('muteMembers', { group, accounts, seconds }),
    async muted(group) {
      const { members } = await ask('mutedMembers', { group });
      return pairs(members).map(([account, until]) => ({ account, until: numberOr(until, 0) }));
    },
    async apply(group, options = {}) {
      const { result } = await ask('applyToGroup', { ...options, group });
      // Not every type says it by a message.
      if (result === 'joined') came(group);
      return as(result);
    },
    async requests(options = {}) {
      const { requests, complete } = await ask('groupRequests', options);
      return { requests: as(listOf(requests)), isComplete: complete === true };
    },
    async answer({ kind, group, key, auth }, { agrees, words }) {
      const what = kind === 'invitation' ? 'answerInvitation' : 'answerApplication';
      await ask(what, { group, key, auth, agrees, words });
      if (kind === 'invitation' && agrees) came(group);
    },
    conversation(group) {
      assertText('group', group);
      return client.getConversation(conversationOf(group));
    },
    async notices() {
      const found: GroupNotice[] = [];
      for (let since = 0; ; ) {
        const page = await ask('sync', { conversation: noticesId, since });
        found.push(...listOf(page.notices).map((one) => readNotice(fieldsOf(one))));
        const through = numberOr(page.throughSeq, since);
        if (page.more !== true || through === since) return found;
        since = through;
      }
    },
    get unreadNotices() {
      if (client.account === undefined) return 0;
      return inside.current().store.heads.get(noticesId)?.unread ?? 0;
    },
    async setNoticesRead() {
      const { store, reports, signals } = inside.current();
      const head = store.head(noticesId);
      if (head.shown <= head.readSeq) return;
      Object.assign(head, { readSeq: head.shown, owedRead: head.shown, unread: 0 });
      await store.commit();
      signals.onConversation.emit(noticesId);
      void reports.settle();
    },
    onMessage: onMessage.on,
    onTip: onTip.on,
    onNotice: onNotice.on,
    onChange: onChange.on,
  };
}
