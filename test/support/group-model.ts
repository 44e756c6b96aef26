import type { GroupTypeRow } from '../../src/wire/index.ts';
import {
  GroupState,
  type ModelMessage,
  type ModelRequest,
  type Op,
  type ProfileFields,
  type Role,
} from './group-ops.ts';

const forbidden = 'GROUP_FORBIDDEN';
const ranks = { None: 0, Member: 1, Admin: 2, Owner: 3, Administrator: 4 } as const;

/**
 * What the service promises about a group, as plainly as it can be said: lists and counting, one thing after another. Pure. Results are
 * words, or names of errors. The same place may have one group after another; what is told and asked of them goes on.
 */
export class GroupModel extends GroupState {
  copy(): GroupModel {
    return Object.assign(new GroupModel(), structuredClone({ ...this }));
  }

  apply(op: Op, rowOf: (type: string) => GroupTypeRow): string {
    const { by } = op;
    const isAdmin = by === 'admin';
    if (op.do === 'create') {
      const row = rowOf(op.type);
      if (!row.hasOwner && !isAdmin) return forbidden;
      const { notices, told, nowSec } = this;
      const requests = this.requests.map((one) => ({ ...one, isPast: true }));
      const { id, name, owner = '', maxMembers, members } = op;
      const applyOption = row.apply === 'never' ? 'DisableApply' : op.applyOption;
      const isHidden = row.isHiddenAtFirst && owner !== '';
      Object.assign(
        this,
        new GroupModel(),
        { notices, told, nowSec, requests },
        { id, name, owner, maxMembers, applyOption, isHidden, isGone: false, row },
      );
      if (owner !== '') this.join([owner], 'Owner');
      this.join(members, 'Member');
      if (owner !== '') this.notice([owner], 'created', by);
      if (!isHidden) this.notice(members, 'pulledIn', by);
      return `created ${id}`;
    }
    const { row, members, messages } = this;
    const self = members.get(by);
    const rank = isAdmin ? ranks.Administrator : ranks[self?.role ?? 'None'];
    const above = (who: string) => rank >= 2 && rank > ranks[members.get(who)?.role ?? 'None'];
    if (this.isGone || (this.isHidden && rank < 3)) return 'GROUP_UNKNOWN';
    if (op.do === 'reveal') this.isHidden = false;
    if (op.do === 'send') {
      const from = op.as ?? by;
      if (rank === 0 || (row.isBroadcast && !isAdmin)) return forbidden;
      if ((this.isMuted && rank < 2) || (!isAdmin && (this.mutes.get(by) ?? 0) > this.nowSec)) return 'GROUP_MUTED';
      if (op.live === true && !row.isStored) return forbidden;
      const first = messages.findIndex((message) => message.from === from && message.text === op.text);
      if (first !== -1) return `seq ${first + 1} again`;
      if (from === this.owner) this.isHidden = false;
      return `seq ${this.say(from, op.text, op.live === true ? 'live' : 'message')}`;
    }
    if (op.do === 'add') {
      const isPull = isAdmin || row.invite === 'members-pull';
      if (row.invite === 'nobody' || rank < (isPull ? 1 : 2)) return forbidden;
      const fresh = op.whom.filter((who) => !members.has(who));
      if (!isPull) for (const who of fresh) this.ask({ who, kind: 'invitation', inviter: by });
      else if (!this.takeIn(fresh, by, true)) return 'GROUP_FULL';
      const outcome = (who: string) => (!isPull ? 'asked' : members.has(who) ? 'added' : 'failed');
      return op.whom.map((who) => (fresh.includes(who) ? outcome(who) : 'was-member')).join();
    }
    if (op.do === 'remove') {
      if (row.remove === 'never') return 'GROUP_PARAMETER';
      const gone = op.whom.filter((who) => members.has(who));
      const may = (who: string) => above(who) && (who !== this.owner || row.ownerMayQuit);
      if (rank < (row.remove === 'owner' ? 3 : 2) || !gone.every(may)) return forbidden;
      this.letGo(gone, 'kick', by);
    }
    if (op.do === 'quit' && self === undefined) return forbidden;
    if (op.do === 'quit' && self?.role === 'Owner' && !row.ownerMayQuit) return 'GROUP_OWNER_STAYS';
    if (op.do === 'quit') this.letGo([by], 'quit', by);
    if (op.do === 'dismiss') {
      if (rank < (row.dismiss === 'nobody' ? 4 : 3)) return forbidden;
      this.notice([...members.keys()], 'destroyed', by);
      for (const request of this.requests) request.result ||= 'gone';
      this.isGone = true;
    }
    if (op.do === 'apply') {
      if (self !== undefined) return 'GROUP_ALREADY_MEMBER';
      if (row.apply === 'never' || this.applyOption === 'DisableApply') return forbidden;
      if (this.applyOption === 'FreeAccess') return this.takeIn([by], by, false) ? 'joined' : 'GROUP_FULL';
      this.ask({ who: by, kind: 'application', inviter: '' });
      return 'waiting';
    }
    if (op.do === 'answer') {
      const request = this.requests.findLast(({ kind, who, isPast }) => kind === op.kind && who === op.who && !isPast);
      if (request === undefined) return 'GROUP_PARAMETER';
      if (request.result !== '') return 'GROUP_REQUEST_HANDLED';
      const isApplication = op.kind === 'application';
      if (isApplication ? row.apply === 'never' || rank < 2 : by !== op.who) return forbidden;
      const joins = op.agrees && !members.has(op.who) ? [op.who] : [];
      request.result = op.agrees ? 'agreed' : 'refused';
      if (!this.takeIn(joins, isApplication ? by : request.inviter, !isApplication)) request.result = '';
      if (request.result === '') return 'GROUP_FULL';
      if (isApplication) this.notice([op.who], op.agrees ? 'accepted' : 'refused', by);
    }
    if (op.do === 'transfer') {
      if (!row.hasOwner || row.isAudience || rank < 3) return forbidden;
      const [old, next] = [members.get(this.owner), members.get(op.who)];
      if (next === undefined) return 'GROUP_PARAMETER';
      if (old === next) return 'ok';
      if (old !== undefined) old.role = 'Member';
      next.role = 'Owner';
      this.owner = op.who;
      this.tip('modifyInfo', by, op.who);
    }
    if (op.do === 'role' || op.do === 'flag' || op.do === 'card') {
      const member = members.get(op.who);
      if (member === undefined) return 'GROUP_PARAMETER';
      if (rank === 0 || (row.isAudience && member.role === 'Member')) return forbidden;
      if (op.do === 'role' && (!row.hasAdmins || rank < 3 || member.role === 'Owner')) return forbidden;
      if (op.do === 'flag' && op.who !== by && !isAdmin) return forbidden;
      if (op.do === 'card' && op.who !== by && !above(op.who)) return forbidden;
      if (op.do === 'role' && member.role !== op.role) {
        member.role = op.role;
        this.tip(op.role === 'Admin' ? 'setAdmin' : 'cancelAdmin', by, op.who);
        this.notice([op.who], op.role === 'Admin' ? 'madeAdmin' : 'noAdmin', by);
      }
      if (op.do === 'flag' && member.flag === 'Discard' && op.flag !== 'Discard') {
        member.read = messages.length;
        this.cleared.set(op.who, messages.length);
      }
      if (op.do === 'flag') member.flag = op.flag;
      if (op.do === 'card') member.card = op.card;
    }
    if (op.do === 'mute') {
      if (!row.canMute || !op.whom.every(above)) return forbidden;
      for (const who of op.whom) this.mutes.set(who, op.sec === 0 ? 0 : this.nowSec + op.sec);
      const told = op.whom.filter((who) => members.has(who)).map((who) => `${who}:${op.sec}`);
      if (told.length > 0) this.tip('modifyMember', by, told.join());
    }
    if (op.do === 'modify') {
      const keys = (Object.keys(op.fields) as (keyof ProfileFields)[]).filter((key) => this[key] !== op.fields[key]);
      if (keys.includes('isMuted') && !row.canMute) return forbidden;
      if (rank < (row.membersEditProfile && keys.every((key) => key === 'name') ? 1 : 2)) return forbidden;
      Object.assign(this, op.fields);
      if (keys.includes('name')) this.tip('modifyInfo', by, this.name);
    }
    if (op.do === 'read' || op.do === 'setUnread') {
      if (op.do === 'setUnread' && !isAdmin) return forbidden;
      const who = op.do === 'read' ? by : op.who;
      const member = members.get(who);
      if (member === undefined || (this.isHidden && member.role !== 'Owner')) return forbidden;
      if (op.do === 'setUnread' && !row.countsUnread) return 'ok';
      const from = op.do === 'read' ? undefined : this.countable(who).slice(-op.count)[0];
      const seq = op.do === 'read' ? Math.min(op.seq, messages.length) : (from ?? messages.length + 1) - 1;
      const isMoved = op.do === 'setUnread' || seq > member.read;
      if (isMoved) member.read = seq;
      const state = `read ${member.read} ${this.unread(who)}`;
      if (isMoved) this.tell([who], state);
      return op.do === 'read' ? state : 'ok';
    }
    if (op.do === 'recall') {
      if (rank === 0) return forbidden;
      const codes = op.seqs.map((seq) => this.recall(by, isAdmin, seq));
      const taken = op.seqs.filter((_, index) => codes[index] === 0);
      if (taken.length > 0) this.tell(this.receivers(), `recalled ${taken}`);
      return `codes ${codes}`;
    }
    if (op.do === 'blank') {
      if (!isAdmin) return forbidden;
      for (const message of row.isStored ? messages.slice(-1_000) : []) {
        if (message.from === op.who && !message.isTip) message.gone ||= 'blanked';
      }
    }
    return 'ok';
  }

