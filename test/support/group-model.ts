import type { GroupTypeRow } from '../../src/wire/index.ts';
import type { MemberView, Op, ProfileFields, RequestKind, Role } from './group-ops.ts';

/** A member from its first seq to its last; `cleared`: what came until then was not to be told. */
export type Stay = MemberView & { to: number; cleared?: number };

/** A group, from before it is made until after it is dismissed. */
export class GroupState {
  isGone = true;
  isHidden = false;
  profile: Required<ProfileFields> = { name: '', isMuted: false, applyOption: 'FreeAccess', maxMembers: 0 };
  stays: Stay[] = [];
  messages: { seq: number; from: string; text: string; card: string; sec: number; isTip: boolean; gone: string }[] = [];
  requests: { who: string; kind: RequestKind; inviter: string; result: string }[] = [];
  /** Until when accounts are silent, whether they are members or not. */
  mutes = new Map<string, number>();
  /** What accounts have been told: notices, and what those online heard besides. */
  told: { who: string; text: string; sec: number }[] = [];
}

const forbidden = 'GROUP_FORBIDDEN';
const ranks = { None: 0, Member: 1, Admin: 2, Owner: 3, Administrator: 4 } as const;

/**
 * What the service promises about a group, as plainly as it can be said: lists and counting, one thing after another. Results are words, or
 * names of errors.
 */
