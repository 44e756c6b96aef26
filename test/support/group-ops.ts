import type { ApplyOption, GroupTypeRow, MsgFlag } from '../../src/wire/index.ts';

/** What actors do in groups, as the model test has it: `admin` is the app's administrator, everybody else an account. */
export type Op = { by: string } & (
  | {
      do: 'create';
      id: string;
      name: string;
      type: string;
      owner?: string;
      members: string[];
      maxMembers: number;
      applyOption: ApplyOption;
    }
  /** The text is its client id; `as`: in whose name; `live`: to those online alone. */
  | { do: 'send'; text: string; as?: string; live?: boolean }
  | { do: 'add' | 'remove'; whom: string[] }
  | { do: 'quit' | 'dismiss' | 'apply' }
  | ({ do: 'transfer' | 'blank' } & Who)
  | ({ do: 'role'; role: 'Admin' | 'Member' } & Who)
  | ({ do: 'flag'; flag: MsgFlag } & Who)
  | ({ do: 'card'; card: string } & Who)
  | { do: 'mute'; whom: string[]; sec: number }
  | { do: 'modify'; fields: ProfileFields }
  | ({ do: 'answer'; kind: RequestKind; agrees: boolean } & Who)
  | { do: 'read'; seq: number }
  | ({ do: 'setUnread'; count: number } & Who)
  | { do: 'recall'; seqs: number[] }
  /** Not an operation but a part of one that a crash may leave: a hidden group shows itself. */
  | { do: 'reveal' }
);
type Who = { who: string };

export type ProfileFields = { name?: string; isMuted?: boolean; applyOption?: ApplyOption; maxMembers?: number };
export type RequestKind = 'application' | 'invitation';
export type Role = 'Owner' | 'Admin' | 'Member';

export interface ModelMember {
  role: Role;
  /** First seq of the stay. */
  from: number;
  read: number;
  flag: MsgFlag;
  card: string;
  joined: number;
  sent: number;
}

export interface ModelMessage {
  from: string;
  text: string;
  card: string;
  sec: number;
  isTip: boolean;
  gone: '' | 'recalled' | 'blanked';
}

export interface ModelRequest extends Who {
  kind: RequestKind;
  inviter: string;
  result: '' | 'agreed' | 'refused' | 'gone';
  /** Of an earlier group. */
  isPast: boolean;
}

export interface ModelNotice extends Who {
  kind: string;
  by: string;
  sec: number;
  groupId: string;
}

/** A group as the model has it, and what went before it in the same place. */
export class GroupState {
  id = '';
  name = '';
  owner = '';
  applyOption: ApplyOption = 'FreeAccess';
  maxMembers = 0;
  isMuted = false;
  isHidden = false;
  isGone = true;
  row = {} as GroupTypeRow;
  members = new Map<string, ModelMember>();
  /** Stays that ended. */
  past: [name: string, from: number, to: number][] = [];
  mutes = new Map<string, number>();
  /** Up to where accounts did not want to be told. */
  cleared = new Map<string, number>();
  messages: ModelMessage[] = [];
  requests: ModelRequest[] = [];
  notices: ModelNotice[] = [];
  /** What accounts have been told at once, a line each. */
  told: string[] = [];
  nowSec = 0;
}

/** A group as the administrator and each account find it; lines, sorted where their order says nothing. */
export interface GroupView {
  name: string;
  owner: string;
  applyOption: string;
  maxMembers: number;
  isMuted: boolean;
  isHidden: boolean;
  memberCount: number;
  lastSeq: number;
  members: (Omit<ModelMember, 'role'> & { name: string; role: string })[];
  past: string[];
  listed: string[] | string;
  muted: string[] | string;
  requests: string[];
  /** All that is still there, the oldest first; or the refusal. */
  messages: string[] | string;
  accounts: Record<
    string,
    {
      history: string[] | string;
      /** Messages that a terminal gets which has nothing, and up to where each seq came once, as a message or as a hole. */
      sync: { seqs: number[]; through: number } | string;
      unread: number;
    }
  >;
}

/** The newest notices of each account, as far as they are of this group. */
export type GroupNotices = Record<string, string[]>;

/** An account's own view, of all groups. */
export interface AccountView {
  notices: [groupId: string, line: string][];
  unreadNotices: number;
  joined: string[];
  unread: number;
  states: string[];
  requests: [groupId: string, line: string][];
}

export type Question =
  | { groupId: string; op: Op }
  | { groupId: string; isWhole: boolean }
  | { account: string }
  | 'maintain';