  readable(who: string): number[] {
    const all = this.messages.map((_, index) => index + 1);
    if (who === 'admin' || (this.members.has(who) && this.row.showsEarlier)) return all;
    const stays = [
      ...this.past.filter(([name]) => name === who),
      [who, this.members.get(who)?.from ?? 0, Infinity] as const,
    ];
    return this.members.has(who) ? all.filter((seq) => stays.some(([, from, to]) => seq >= from && seq <= to)) : [];
  }

  isKept(seq: number): boolean {
    return (this.messages[seq - 1]?.sec ?? 0) >= this.nowSec - 7 * 86_400;
  }

  /** Seqs that count for the member, read or not. */
  private countable(who: string): number[] {
    const from = this.row.showsEarlier ? 0 : (this.members.get(who)?.from ?? 0);
    const seqs = this.messages.map((_, index) => index + 1).filter((seq) => seq >= from && this.isKept(seq));
    const counts = ({ from, gone }: ModelMessage) => from !== who && gone === '';
    return this.row.countsUnread ? seqs.filter((seq) => counts(this.messages[seq - 1] as ModelMessage)) : [];
  }

  unread(who: string): number {
    const { read = 0, flag = 'Discard' } = this.members.get(who) ?? {};
    return flag === 'Discard' ? 0 : this.countable(who).filter((seq) => seq > read).length;
  }

