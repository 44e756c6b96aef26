import type { Database } from '../../../store/index.ts';
import {
  type AfterCommand,
  groupSendFields,
  type ImRefusal,
  type ImResult,
  packCallbackNotes,
} from '../../../wire/index.ts';
import type { GroupSendInput, Roster } from '../../group-services.ts';
import { isTold, toldOf, unpushed, wantsCallback } from '../../messages/callback-notes.ts';
import type { Committed, Committer } from '../../messages/commit.ts';
import type { Clock, StoredMessage } from '../../model.ts';
import type { ImPorts } from '../../ports.ts';
import type { Accounts, Bus, LinkEvent } from '../../services.ts';
import type { GroupChanges } from '../group-change.ts';
import type { GroupTypeRow } from '../group-types.ts';
import { maySpeak } from '../rights.ts';
import type { Rosters } from '../rosters.ts';
import { receiversOf } from '../telling.ts';
import { type Cleared, type Ended, groupDedupOf, withoutSeq } from './message.ts';
import type { Senders } from './senders.ts';

export interface StoringDeps {
  db: Database;
  accounts: Pick<Accounts, 'find'>;
  rosters: Pick<Rosters, 'get' | 'current'>;
  changes: Pick<GroupChanges, 'run'>;
  committer: Committer;
  bus: Bus;
  ports: Pick<ImPorts, 'consumers' | 'written'>;
  senders: Pick<Senders, 'profileOf' | 'extraOf'>;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  clock: Clock;
}

/** The end of a message's way: it is committed or handed on, and members are told. */
export interface Storing {
  /** The group in which who sends may; what memory has of it may be old, which the commit finds out, but nobody is refused for that. */
  authorise(input: GroupSendInput): Promise<ImResult<Roster>>;
  /** `by`: whoever stores it, which is not always who sent it first. */
  store(message: Cleared, by: GroupSendInput): Promise<Ended>;
  /** To members who are online now, stored nowhere. */
  handOn(message: Cleared): Promise<Ended>;
}

const command: AfterCommand = 'Group.CallbackAfterSendMsg';
const unknown: ImRefusal = { ok: false, error: 'GROUP_UNKNOWN', field: 'GroupId' };
/** Times that a message is authorised anew. A group into which people stream changes with each of them. */
const maxAttempts = 10;

const refused = (result: ImRefusal): Ended => ({ outcome: 'refused', result });

