import Type, { type TSchema } from 'typebox';
import type { ImErrorName, ImRefusal, ImResult } from '../../wire/index.ts';
import type { Actor, AddOutcome, GroupView } from '../group-services.ts';
import type { CustomFields, GroupMember } from '../groups/model.ts';
import type { Call } from './command.ts';
import type { CommandResult, Fields } from './envelope.ts';
import { answerList, anyName, integer, maxU32, oneOf, text } from './schema.ts';

/** What the commands of groups have in common: fields of requests, and groups and members as answers show them (API reference §4.3). */

export const service = 'group_open_http_svc';

/** Accounts of one call at most (API reference §12). */
export const maxAccounts = 500;
/** Bytes of an answer at most, without its envelope. */
const maxAnswerBytes = 1_048_576 - 1_024;

export const groupIdErrors = { otherwise: 'INVALID_FIELD', value: 'GROUP_ID' } as const;
/** What commands about accounts in a group may answer. */
export const accountErrors = [
  'GROUP_UNKNOWN',
  'GROUP_FORBIDDEN',
  'GROUP_ACCOUNT_UNKNOWN',
] as const satisfies readonly ImErrorName[];
export const listErrors = { otherwise: 'INVALID_FIELD', many: 'GROUP_TOO_MANY' } as const;

export function groupId(description = 'The group.') {
  return Type.Unsafe<string>({ type: 'string', description, minLength: 1, maxLength: 48, 'x-group-id': true });
}

/** A group id that may turn out to be malformed: it is answered for by itself. */
export function anyGroupId() {
  return anyName('Id of a group.');
}

export const noFields = Type.Object({});

export function applyOption() {
  return oneOf(
    'FreeAccess: whoever applies is in. NeedPermission: owner or admins decide. DisableApply: nobody can.',
    'FreeAccess',
    'NeedPermission',
    'DisableApply',
  );
}

export const profileFields = () => ({
  Introduction: Type.Optional(text('Introduction.', 240)),
  Notification: Type.Optional(text('Notice to the members.', 300)),
  FaceUrl: Type.Optional(text('URL of its image.', 100)),
});
export const groupName = () => text('Its name.', 30, 1);

const customItem = (valueBytes: number) =>
  Type.Object({
    Key: text('Key, as the app has it for groups of the type.', 16, 1),
    Value: text('Value.', valueBytes),
  });

export function groupCustom() {
  return Type.Array(customItem(512), {
    description: 'Values of custom fields; an empty one removes the field.',
    maxItems: 20,
  });
}

export function memberCustom() {
  return Type.Array(customItem(64), {
    description: 'Values of custom fields of the member; an empty one removes the field.',
    maxItems: 5,
  });
}

/** The values by key; undefined: none were given. A key that stands there twice is refused. */
export function readCustom(
  items: readonly { readonly Key: string; readonly Value: string }[] | undefined,
  field: string,
): { ok: true; value: CustomFields | undefined } | ImRefusal {
  if (items === undefined) return { ok: true, value: undefined };
  const values = new Map<string, string>();
  for (const [i, { Key, Value }] of items.entries()) {
    const at = `${field}[${i}].Key`;
    if (!/^[A-Za-z0-9_]+$/.test(Key)) {
      return { ok: false, error: 'INVALID_FIELD', field: at, reason: 'is no key', allowed: 'A–Z, a–z, 0–9, _' };
    }
    if (values.has(Key)) return { ok: false, error: 'INVALID_FIELD', field: at, reason: 'is there twice' };
    values.set(Key, Value);
  }
  return { ok: true, value: Object.fromEntries(values) };
}

/** Who acts: the administrator, over REST. */
export function actorOf({ admin, origin }: Pick<Call<unknown>, 'admin' | 'origin'>): Actor {
  return { account: admin, authority: 'administrator', origin };
}

/** The answer of a change that has nothing to tell but that it was made. */
export function emptyAnswer(done: ImResult): CommandResult {
  return done.ok ? { ok: true, answer: {} } : done;
}

/** The answer, unless it is over 1 MB (10018). */
export function boundedAnswer(answer: Fields): CommandResult {
  if (Buffer.byteLength(JSON.stringify(answer)) <= maxAnswerBytes) return { ok: true, answer };
  return answerTooLong;
}

export const answerTooLong: ImRefusal = { ok: false, error: 'GROUP_ANSWER_TOO_LONG', allowed: 'at most 1 MB' };

