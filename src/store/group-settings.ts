import Type, { type TSchema } from 'typebox';
import { type GroupTypeColumns, type StandardGroupType, standardGroupTypes } from '../wire/index.ts';

/** What can be configured of an app's groups, as part of its messaging: types (G38), limits (G4, G23, G32) and fields of its own. */

const closed = { additionalProperties: false } as const;

const literals = <T extends string>(values: readonly T[]) =>
  values.map((value) => Type.Literal(value)) as [Type.TLiteral<T>];

/** The columns of a type, as an app may change them. */
const columns = {
  maxMembers: Type.Integer({
    description: 'Members at most, and what a group has that names no number. 0 means any number.',
    minimum: 0,
    maximum: 1_000_000,
  }),
  apply: Type.Union(literals(['never', 'by-option']), {
    description: 'Whether others can apply: `never`, or as the ApplyJoinOption of the group says.',
  }),
  defaultApplyOption: Type.Union(literals(['FreeAccess', 'NeedPermission', 'DisableApply']), {
    description: 'ApplyJoinOption of a group that names none.',
  }),
  invite: Type.Union(literals(['members-pull', 'managers-invite', 'nobody']), {
    description:
      'Who takes others in: `members-pull`, any member, without asking them; `managers-invite`, owner and admins, and who is invited has to agree; `nobody`, nor the administrator of the app, who else always may.',
  }),
  hasInitialMembers: Type.Boolean({ description: 'Whether a group can be created with members.' }),
  membersEditProfile: Type.Boolean({
    description: 'Whether plain members change name, introduction, notification and face URL, too.',
  }),
  hasOwner: Type.Boolean({ description: 'Whether a group can have an owner.' }),
  hasAdmins: Type.Boolean({ description: 'Whether members can be made admins.' }),
  ownerMayQuit: Type.Boolean({ description: 'Whether the owner may quit: the group goes on without one.' }),
  dismiss: Type.Union(literals(['owner', 'nobody']), {
    description: "Who besides the app's administrator may dismiss a group.",
  }),
  remove: Type.Union(literals(['managers', 'owner', 'never']), {
    description:
      "Who besides the app's administrator may remove members: owner and admins, or the owner; `never`: nobody at all.",
  }),
  canMute: Type.Boolean({ description: 'Whether members, one or all, can be muted.' }),
  isBroadcast: Type.Boolean({ description: "Whether the app's administrator alone speaks." }),
  isSearchable: Type.Boolean({ description: 'Whether who is no member finds a group by its id.' }),
  changeNotice: Type.Union(literals(['none', 'weak', 'strong']), {
    description:
      'How members hear of who comes and goes: `none`, not at all, but for whoever joins; `weak`, those who are online; `strong`, by a message with a seq that is kept.',
  }),
  isStored: Type.Boolean({ description: 'Whether messages are kept.' }),
  showsEarlier: Type.Boolean({ description: 'Whether members see what was said before they joined.' }),
  countsUnread: Type.Boolean({ description: 'Whether unread messages are counted.' }),
  defaultMsgFlag: Type.Union(literals(['AcceptAndNotify', 'AcceptNotNotify', 'Discard']), {
    description: 'MsgFlag of a member who has not chosen one.',
  }),
  isHiddenAtFirst: Type.Boolean({
    description: 'Whether others than the owner see a group only once the owner has said something.',
  }),
  isAudience: Type.Boolean({
    description:
      'Whether plain members are an audience: nobody asks for their roles or changes what is noted of them, and the group is not handed on.',
  }),
  listedMembers: Type.Union([Type.Literal('all'), Type.Integer({ minimum: 0, maximum: 10_000 })], {
    description: 'How many members a list shows. 0: there is no list.',
  }),
  canImport: Type.Boolean({ description: 'Whether groups, members and messages can be imported.' }),
  quota: Type.Union(
    [
      Type.Literal('daily'),
      Type.Object(
        { perApp: Type.Integer({ description: 'Groups of the type at once.', minimum: 0, maximum: 1_000_000 }) },
        closed,
      ),
    ],
    { description: 'What a group counts towards: `daily`, `im.groupsPerDay`; or a number of its type alone.' },
  ),
  isInJoinedList: Type.Boolean({ description: 'Whether lists of the groups that an account is in show it.' }),
} satisfies Record<keyof GroupTypeColumns, TSchema>;

const rate = (description: string, defaults: { default?: number }) =>
  Type.Integer({ description, minimum: 0, maximum: 100_000, ...defaults });
const ratesOf = (defaults: { default?: number }) => ({
  perSec: rate('Messages a second to one group, tips and notices aside. 0 means no limit.', defaults),
  normalPerSec: rate('Of them, those of priority Normal. 0 means no limit.', defaults),
  lowPerSec: rate('Of them, those of priority Low. 0 means no limit.', defaults),
  lowestPerSec: rate('Of them, those of priority Lowest. 0 means no limit.', defaults),
});
const rates = ratesOf({ default: 40 });