export function createStoring(deps: StoringDeps): Storing {
  const { db, accounts, rosters, changes, committer, bus, ports, senders, typeOf, clock } = deps;

  function refusalOf(roster: Roster | undefined, { actor, from }: GroupSendInput): ImRefusal | undefined {
    if (roster === undefined) return unknown;
    const { group, members } = roster;
    const member = members.get(from.no);
    const standing = actor.authority === 'administrator' ? 'administrator' : (member?.role ?? 'none');
    // Its owner has said nothing yet: to others it is not there.
    if (group.isHidden && standing !== 'administrator' && standing !== 'Owner') return unknown;
    return maySpeak(typeOf(group.sdkAppId, group.type), standing, {
      isMuted: group.isMuted,
      mutedUntilSec: member?.mutedUntilSec ?? 0,
      nowSec: Math.floor(clock() / 1_000),
    });
  }

  function allowed(roster: Roster | undefined, input: GroupSendInput): ImResult<Roster> {
    const refusal = refusalOf(roster, input);
    if (refusal !== undefined || roster === undefined) return refusal ?? unknown;
    return { ok: true, value: roster };
  }

  const authoriseNow: Storing['authorise'] = async (input) =>
    allowed(await rosters.current(input.from.sdkAppId, input.groupId), input);

  const authorise: Storing['authorise'] = async (input) => {
    const known = allowed(await rosters.get(input.from.sdkAppId, input.groupId), input);
    return known.ok ? known : authoriseNow(input);
  };

  /** Refuses where the group is not the one any more that the message was sent to. */
  async function sameGroup(message: Cleared, found: Promise<ImResult<Roster>>): Promise<ImResult<Roster>> {
    const result = await found;
    if (result.ok && result.value.group.conversationId !== message.group.conversationId) return unknown;
    return result;
  }

  /** With the first words of its owner a hidden group shows itself: before they are stored, so that whoever gets them finds it. */
  async function reveal({ group }: Roster, { input: { from } }: Cleared): Promise<boolean> {
    if (!group.isHidden || group.owner !== from.no) return false;
    await changes.run(group.conversationId, async (change) => {
      if (change.group.isHidden) await change.setGroup({ isHidden: false });
      return { ok: true, value: undefined };
    });
    return true;
  }

  function tell(
    roster: Roster,
    { input, text, isImport }: Cleared,
    extra: string,
    { seq, time }: Pick<Committed, 'seq' | 'time'>,
    exceptLink: string | undefined,
  ): void {
    // Imported history makes no noise; terminals find it when they look.
    if (isImport) return;
    const { group } = roster;
    const { from, draft } = input;
    const event: LinkEvent = {
      kind: 'group-message',
      groupId: group.groupId,
      message: {
        conversationId: group.conversationId,
        seq,
        from: from.identifier,
        time,
        msgSeq: 0,
        random: draft.random,
        body: text,
        ...(draft.push === undefined ? {} : { push: JSON.stringify(draft.push) }),
        ...(draft.custom === undefined ? {} : { custom: draft.custom }),
        ...(draft.clientId === undefined ? {} : { clientId: draft.clientId }),
        extra,
        recalled: false,
      } satisfies StoredMessage,
      ...(seq > 0 && doesCount({ input, group }) ? {} : { uncounted: true }),
    };
    bus.publishMany(receiversOf(roster, seq), event, exceptLink);
  }

  /** Whether members have it unread. */
  function doesCount({ input: { draft }, group }: Pick<Cleared, 'input' | 'group'>): boolean {
    return draft.counts !== false && typeOf(group.sdkAppId, group.type).countsUnread;
  }

  /** Who has to hear of it besides the members. */
  function toldBy({ input: { withoutAfter }, group, isImport }: Cleared) {
    const told = toldOf({ isImport, withoutAfter }, ports.consumers?.(group.sdkAppId, command));
    // What nobody finds when he comes is not worth ringing for.
    return typeOf(group.sdkAppId, group.type).isStored ? told : unpushed(told);
  }

  /** JSON text of where it came from, for its callback: with whoever sent it in the name of another. */
  function originOf({ input: { actor, from } }: Cleared): string {
    const operator = actor.account.identifier;
    return JSON.stringify(operator === from.identifier ? actor.origin : { ...actor.origin, operator });
  }

  async function isSenderGone({ input: { from } }: Cleared): Promise<boolean> {
    return (await accounts.find(from.sdkAppId, from.identifier))?.no !== from.no;
  }

  return {
    authorise,

    async store(message, by) {
      const { input, text, time, before, isImport, group } = message;
      const { from, draft } = input;
      const told = toldBy(message);
      const profile = await senders.profileOf(from);
      const content = {
        ...groupDedupOf(message),
        conversationId: group.conversationId,
        sender: from.no,
        time,
        msgSeq: 0,
        random: draft.random,
        visibility: 'both',
        counts: doesCount(message),
        // Offline delivery is of one-to-one messages.
        lifetimeSec: 0,
        consumers: packCallbackNotes({ ...told, before }),
        origin: wantsCallback(told.consumers) ? originOf(message) : undefined,
        body: text,
        push: draft.push === undefined ? undefined : JSON.stringify(draft.push),
        custom: draft.custom,
        deadline: by.deadline,
      } as const;
      let found = await sameGroup(message, authorise(by));
      for (let attempt = 0; attempt < maxAttempts; attempt++) {
        if (!found.ok) return refused(found);
        if (await isSenderGone(message)) return refused({ ok: false, error: 'SENDER_UNKNOWN' });
        if (!isImport && (await reveal(found.value, message))) {
          found = await sameGroup(message, authoriseNow(by));
          continue;
        }
        const roster = found.value;
        const { authEpoch } = roster.group;
        const extra = senders.extraOf({
          profile,
          member: roster.members.get(from.no),
          group: roster.group,
          priority: draft.priority,
        });
        const committed = await committer.commit({ ...content, authEpoch, extra }, (stored) => {
          // The epoch was compared: the members of the roster are those whom the group has at this seq, but for who has come since.
          tell(roster, message, extra, stored, by.actor.linkId);
          if (isTold(told)) ports.written?.(group.sdkAppId, String(group.conversationId), command);
        });
        const { status, seq } = committed;
        if (status === 'stored' || status === 'repeat') {
          const sent = { seq, time: committed.time, msgSeq: 0, random: committed.random };
          const value = status === 'repeat' ? { ...sent, isRepeat: true } : { ...sent, isRepeat: false, prev: seq - 1 };
          return { outcome: status, result: { ok: true, value } };
        }
        if (status === 'no-conversation') return refused(unknown);
        // The group has changed meanwhile: a member who was removed or muted does not get it through.
        found = await sameGroup(message, authoriseNow(by));
      }
      return refused({ ok: false, error: 'BUSY', reason: 'the group changes too quickly' });
    },

    async handOn(message) {
      const { input, group, body, time, before } = message;
      const profile = await senders.profileOf(input.from);
      // Nothing is committed that would compare the epoch.
      let found = await sameGroup(message, authoriseNow(input));
      if (found.ok && (await reveal(found.value, message))) found = await sameGroup(message, authoriseNow(input));
      if (!found.ok) return refused(found);
      const roster = found.value;
      if (wantsCallback(toldBy(message).consumers)) {
        const { actor, from, draft } = input;
        const fields = groupSendFields({
          groupId: group.groupId,
          type: group.type,
          from: from.identifier,
          operator: actor.account.identifier,
          random: draft.random,
          body,
          stored: { seq: 0, time },
        });
        const drainKey = String(group.conversationId);
        await db.pool.query({
          name: 'im_unstored',
          text: 'select outbox_event(1, $1, $2, $3, $4, $5)',
          values: [
            group.sdkAppId,
            drainKey,
            command,
            JSON.stringify({ fields, origin: actor.origin, before }),
            clock(),
          ],
        });
        ports.written?.(group.sdkAppId, drainKey, command);
      }
      const extra = senders.extraOf({
        profile,
        member: roster.members.get(input.from.no),
        group: roster.group,
        priority: input.draft.priority,
      });
      tell(roster, message, extra, { seq: 0, time }, input.actor.linkId);
      return withoutSeq(message, 'online-only');
    },
  };
}