/** Adds up what an answer takes; false: it is over 1 MB. */
export function createAnswerMeter(): (part: unknown) => boolean {
  let bytes = 0;
  return (part) => {
    bytes += Buffer.byteLength(JSON.stringify(part)) + 1;
    return bytes <= maxAnswerBytes;
  };
}

type BaseField =
  | 'Type'
  | 'Name'
  | 'Introduction'
  | 'Notification'
  | 'FaceUrl'
  | 'Owner_Account'
  | 'CreateTime'
  | 'InfoSeq'
  | 'LastInfoTime'
  | 'LastMsgTime'
  | 'NextMsgSeq'
  | 'MemberNum'
  | 'MaxMemberNum'
  | 'ApplyJoinOption'
  | 'ShutUpAllMember';

/** The fields of a group by the vendor's names, in the order in which answers have them. */
const baseFields: Readonly<Record<BaseField, (view: GroupView) => string | number>> = {
  Type: ({ group }) => group.type,
  Name: ({ group }) => group.name,
  Introduction: ({ group }) => group.introduction,
  Notification: ({ group }) => group.notification,
  FaceUrl: ({ group }) => group.faceUrl,
  Owner_Account: ({ owner }) => owner ?? '',
  CreateTime: ({ group }) => group.createdSec,
  InfoSeq: ({ group }) => group.infoSeq,
  LastInfoTime: ({ group }) => group.infoSec,
  LastMsgTime: ({ group }) => group.lastSec,
  NextMsgSeq: ({ group }) => group.lastSeq + 1,
  MemberNum: ({ group }) => group.memberCount,
  MaxMemberNum: ({ group }) => group.maxMembers,
  ApplyJoinOption: ({ group }) => group.applyOption,
  ShutUpAllMember: ({ group }) => (group.isMuted ? 'On' : 'Off'),
};
const baseFieldNames = Object.keys(baseFields) as BaseField[];
/** Other names that filters have for fields. */
const baseFieldAliases = { MemberCount: 'MemberNum', MaxMemberCount: 'MaxMemberNum' } as const;
/** Filters name it, and it is there in any case. */
const alwaysThere = 'GroupId';

type MemberField = 'Role' | 'JoinTime' | 'MsgSeq' | 'MsgFlag' | 'LastSendMsgTime' | 'ShutUpUntil' | 'NameCard';

const memberFields: Readonly<Record<MemberField, (member: GroupMember, nowSec: number) => string | number>> = {
  Role: ({ role }) => role,
  JoinTime: ({ joinedSec }) => joinedSec,
  MsgSeq: ({ readSeq }) => readSeq,
  MsgFlag: ({ msgFlag }) => msgFlag,
  LastSendMsgTime: ({ lastSentSec }) => lastSentSec,
  ShutUpUntil: ({ mutedUntilSec }, nowSec) => (mutedUntilSec > nowSec ? Math.min(mutedUntilSec, maxU32) : 0),
  NameCard: ({ nameCard }) => nameCard,
};
const memberFieldNames = Object.keys(memberFields) as MemberField[];

export type BaseFilter = BaseField | keyof typeof baseFieldAliases | typeof alwaysThere;
export type MemberFilter = MemberField | 'Account' | 'Member_Account';

/** Names of fields that are to come back. */
function filterOf<const V extends string>(description: string, names: readonly V[]) {
  const items = Type.Unsafe<V>({ type: 'string', enum: [...names] });
  return Type.Optional(Type.Array(items, { description, maxItems: 50 }));
}

export const baseFilter = () =>
  filterOf<BaseFilter>('Fields of the group.', [
    ...baseFieldNames,
    ...(Object.keys(baseFieldAliases) as (keyof typeof baseFieldAliases)[]),
    alwaysThere,
  ]);
export const memberFilter = () =>
  filterOf<MemberFilter>('Fields of its members; their names are always there.', [
    'Account',
    'Member_Account',
    ...memberFieldNames,
  ]);
export const customFilter = (description: string) =>
  Type.Optional(Type.Array(text('A key.', 16, 1), { description, maxItems: 20 }));

/** Fields of the group; `filter` absent: all. */
export function baseInfoOf(view: GroupView, filter?: readonly BaseFilter[]): Fields {
  const wanted = new Set<string>(
    filter?.map((name) => (Object.hasOwn(baseFieldAliases, name) ? baseFieldAliases[name as 'MemberCount'] : name)),
  );
  const names = filter === undefined ? baseFieldNames : baseFieldNames.filter((name) => wanted.has(name));
  return Object.fromEntries(names.map((name) => [name, baseFields[name](view)]));
}

