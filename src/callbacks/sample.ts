import { type CallbackCommand, c2cSendFields, groupSendFields } from '../wire/index.ts';

/**
 * A body as an app could get it, with every field of the command (API reference §10.2), for trying a backend out. The accounts,
 * groups and messages in it do not exist. Pure.
 */
export function sampleFields(command: CallbackCommand, nowMs: number): Record<string, unknown> {
  return samples[command](nowMs);
}

/** The same as it is sent: JSON text. */
export function sampleBody(command: CallbackCommand, nowMs: number): string {
  return JSON.stringify({ CallbackCommand: command, ...sampleFields(command, nowMs) });
}

const sender = 'test-alice';
const receiver = 'test-bob';
const third = 'test-carol';
const random = 771_231;
const seconds = (nowMs: number): number => Math.floor(nowMs / 1_000);
const text = (Text: string) => [{ MsgType: 'TIMTextElem', MsgContent: { Text } }];
const members = (...accounts: string[]) => accounts.map((Member_Account) => ({ Member_Account }));
const group = { GroupId: '@TGS#TEST', Type: 'Public' };
const name = 'Tea club';
const pair = { From_Account: sender, To_Account: receiver };

const groupMessage = {
  groupId: group.GroupId,
  type: group.Type,
  from: sender,
  operator: sender,
  random,
  body: text('A test: nobody wrote this to the group.'),
};

const c2c = (nowMs: number) =>
  c2cSendFields({
    from: sender,
    to: receiver,
    msgSeq: 1,
    random,
    time: seconds(nowMs),
    body: text('A test: nobody wrote this. 你好'),
    custom: 'custom data',
    isOnlineOnly: false,
  });

const samples: Readonly<Record<CallbackCommand, (nowMs: number) => Record<string, unknown>>> = {
  'State.StateChange': (nowMs) => ({
    Info: { Action: 'Login', To_Account: sender, Reason: 'Register' },
    EventTime: nowMs,
    Version: 1,
  }),
  'C2C.CallbackBeforeSendMsg': c2c,
  'C2C.CallbackAfterSendMsg': (nowMs) => ({ ...c2c(nowMs), SendMsgResult: 0, ErrorInfo: '' }),
  'Group.CallbackBeforeCreateGroup': () => ({
    Operator_Account: sender,
    Owner_Account: sender,
    Type: group.Type,
    Name: name,
    CreatedNum: 3,
    MemberList: members(receiver),
  }),
  'Group.CallbackAfterCreateGroup': () => ({
    GroupId: group.GroupId,
    Operator_Account: sender,
    Owner_Account: sender,
    Type: group.Type,
    Name: name,
    MemberList: members(sender, receiver),
    UserDefinedDataList: [{ Key: 'Level', Value: '1' }],
  }),
  'Group.CallbackBeforeApplyJoinGroup': () => ({ ...group, Requestor_Account: third }),
  'Group.CallbackBeforeInviteJoinGroup': () => ({
    ...group,
    Operator_Account: sender,
    DestinationMembers: members(receiver, third),
  }),
  'Group.CallbackAfterNewMemberJoin': () => ({
    ...group,
    JoinType: 'Invited',
    Operator_Account: sender,
    NewMemberList: members(third),
  }),
  'Group.CallbackAfterMemberExit': () => ({
    ...group,
    ExitType: 'Quit',
    Operator_Account: third,
    ExitMemberList: members(third),
  }),
  'Group.CallbackBeforeSendMsg': () => ({ ...groupSendFields(groupMessage), OnlineOnlyFlag: 0 }),
  'Group.CallbackAfterSendMsg': (nowMs) =>
    groupSendFields({ ...groupMessage, stored: { seq: 42, time: seconds(nowMs) } }),
  'Group.CallbackAfterGroupFull': () => ({ GroupId: group.GroupId }),
  'Group.CallbackAfterGroupDestroyed': () => ({
    ...group,
    Owner_Account: sender,
    Name: name,
    MemberList: members(sender, receiver),
  }),
  'Group.CallbackAfterGroupInfoChanged': () => ({ ...group, Operator_Account: sender, Notification: 'no coffee' }),
  'Sns.CallbackPrevFriendAdd': () => ({
    Requester_Account: sender,
    From_Account: sender,
    AddType: 'Add_Type_Both',
    FriendItem: [
      { To_Account: receiver, Remark: '', GroupName: '', AddSource: 'AddSource_Type_Test', AddWording: 'hello' },
    ],
    ForceAddFlags: 0,
  }),
  'Sns.CallbackPrevFriendResponse': () => ({
    Requester_Account: receiver,
    From_Account: receiver,
    ResponseFriendItem: [
      { To_Account: sender, Remark: '', TagName: '', ResponseAction: 'Response_Action_AgreeAndAdd' },
    ],
  }),
  'Sns.CallbackFriendAdd': () => ({
    PairList: [
      { ...pair, Initiator_Account: sender },
      { From_Account: receiver, To_Account: sender, Initiator_Account: sender },
    ],
    ClientCmd: 'friend_add',
    Admin_Account: '',
    ForceFlag: 0,
  }),
  'Sns.CallbackFriendDelete': () => ({ PairList: [pair] }),
  'Sns.CallbackBlackListAdd': () => ({ PairList: [pair] }),
  'Sns.CallbackBlackListDelete': () => ({ PairList: [pair] }),
};
