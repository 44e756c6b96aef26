import type { ApplyOption, MsgFlag } from '../../src/wire/index.ts';

/** What actors do in groups, as the model test has it: `admin` is the app's administrator, everybody else an account. */
export type Op = { by: string } & (
  | { do: 'create'; id: string; type: string; profile: ProfileFields; owners: string[]; members: string[] }
  /** The text is its client id; `from`: in whose name; `isLive`: to those online alone. */
  | { do: 'send'; from: string; text: string; isLive: boolean }
  | { do: 'add' | 'remove'; whom: string[] }
  | { do: 'quit' | 'dismiss' | 'apply' }
  | ({ do: 'transfer' | 'blank' } & Who)
  /** One field at a time. */
  | ({ do: 'edit'; set: { role?: 'Admin' | 'Member'; flag?: MsgFlag; card?: string } } & Who)
  | { do: 'mute'; whom: string[]; sec: number }
  | { do: 'modify'; fields: ProfileFields }
  | ({ do: 'answer'; kind: RequestKind; agrees: boolean } & Who)
  | { do: 'read'; seq: number }
  | ({ do: 'setUnread'; count: number } & Who)
  | { do: 'recall'; seqs: number[] }
);
type Who = { who: string };

export type ProfileFields = { name?: string; isMuted?: boolean; applyOption?: ApplyOption; maxMembers?: number };
export type RequestKind = 'application' | 'invitation';
export type Role = 'Owner' | 'Admin' | 'Member';

export interface MemberView extends Who {
  role: Role;
  /** First seq of the stay. */
  from: number;
  read: number;
  flag: MsgFlag;
  card: string;
  joined: number;
  sent: number;
}

/** A group as the administrator and each account find it; lines, sorted where their order says nothing. */
export interface GroupView {
  profile: Required<ProfileFields>;
  owner: string;
  isHidden: boolean;
  memberCount: number;
  lastSeq: number;
  members: MemberView[];
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
  | { toldOf: string }
  | { groupId: string; isWhole: boolean }
  | { account: string }
  | 'maintain';
