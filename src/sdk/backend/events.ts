import type { AfterCommand, BeforeCommand, CallbackCommand, MessageElement } from '../../wire/index.ts';

/**
 * Bodies of callbacks, by command (docs/reference/callbacks.md). What is optional here is not always known, or comes with some
 * actions alone; a newer service may add fields.
 */

interface C2CMessage {
  From_Account: string;
  To_Account: string;
  MsgBody: readonly MessageElement[];
  MsgSeq: number;
  MsgRandom: number;
  /** Unix seconds. */
  MsgTime: number;
  /** Names the message in REST commands and in `qalgate callbacks explain`. */
  MsgKey: string;
  /** 1: for terminals that are online now, and stored nowhere. */
  OnlineOnlyFlag: 0 | 1;
  CloudCustomData?: string;
}

interface Member {
  Member_Account: string;
}

interface KeyValue {
  Key: string;
  Value: string;
}

interface Group {
  GroupId: string;
  Type: string;
}

interface Pair {
  From_Account: string;
  To_Account: string;
}

interface Bodies {
  /** A terminal of an account came online or went; which kind of terminal, the query's OptPlatform says. */
  'State.StateChange': {
    Info: {
      /** `Disconnect` with `callbacks.stateNames: '2020'` alone. */
      Action: 'Login' | 'Logout' | 'Disconnect';
      To_Account: string;
      Reason: 'Register' | 'Unregister' | 'LinkClose' | 'Timeout' | 'TimeOut';
    };
    /** Milliseconds since the epoch. */
    EventTime: number;
    /** Rises from change to change of an account: what has a lower one than you know is old. */
    Version: number;
  };
  'C2C.CallbackBeforeSendMsg': C2CMessage;
  'C2C.CallbackAfterSendMsg': C2CMessage & {
    /** 0: it was accepted; else the error that the sender got, with its text: 80001 for a dirty word. */
    SendMsgResult: number;
    ErrorInfo: string;
  };
  'Group.CallbackBeforeCreateGroup': {
    Operator_Account: string;
    Owner_Account: string;
    Type: string;
    Name: string;
    /** Groups of that type that the owner has made. */
    CreatedNum: number;
    MemberList: readonly Member[];
  };
  'Group.CallbackAfterCreateGroup': Group & {
    Operator_Account: string;
    Owner_Account: string;
    Name: string;
    MemberList: readonly Member[];
    UserDefinedDataList?: readonly KeyValue[];
  };
  'Group.CallbackBeforeApplyJoinGroup': Group & { Requestor_Account: string };
  'Group.CallbackBeforeInviteJoinGroup': Group & { Operator_Account: string; DestinationMembers: readonly Member[] };
  'Group.CallbackAfterNewMemberJoin': Group & {
    JoinType: 'Apply' | 'Invited';
    Operator_Account: string;
    NewMemberList: readonly Member[];
  };
  'Group.CallbackAfterMemberExit': Group & {
    ExitType: 'Kicked' | 'Quit';
    Operator_Account: string;
    ExitMemberList: readonly Member[];
  };
  'Group.CallbackBeforeSendMsg': Group & {
    From_Account: string;
    Operator_Account: string;
    Random: number;
    MsgBody: readonly MessageElement[];
    OnlineOnlyFlag?: 0 | 1;
  };
  'Group.CallbackAfterSendMsg': Group & {
    From_Account: string;
    Operator_Account?: string;
    Random?: number;
    MsgSeq: number;
    /** Unix seconds. */
    MsgTime: number;
    MsgBody: readonly MessageElement[];
  };
  'Group.CallbackAfterGroupFull': { GroupId: string };
  'Group.CallbackAfterGroupDestroyed': Group & {
    Owner_Account: string;
    Name: string;
    MemberList: readonly Member[];
  };
  /** Of name and so on only what was changed. */
  'Group.CallbackAfterGroupInfoChanged': Group & {
    Operator_Account: string;
    Name?: string;
    Introduction?: string;
    Notification?: string;
    FaceUrl?: string;
    UserDefinedDataList?: readonly KeyValue[];
  };
  'Sns.CallbackPrevFriendAdd': {
    Requester_Account: string;
    From_Account: string;
    AddType: string;
    FriendItem: readonly {
      To_Account: string;
      Remark: string;
      GroupName: string;
      AddSource: string;
      AddWording: string;
    }[];
    ForceAddFlags: 0 | 1;
  };
  'Sns.CallbackPrevFriendResponse': {
    Requester_Account: string;
    From_Account: string;
    ResponseFriendItem: readonly { To_Account: string; Remark: string; TagName: string; ResponseAction: string }[];
  };
  'Sns.CallbackFriendAdd': {
    PairList: readonly (Pair & { Initiator_Account: string })[];
    ClientCmd: 'friend_add' | 'friend_response';
    /** '' for requests of clients. */
    Admin_Account: string;
    ForceFlag: 0 | 1;
  };
  'Sns.CallbackFriendDelete': { PairList: readonly Pair[]; ClientCmd?: string; Admin_Account?: string };
  'Sns.CallbackBlackListAdd': { PairList: readonly Pair[] };
  'Sns.CallbackBlackListDelete': { PairList: readonly Pair[] };
}

/** The body of a callback by its command: `CallbackEvents['State.StateChange']`. */
export type CallbackEvents = {
  readonly [Command in CallbackCommand]: { readonly CallbackCommand: Command } & Readonly<Bodies[Command]>;
};

/** Any callback: `switch (event.CallbackCommand)` tells which. */
export type CallbackEvent = CallbackEvents[CallbackCommand];

export type { AfterCommand, BeforeCommand, CallbackCommand, MessageElement };