/** Custom fields as answers have them; `keys` absent: all. */
export function customOf(custom: CustomFields, keys?: readonly string[]): { Key: string; Value: string }[] {
  return Object.entries(custom)
    .filter(([key]) => keys === undefined || keys.includes(key))
    .map(([Key, Value]) => ({ Key, Value }));
}

/** What is asked for of members; absent of either: all of it, unless the other one is there. */
interface MemberWish {
  readonly fields?: readonly MemberFilter[] | undefined;
  readonly keys?: readonly string[] | undefined;
}

export function memberInfoOf(member: GroupMember, { fields, keys }: MemberWish, nowSec: number): Fields {
  const isAll = fields === undefined && keys === undefined;
  const names = isAll ? memberFieldNames : memberFieldNames.filter((name) => fields?.includes(name) === true);
  return {
    Member_Account: member.account,
    ...Object.fromEntries(names.map((name) => [name, memberFields[name](member, nowSec)])),
    ...(isAll || keys !== undefined ? { AppMemberDefinedData: customOf(member.custom, keys) } : {}),
  };
}

/** Schemas of answers; everything may be left out by a filter. */
const customAnswer = (description: string) =>
  Type.Optional(Type.Array(Type.Object({ Key: Type.String(), Value: Type.String() }), { description }));
const optionalText = (description: string) => Type.Optional(Type.String({ description }));
const optionalNumber = (description: string) => Type.Optional(Type.Integer({ description, minimum: 0 }));

export const baseAnswer = (): Record<BaseField, TSchema> => ({
  Type: optionalText('Its type.'),
  Name: optionalText('Its name.'),
  Introduction: optionalText('Its introduction.'),
  Notification: optionalText('Its notice.'),
  FaceUrl: optionalText('URL of its image.'),
  Owner_Account: optionalText('Its owner; empty: it has none.'),
  CreateTime: optionalNumber('When it was made, Unix seconds.'),
  InfoSeq: optionalNumber('Rises with each change of its profile.'),
  LastInfoTime: optionalNumber('When its profile last changed.'),
  LastMsgTime: optionalNumber('When its last message was sent; 0: there is none.'),
  NextMsgSeq: optionalNumber('MsgSeq that its next message will have.'),
  MemberNum: optionalNumber('How many members it has.'),
  MaxMemberNum: optionalNumber('How many it can have.'),
  ApplyJoinOption: Type.Optional(applyOption()),
  ShutUpAllMember: Type.Optional(oneOf('On: only owner and admins speak.', 'On', 'Off')),
});

export const memberAnswer = () =>
  Type.Object({
    Member_Account: Type.String({ description: 'The member.' }),
    Role: Type.Optional(oneOf('Its role.', 'Owner', 'Admin', 'Member')),
    JoinTime: optionalNumber('When it joined, Unix seconds.'),
    MsgSeq: optionalNumber('MsgSeq up to which it has read.'),
    MsgFlag: Type.Optional(msgFlag()),
    LastSendMsgTime: optionalNumber('When it last sent a message; 0: never.'),
    ShutUpUntil: optionalNumber('Until when it may not send, Unix seconds; 0: it may.'),
    NameCard: optionalText('Its name in the group.'),
    AppMemberDefinedData: customAnswer('Its custom fields.'),
  });

export const groupCustomAnswer = () => customAnswer('Custom fields of the group.');

export function msgFlag() {
  return oneOf(
    'AcceptAndNotify: delivered and pushed. AcceptNotNotify: delivered. Discard: not delivered.',
    'AcceptAndNotify',
    'AcceptNotNotify',
    'Discard',
  );
}

export const silence = () => Type.Optional(oneOf('1: nobody is told.', 0, 1));

const resultOf = { failed: 0, added: 1, 'was-member': 2, asked: 3 } as const satisfies Record<AddOutcome, number>;

export function resultList(meaning: string) {
  return answerList(
    'One entry for each of the request.',
    Type.Object({ Member_Account: anyName('As in the request.'), Result: integer(meaning, 0, 3) }),
  );
}

export function resultsOf(added: readonly { account: string; outcome: AddOutcome }[]) {
  return added.map(({ account, outcome }) => ({ Member_Account: account, Result: resultOf[outcome] }));
}