  private recall(by: string, isAdmin: boolean, seq: number): number {
    const message = this.messages[seq - 1];
    if (!this.row.isStored) return 10033;
    if (message === undefined || !this.readable(by).includes(seq) || message.gone !== '') return 10030;
    if (message.isTip) return 10032;
    if (!isAdmin && message.from !== by) return 10007;
    if (!isAdmin && this.nowSec - message.sec > 120) return 10031;
    message.gone = 'recalled';
    return 0;
  }

  private join(names: string[], role: Role): void {
    const read = this.messages.length;
    const fresh = { role, from: read + 1, read, flag: this.row.defaultMsgFlag, card: '', joined: this.nowSec, sent: 0 };
    for (const name of names) this.members.set(name, { ...fresh });
  }

  /** As many as there is room for; false: none of them. */
  private takeIn(names: string[], by: string, isPulled: boolean): boolean {
    const taken = names.slice(0, Math.max(0, this.maxMembers - this.members.size));
    this.join(taken, 'Member');
    for (const request of this.requests) if (taken.includes(request.who)) request.result ||= 'gone';
    if (taken.length > 0) this.tip('join', by, `${taken} ${this.members.size}`);
    if (isPulled && this.row.invite !== 'managers-invite') this.notice(taken, 'pulledIn', by);
    return names.length === 0 || taken.length > 0;
  }

  private letGo(names: string[], kind: 'kick' | 'quit', by: string): void {
    for (const name of names) {
      this.past.push([name, this.members.get(name)?.from ?? 0, this.messages.length]);
      this.members.delete(name);
      if (this.owner === name) this.owner = '';
    }
    const who = kind === 'kick' ? `${names} ` : '';
    if (names.length > 0) this.tip(kind, by, `${who}${this.members.size}`);
    this.notice(names, kind === 'kick' ? 'kicked' : 'quit', by);
  }

  private ask(request: Pick<ModelRequest, 'who' | 'kind' | 'inviter'>): void {
    const { who, kind, inviter } = request;
    const open = this.requests.find((one) => one.who === who && one.kind === kind && one.result === '');
    if (open === undefined) this.requests.push({ ...request, result: '', isPast: false });
    else open.inviter = inviter;
    const managers = [...this.members].filter(([, { role }]) => role !== 'Member').map(([name]) => name);
    if (kind === 'invitation') this.notice([who], 'invited', inviter);
    else this.notice(managers, 'applied', who);
  }

  private receivers(): string[] {
    const wants = [...this.members].filter(([, { flag }]) => flag !== 'Discard').map(([name]) => name);
    return wants.filter((name) => !this.isHidden || name === this.owner);
  }

  private say(from: string, text: string, kind: 'message' | 'tip' | 'strong tip' | 'live'): number {
    const isStored = kind === 'message' || kind === 'strong tip';
    const sender = this.members.get(from);
    const card = kind === 'message' || kind === 'live' ? (sender?.card ?? '') : '';
    if (isStored) this.messages.push({ from, text, card, sec: this.nowSec, isTip: kind !== 'message', gone: '' });
    if (kind === 'message' && sender !== undefined) sender.sent = this.nowSec;
    const seq = isStored ? this.messages.length : 0;
    this.tell(this.receivers(), `${seq} ${text}${card}`);
    return seq;
  }

  private tip(kind: string, by: string, what: string): void {
    const { changeNotice } = this.row;
    if (changeNotice === 'none' && ['join', 'quit', 'kick'].includes(kind)) return;
    this.say(by, `tip ${kind} by ${by} ${what}`, changeNotice === 'strong' ? 'strong tip' : 'tip');
  }

  private notice(names: string[], kind: string, by: string): void {
    for (const who of names) this.notices.push({ who, kind, by, sec: this.nowSec, groupId: this.id });
    this.tell(names, `notice ${kind} by ${by}`);
  }

  private tell(names: string[], what: string): void {
    for (const name of names) this.told.push(`${name}: ${what}`);
  }
}