export function groupModel(group: GroupState, row: GroupTypeRow, nowSec: number) {
  const { profile, stays, messages, mutes, told } = group;
  const members = () => stays.filter(({ to }) => to === Infinity);
  const member = (who: string) => members().find((stay) => stay.who === who);
  const owner = () => members().find(({ role }) => role === 'Owner')?.who ?? '';
  const namesOf = (some: Stay[]) => some.map(({ who }) => who);
  const rankOf = (who: string) => ranks[who === 'admin' ? 'Administrator' : (member(who)?.role ?? 'None')];
  const isAbove = (by: string, who: string) => rankOf(by) >= ranks.Admin && rankOf(by) > rankOf(who);

  const isKept = ({ sec }: { sec: number }) => row.isStored && sec >= nowSec - 7 * 86_400;
  const isIn = (who: string, seq: number) => stays.some((one) => one.who === who && one.from <= seq && one.to >= seq);
  /** What the account, or the administrator, finds in the history. */
  const readable = (who: string) =>
    messages.filter((one) => isKept(one) && (who === 'admin' || row.showsEarlier || isIn(who, one.seq)));
  /** Of that, what is unread until it is read. */
  const counted = ({ who, from }: Stay) =>
    readable(who).filter((one) => (row.showsEarlier || one.seq >= from) && one.from !== who && one.gone === '');
  const unread = (stay: Stay) =>
    row.countsUnread && stay.flag !== 'Discard' ? counted(stay).filter(({ seq }) => seq > stay.read).length : 0;
  const hears = ({ flag, role }: Stay) => flag !== 'Discard' && (!group.isHidden || role === 'Owner');
  const tell = (names: string[], text: string) => void told.push(...names.map((who) => ({ who, text, sec: nowSec })));
  /** Of a hidden group its owner alone hears. */
  const notice = (names: string[], kind: string, by: string) =>
    tell(group.isHidden ? names.filter((who) => who === owner()) : names, `notice ${kind} by ${by}`);

  function say(from: string, text: string, { isTip = false, isStored = true, to = members() }): string {
    const seq = isStored ? messages.length + 1 : 0;
    const card = isTip ? '' : (member(from)?.card ?? '');
    if (isStored) messages.push({ seq, from, text, card, sec: nowSec, isTip, gone: '' });
    if (isStored && !isTip) Object.assign(member(from) ?? {}, { sent: nowSec });
    tell(namesOf(to.filter(hears)), `${seq} ${text}${card}`);
    return `seq ${seq}`;
  }

  const tip = (kind: string, by: string, what: string, to = members()) =>
    say(by, `tip ${kind} by ${by} ${what}`, { isTip: true, isStored: row.changeNotice === 'strong', to });

  function join(names: string[], role: Role): void {
    const rest = { from: messages.length + 1, to: Infinity, read: messages.length, card: '', joined: nowSec, sent: 0 };
    for (const who of names) stays.push({ who, role, flag: row.defaultMsgFlag, ...rest });
  }

  /** As many as there is room for. */
  function takeIn(names: string[], by: string): string[] {
    const taken = names.slice(0, profile.maxMembers - members().length);
    join(taken, 'Member');
    for (const request of group.requests) if (taken.includes(request.who)) request.result ||= 'gone';
    const hearers = members().filter(({ who }) => row.changeNotice !== 'none' || taken.includes(who));
    if (taken.length > 0) tip('join', by, `${taken} ${members().length}`, hearers);
    return taken;
  }

  function letGo(gone: Stay[], kind: 'kick' | 'quit', by: string): void {
    const to = messages.length;
    if (gone.some(({ role }) => role === 'Owner')) group.isHidden = false;
    for (const stay of gone) Object.assign(stay, { to }, stay.flag === 'Discard' ? { cleared: to } : {});
    if (row.changeNotice !== 'none' && gone.length > 0) tip(kind, by, `${namesOf(gone)} ${members().length}`);
    notice(namesOf(gone), kind === 'kick' ? 'kicked' : 'quit', by);
  }

  /** Instead of what is open. */
  function ask(who: string, kind: RequestKind, inviter: string): void {
    group.requests = group.requests.filter((one) => one.who !== who || one.kind !== kind || one.result !== '');
    group.requests.push({ who, kind, inviter, result: '' });
  }

  function recall(by: string, seq: number): number {
    const message = readable(by).find((one) => one.seq === seq && one.gone === '');
    if (message === undefined) return row.isStored ? 10030 : 10033;
    if (message.isTip) return 10032;
    if (by !== 'admin' && message.from !== by) return 10007;
    if (by !== 'admin' && nowSec - message.sec > 120) return 10031;
    message.gone = 'recalled';
    return 0;
  }

  function apply(op: Op): string {
    const { by } = op;
    const rank = rankOf(by);
    const stay = member('who' in op ? op.who : by);
    if (op.do !== 'create' && (group.isGone || (group.isHidden && rank < ranks.Owner))) return 'GROUP_UNKNOWN';
    if (op.do === 'create') {
      Object.assign(profile, op.profile, row.apply === 'never' ? { applyOption: 'DisableApply' } : {});
      Object.assign(group, { isGone: false, isHidden: row.isHiddenAtFirst && op.owners.length > 0 });
      join(op.owners, 'Owner');
      join(op.members, 'Member');
      notice(op.owners, 'created', by);
      notice(op.members, 'pulledIn', by);
    }
    if (op.do === 'send') {
      if (stay && ((mutes.get(by) ?? 0) > nowSec || (profile.isMuted && rank < ranks.Admin))) return 'GROUP_MUTED';
      const least = row.isBroadcast ? ranks.Administrator : ranks.Member;
      if (rank < least || (op.isLive && !row.isStored)) return forbidden;
      const first = messages.find(({ from, text }) => from === op.from && text === op.text);
      if (first !== undefined) return `seq ${first.seq} again`;
      if (op.from === owner()) group.isHidden = false;
      return say(op.from, op.text, { isStored: !op.isLive });
    }
    if (op.do === 'add') {
      const isPull = rank === ranks.Administrator || row.invite === 'members-pull';
      if (row.invite === 'nobody' || rank < (isPull ? ranks.Member : ranks.Admin)) return forbidden;
      const fresh = op.whom.filter((who) => member(who) === undefined);
      if (!isPull) for (const who of fresh) ask(who, 'invitation', by);
      const taken = isPull ? takeIn(fresh, by) : fresh;
      if (fresh.length > 0 && taken.length === 0) return 'GROUP_FULL';
      if (!isPull || row.invite === 'members-pull') notice(taken, isPull ? 'pulledIn' : 'invited', by);
      const outcome = (who: string) => (!taken.includes(who) ? 'failed' : isPull ? 'added' : 'asked');
      return op.whom.map((who) => (fresh.includes(who) ? outcome(who) : 'was-member')).join();
    }
    if (op.do === 'remove') {
      if (row.remove === 'never') return 'GROUP_PARAMETER';
      const gone = op.whom.flatMap((who) => member(who) ?? []);
      const may = ({ who, role }: Stay) => isAbove(by, who) && (role !== 'Owner' || row.ownerMayQuit);
      if (rank < (row.remove === 'owner' ? ranks.Owner : ranks.Admin) || !gone.every(may)) return forbidden;
      letGo(gone, 'kick', by);
    }
    if ((op.do === 'quit' && stay === undefined) || (op.do === 'recall' && rank === ranks.None)) return forbidden;
    if (op.do === 'quit' && stay?.role === 'Owner' && !row.ownerMayQuit) return 'GROUP_OWNER_STAYS';
    if (op.do === 'quit' && stay !== undefined) letGo([stay], 'quit', by);
    if (op.do === 'dismiss') {
      if (rank < (row.dismiss === 'nobody' ? ranks.Administrator : ranks.Owner)) return forbidden;
      notice(namesOf(members()), 'destroyed', by);
      for (const request of group.requests) request.result ||= 'gone';
      group.isGone = true;
    }
    if (op.do === 'apply') {
      if (stay !== undefined) return 'GROUP_ALREADY_MEMBER';
      if (row.apply === 'never' || profile.applyOption === 'DisableApply') return forbidden;
      if (profile.applyOption === 'FreeAccess') return takeIn([by], by).length > 0 ? 'joined' : 'GROUP_FULL';
      ask(by, 'application', '');
      notice(namesOf(members().filter(({ role }) => role !== 'Member')), 'applied', by);
      return 'waiting';
    }
    if (op.do === 'answer') {
      const request = group.requests.findLast(({ kind, who }) => kind === op.kind && who === op.who);
      if (request?.result !== '') return request === undefined ? 'GROUP_PARAMETER' : 'GROUP_REQUEST_HANDLED';
      const isApplication = op.kind === 'application';
      if (isApplication ? rank < ranks.Admin : by !== op.who) return forbidden;
      if (op.agrees && takeIn([op.who], isApplication ? by : request.inviter).length === 0) return 'GROUP_FULL';
      request.result = op.agrees ? 'agreed' : 'refused';
      if (isApplication) notice([op.who], op.agrees ? 'accepted' : 'refused', by);
    }
    if (op.do === 'transfer') {
      if (!row.hasOwner || row.isAudience || rank < ranks.Owner) return forbidden;
      if (stay === undefined) return 'GROUP_PARAMETER';
      if (stay.role === 'Owner') return 'ok';
      for (const old of members()) if (old.role === 'Owner') old.role = 'Member';
      stay.role = 'Owner';
      tip('modifyInfo', by, op.who);
    }
    if (op.do === 'edit') {
      const { role, flag, card } = op.set;
      if (rank === ranks.None || (row.isAudience && stay?.role === 'Member')) return forbidden;
      if (by !== op.who && ((flag && by !== 'admin') || (card !== undefined && !isAbove(by, op.who)))) return forbidden;
      if (stay === undefined) return 'GROUP_PARAMETER';
      if (role !== undefined && (!row.hasAdmins || rank < ranks.Owner || stay.role === 'Owner')) return forbidden;
      const isNew = role !== undefined && role !== stay.role;
      if (isNew) tip(role === 'Admin' ? 'setAdmin' : 'cancelAdmin', by, op.who);
      if (isNew) notice([op.who], role === 'Admin' ? 'madeAdmin' : 'noAdmin', by);
      const isBack = flag !== undefined && flag !== 'Discard' && stay.flag === 'Discard';
      Object.assign(stay, op.set, isBack ? { read: messages.length, cleared: messages.length } : {});
    }
    if (op.do === 'mute') {
      if (!row.canMute || !op.whom.every((who) => isAbove(by, who))) return forbidden;
      for (const who of op.whom) mutes.set(who, nowSec + op.sec);
      const muted = op.whom.filter(member).map((who) => `${who}:${op.sec}`);
      if (muted.length > 0) tip('modifyMember', by, muted.join());
    }
    if (op.do === 'modify') {
      const keys = (Object.keys(op.fields) as (keyof ProfileFields)[]).filter((key) => profile[key] !== op.fields[key]);
      const least = row.membersEditProfile && keys.every((key) => key === 'name') ? ranks.Member : ranks.Admin;
      if (rank < least || (keys.includes('isMuted') && !row.canMute)) return forbidden;
      Object.assign(profile, op.fields);
      if (op.fields.name !== undefined) tip('modifyInfo', by, op.fields.name);
    }
    if (op.do === 'read' || op.do === 'setUnread') {
      if (stay === undefined || (group.isHidden && stay.role !== 'Owner')) return forbidden;
      const [first] = op.do === 'setUnread' ? counted(stay).slice(-op.count) : [];
      const read = op.do === 'read' ? Math.min(op.seq, messages.length) : (first?.seq ?? messages.length + 1) - 1;
      const isMoved = op.do === 'read' ? read > stay.read : row.countsUnread;
      if (isMoved) stay.read = read;
      const state = `read ${stay.read} ${unread(stay)}`;
      if (isMoved) tell([stay.who], state);
      return op.do === 'read' ? state : 'ok';
    }
    if (op.do === 'recall') {
      const codes = op.seqs.map((seq) => recall(by, seq));
      const taken = op.seqs.filter((_, index) => codes[index] === 0);
      if (taken.length > 0) tell(namesOf(members().filter(hears)), `recalled ${taken}`);
      return `codes ${codes}`;
    }
    if (op.do === 'blank' && row.isStored) {
      for (const one of messages.slice(-1_000)) if (one.from === op.who && !one.isTip) one.gone ||= 'blanked';
    }
    return 'ok';
  }

  return { apply, members, member, owner, readable, unread };
}