const roamingDays = { minimum: 1, maximum: 3_650 };

const GroupTypeSchema = Type.Object(
  {
    name: Type.String({
      description: 'Name of the type: 1 to 30 letters, digits, `_` and `-`. A standard one changes that type.',
      pattern: '^[A-Za-z0-9_-]{1,30}$',
    }),
    base: Type.Union(literals<StandardGroupType>(standardGroupTypes), {
      description:
        'The standard type that it is like where it names nothing else; of a standard name that type itself.',
    }),
    ...(Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, Type.Optional(column)])) as {
      [Name in keyof typeof columns]: Type.TOptional<(typeof columns)[Name]>;
    }),
    roamingDays: Type.Optional(
      Type.Integer({
        description: 'How long its messages can be fetched, instead of `im.groupRoamingDays`.',
        ...roamingDays,
      }),
    ),
    rate: Type.Optional(
      Type.Partial(Type.Object(ratesOf({})), {
        ...closed,
        description: 'Limits that differ from `im.groupRate`.',
      }),
    ),
  },
  closed,
);

/** Rights of fields, from the fewest who have them to the most. */
export const groupFieldLevels = ['App', 'Owner', 'Admin', 'Member', 'Any'] as const;
export type GroupFieldLevel = (typeof groupFieldLevels)[number];

const level = (description: string, defaults: { default: GroupFieldLevel }) =>
  Type.Union(literals(groupFieldLevels), { description, ...defaults });
const fieldColumns = {
  key: Type.String({
    description: 'Key of the field: 1 to 16 letters, digits and `_`.',
    pattern: '^(?!__proto__$)[A-Za-z0-9_]{1,16}$',
  }),
  types: Type.Array(Type.String({ pattern: '^[A-Za-z0-9_-]{1,30}$' }), {
    description: 'Types whose groups have it. None named: all.',
    maxItems: 100,
    default: [],
  }),
  read: level('Who may read it at least: administrators of the app, owner, admins, members, or anybody.', {
    default: 'Member',
  }),
  write: level('Who may write it at least.', { default: 'Admin' }),
};

const GroupFieldSchema = Type.Object(
  {
    ...fieldColumns,
    callback: Type.Boolean({
      description: 'Whether Group.CallbackAfterGroupInfoChanged tells of its changes.',
      default: false,
    }),
  },
  closed,
);

const GroupMemberFieldSchema = Type.Object(
  {
    ...fieldColumns,
    selfRead: Type.Boolean({ description: 'Whether a member may read its own in any case.', default: true }),
    selfWrite: Type.Boolean({ description: 'Whether a member may write its own in any case.', default: true }),
  },
  closed,
);

const keys = (description: string) =>
  Type.Array(Type.String({ minLength: 1, maxLength: 16 }), { description, maxItems: 20, default: [] });

/** Parts of the messaging settings. */
export const groupSettings = {
  groupTypes: Type.Array(GroupTypeSchema, {
    description:
      "Types of groups of the app's own, and changes of standard ones. Groups of a type that is taken away are treated as Private ones.",
    maxItems: 50,
    default: [],
  }),
  groupsPerDay: Type.Integer({
    description: 'Groups that may be created on a day (`timeZone`), less those dismissed on it. 0 means no limit.',
    minimum: 0,
    maximum: 100_000_000,
    default: 5_000,
  }),
  groupRoamingDays: Type.Integer({
    description: 'How long group messages can be fetched, where their type keeps any.',
    ...roamingDays,
    default: 7,
  }),
  groupRate: Type.Object(rates, {
    ...closed,
    description:
      'How many messages a group takes. Above that those of higher priority go first, and what is left is dropped (the sender gets MsgSeq 0). High, owner, admins and the administrator of the app count towards `perSec` alone.',
    default: {},
  }),
  groupTellsDropped: Type.Boolean({
    description:
      'Whether the sender of a message that these limits drop is told so (error 10023) instead of being answered MsgSeq 0.',
    default: false,
  }),
  groupFields: Type.Array(GroupFieldSchema, {
    description: 'Custom fields of groups, each at most 512 bytes; at most 20 a type.',
    maxItems: 200,
    default: [],
  }),
  groupMemberFields: Type.Array(GroupMemberFieldSchema, {
    description: 'Custom fields of members, each at most 64 bytes; at most 5 a type.',
    maxItems: 50,
    default: [],
  }),
  groupSenderFields: Type.Object(
    {
      account: keys('Keywords of `profileFields`: of the sender.'),
      group: keys('Keys of `groupFields`: of the group.'),
      member: keys('Keys of `groupMemberFields`: of the sender as a member.'),
    },
    {
      ...closed,
      description:
        'Custom fields that a group message carries, as they were when it was accepted. Members see them whoever may read them elsewhere.',
      default: {},
    },
  ),
};
