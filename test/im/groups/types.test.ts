import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import {
  checkGroupId,
  checkGroupIdForm,
  checkGroupTexts,
  checkNameCard,
  checkText,
  newGroupId,
} from '../../../src/im/groups/check-fields.ts';
import { groupTypeNames, groupTypeOf } from '../../../src/im/groups/group-types.ts';
import type { GroupRole } from '../../../src/im/groups/model.ts';
import {
  mayAnswerApplications,
  mayApply,
  mayAskRoles,
  mayCreate,
  mayDismiss,
  mayEditMember,
  mayEditProfile,
  mayImport,
  mayInvite,
  mayMute,
  mayPullIn,
  mayQuit,
  mayRemove,
  maySetRole,
  maySpeak,
  mayTransfer,
  type Standing,
  seesMembers,
  seesProfile,
} from '../../../src/im/groups/rights.ts';
import {
  customFieldFault,
  customFieldsOf,
  dayOf,
  groupRateOf,
  groupRoamingDaysOf,
  groupsPerDayOf,
  longestRoamingDays,
  memberFieldFault,
  readableFields,
  readableMemberFields,
  senderFieldsOf,
  typeFault,
  unlistedTypesOf,
} from '../../../src/im/groups/settings.ts';
import { type AppSettings, createAppStore, createControlBus, createSealer } from '../../../src/store/index.ts';
import {
  describeRefusal,
  type GroupTypeColumns,
  type GroupTypeRow,
  groupTypeFault,
  groupTypeRow,
  groupTypes,
  type ImRefusal,
  imErrorCatalogue,
  type StandardGroupType,
  standardGroupTypes,
} from '../../../src/wire/index.ts';
import { completeApp } from '../../support/app-settings.ts';
import { openTestDatabase } from '../../support/database.ts';

const { db, logger } = await openTestDatabase(t);
const bus = createControlBus(db, { logger }, { keepaliveMs: 1_000 });
t.teardown(() => bus.close());
const store = createAppStore(db, { sealer: createSealer([randomBytes(32)]), bus });

const secret = 'a secret of the test';
const appWith = (im: object, more: object = {}) => completeApp({ sdkAppId: 1_400_000_000, secret, im, ...more });
const plain = appWith({});

/** What became of it: `+`, allowed, or the vendor's number without 10,000. */
const shown = (refusal: ImRefusal | undefined) =>
  refusal === undefined ? '+' : String(imErrorCatalogue[refusal.error].code - 10_000);

const standings: readonly Standing[] = ['administrator', 'Owner', 'Admin', 'Member', 'none'];
const members: readonly GroupRole[] = ['Owner', 'Admin', 'Member'];
const options = ['FreeAccess', 'NeedPermission', 'DisableApply'] as const;
const textFields = ['name', 'introduction', 'notification', 'faceUrl'] as const;

/** API reference §4.1, as it stands there. */
const types = ['Private', 'Public', 'ChatRoom', 'AVChatRoom', 'BChatRoom'] as const;
const invitedByManagers = 'no (owner/admin may invite, invitee must agree)';
const reference: Readonly<Record<string, readonly [string, string, string, string, string]>> = {
  'Max members (default MaxMemberCount)': ['200', '2000', '10000', 'unlimited', 'unlimited'],
  'Apply to join': ['never (option has no effect)', 'by option', 'by option', 'by option', 'by option'],
  'Default ApplyJoinOption': ['– (as DisableApply)', 'NeedPermission', 'FreeAccess', 'FreeAccess', 'FreeAccess'],
  'Member may pull others in': [
    'yes, without consent',
    invitedByManagers,
    invitedByManagers,
    'nobody, not even App admin',
    'nobody, not even App admin',
  ],
  'Initial MemberList at creation': ['yes', 'yes', 'yes', 'no', 'no'],
  'Ordinary member edits name/intro/notice/face': ['yes', 'no', 'no', 'no', 'no'],
  'Admin role (set/cancel)': ['no', 'yes', 'yes', 'no', 'no owner, no admins'],
  'Owner may quit': ['yes', 'no (10009)', 'no (10009)', 'no (10009)', '–'],
  'Owner may dissolve': ['no (App admin may)', 'yes', 'yes', 'yes', 'App admin only'],
  Kick: ['App admin / owner', 'owner, admin', 'owner, admin', 'nobody → 10004', 'nobody → 10004'],
  'Mute members': ['not supported', 'yes', 'yes', 'yes', 'only App admin speaks'],
  'Searchable by id': ['no', 'yes', 'yes', 'yes', 'no'],
  'Member change notice': ['strong', 'strong', 'none', 'weak', 'none'],
  Roaming: ['7 days', '7 days', '7 days', 'none', 'none'],
  'History before joining visible': ['no', 'no', 'yes', 'no', 'no'],
  'Unread counting': ['yes', 'yes', 'no', 'no', 'no'],
  'Default MsgFlag': ['AcceptAndNotify', 'AcceptAndNotify', 'AcceptNotNotify', 'AcceptNotNotify', 'AcceptNotNotify'],
  'Needs first message to become visible': ['yes', 'no', 'no', 'no', 'no'],
  'Guests may receive without login': ['no', 'no', 'no', 'yes', 'yes'],
  'Member list obtainable': ['all', 'all', 'all', 'first 300 only', 'none'],
  'Import of group, members, messages': ['yes', 'yes', 'yes', 'no → 10007', 'no → 10007'],
  'Auto recycle': ['off', 'off', 'off', 'off', 'off'],
  'Count quota': ['shared daily', 'shared daily', 'shared daily', 'shared daily', '5 per app'],
};

/** What a cell says about the row, by the property; `cell`: its text. */
const cellChecks: Readonly<
  Record<string, (t: Test, row: GroupTypeRow, cell: string, name: StandardGroupType) => void>
> = {
  'Max members (default MaxMemberCount)': (t, row, cell) => {
    t.equal(row.maxMembers, cell === 'unlimited' ? undefined : Number(cell));
  },
  'Apply to join': (t, row, cell) => {
    const expected = cell === 'by option' ? '++7' : '777';
    t.equal(options.map((option) => shown(mayApply(row, 'none', option))).join(''), expected);
    for (const option of options) t.equal(mayApply(row, 'Member', option)?.error, 'GROUP_ALREADY_MEMBER');
  },
  'Default ApplyJoinOption': (t, row, cell) => {
    t.equal(row.defaultApplyOption, cell.startsWith('–') ? 'DisableApply' : cell);
  },
  'Member may pull others in': (t, row, cell) => {
    const [pulls, invites] = [
      standings.map((standing) => shown(mayPullIn(row, standing))).join(''),
      standings.map((standing) => shown(mayInvite(row, standing))).join(''),
    ];
    if (cell === invitedByManagers) t.same([pulls, invites], ['+7777', '+++77']);
    else t.same([pulls, invites], cell.startsWith('yes') ? ['++++7', '++++7'] : ['77777', '77777']);
  },
  'Initial MemberList at creation': (t, row, cell) => void t.equal(row.hasInitialMembers, cell === 'yes'),
  'Ordinary member edits name/intro/notice/face': (t, row, cell) => {
    const each = [...textFields.map((field) => [field]), [...textFields]];
    for (const fields of each) t.equal(shown(mayEditProfile(row, 'Member', fields)), cell === 'yes' ? '+' : '7');
  },
  'Admin role (set/cancel)': (t, row, cell) => {
    for (const target of ['Admin', 'Member'] as const) {
      const got = standings.map((standing) => shown(maySetRole(row, standing, target))).join('');
      t.equal(got, cell === 'yes' ? '++777' : '77777', target);
    }
    t.equal(row.hasOwner, cell !== 'no owner, no admins');
    t.equal(shown(mayCreate(row, 'self')), row.hasOwner ? '+' : '7');
    t.equal(shown(mayCreate(row, 'administrator')), '+');
  },
  'Owner may quit': (t, row, cell) => {
    t.equal(shown(mayQuit(row, 'Owner')), cell === 'yes' ? '+' : '9');
  },
  'Owner may dissolve': (t, row, cell) => {
    const got = standings.map((standing) => shown(mayDismiss(row, standing))).join('');
    t.equal(got, cell === 'yes' ? '++777' : '+7777');
  },
  Kick: (t, row, cell) => {
    const got = standings.map((standing) => shown(mayRemove(row, standing, 'Member'))).join('');
    t.equal(got, { 'App admin / owner': '++777', 'owner, admin': '+++77', 'nobody → 10004': '44444' }[cell]);
  },
  'Mute members': (t, row, cell) => {
    const got = standings.map((standing) => shown(mayMute(row, standing, 'Member'))).join('');
    t.equal(got, cell === 'yes' ? '+++77' : '77777');
    const speaking = standings.map((standing) => shown(maySpeak(row, standing, unmuted))).join('');
    t.equal(speaking, cell === 'only App admin speaks' ? '+7777' : '++++7', 'who speaks');
  },
  'Searchable by id': (t, row, cell) => {
    t.equal(seesProfile(row, 'none'), cell === 'yes' ? 'public' : 'nothing');
    for (const standing of standings.filter((one) => one !== 'none')) t.equal(seesProfile(row, standing), 'all');
  },
  'Member change notice': (t, row, cell) => void t.equal(row.changeNotice, cell),
  Roaming: (t, row, cell, name) => {
    t.equal(row.isStored, cell !== 'none');
    t.equal(groupRoamingDaysOf(plain, name), cell === '7 days' ? 7 : 0);
  },
  'History before joining visible': (t, row, cell) => void t.equal(row.showsEarlier, cell === 'yes'),
  'Unread counting': (t, row, cell) => void t.equal(row.countsUnread, cell === 'yes'),
  'Default MsgFlag': (t, row, cell) => void t.equal(row.defaultMsgFlag, cell),
  'Needs first message to become visible': (t, row, cell) => void t.equal(row.isHiddenAtFirst, cell === 'yes'),
  'Guests may receive without login': (t, row, cell) => void t.equal(row.allowsGuests, cell === 'yes'),
  'Member list obtainable': (t, row, cell) => {
    t.equal(row.listedMembers, { all: undefined, 'first 300 only': 300, none: 0 }[cell]);
    const got = standings.map((standing) => shown(seesMembers(row, standing))).join('');
    t.equal(got, cell === 'none' ? '77777' : '++++7');
  },
  'Import of group, members, messages': (t, row, cell) => {
    t.equal(shown(mayImport(row)), cell === 'yes' ? '+' : '7');
  },
  // None has a column that could switch it on.
  'Auto recycle': (t, row) => void t.notOk(Object.keys(row).find((column) => /recycl/i.test(column))),
  'Count quota': (t, row, cell) => void t.same(row.quota, cell === 'shared daily' ? 'daily' : { perApp: 5 }),
};
const unmuted = { isMuted: false, mutedUntilSec: 0, nowSec: 1_000 };

t.test('[G38] every cell of the reference', async (t) => {
  t.same(Object.keys(reference), Object.keys(cellChecks));
  t.same(standardGroupTypes, types);
  t.same(groupTypeNames(plain), types);
  for (const [property, cells] of Object.entries(reference)) {
    for (const [index, name] of types.entries()) {
      const cell = cells[index] ?? '';
      t.test(`${name}: ${property}: ${cell}`, async (t) => {
        t.equal(groupTypeOf(plain, name), groupTypes[name]);
        cellChecks[property]?.(t, groupTypes[name], cell, name);
      });
    }
  }
});

t.test('[G38] what the commands of the reference say of single types (§4.3, §4.10, §4.12, §4.13, §4.17)', async (t) => {
  for (const name of types) {
    const row = groupTypes[name];
    const isLive = name === 'AVChatRoom' || name === 'BChatRoom';
    t.equal(row.isInJoinedList, !isLive, `${name} in lists of joined groups`);
    t.equal(shown(mayAskRoles(row, 'administrator')), isLive ? '7' : '+', `roles of ${name}`);
    t.equal(shown(mayTransfer(row, 'administrator')), isLive ? '7' : '+', `${name} handed on`);
    const edit = { isSelf: false, fields: ['nameCard'] };
    t.equal(shown(mayEditMember(row, 'administrator', 'Member', edit)), isLive ? '7' : '+', `members of ${name}`);
    t.equal(shown(mayEditMember(row, 'administrator', 'Owner', edit)), '+', `owner of ${name}`);
    const fields = appWith({ groupMemberFields: [{ key: 'Seat' }] });
    t.equal(customFieldsOf(fields, name, 'member').has('Seat'), !isLive, `member fields of ${name}`);
  }
  t.same(unlistedTypesOf(plain), ['AVChatRoom', 'BChatRoom']);
});

/** By who asks, one character for each whom it is about, in the order of the heading. */
type Grid = Readonly<Record<Standing, string>>;
const nobody = (length: number, cell = '7'): Grid =>
  Object.fromEntries(standings.map((standing) => [standing, cell.repeat(length)])) as Grid;

function checkGrids(
  t: Test,
  grids: Readonly<Record<StandardGroupType, Grid>>,
  targets: readonly string[],
  may: (row: GroupTypeRow, standing: Standing, target: string) => ImRefusal | undefined,
): void {
  for (const name of types) {
    for (const standing of standings) {
      const refusals = targets.map((target) => may(groupTypes[name], standing, target));
      t.equal(refusals.map(shown).join(''), grids[name][standing], `${name}: ${standing}`);
      for (const refusal of refusals) {
        if (refusal !== undefined) t.not(describeRefusal(refusal), '', 'says why');
      }
    }
  }
}

const anyTarget = ['Owner', 'Admin', 'Member', 'none'] as const;

t.test('[G17] removing: by actor, target and type', async (t) => {
  const byManagers: Grid = { administrator: '7+++', Owner: '7+++', Admin: '77++', Member: '7777', none: '7777' };
  checkGrids(
    t,
    {
      // The administrator removes the owner where a group goes on without one.
      Private: { administrator: '++++', Owner: '7+++', Admin: '7777', Member: '7777', none: '7777' },
      Public: byManagers,
      ChatRoom: byManagers,
      AVChatRoom: nobody(4, '4'),
      BChatRoom: nobody(4, '4'),
    },
    anyTarget,
    (row, standing, target) => mayRemove(row, standing, target as GroupRole),
  );
  t.match(mayRemove(groupTypes.AVChatRoom, 'administrator', 'Member'), { error: 'GROUP_PARAMETER' });
});

t.test('[G11] [G27] muting: by actor, target and type', async (t) => {
  const byManagers: Grid = { administrator: '++++', Owner: '7+++', Admin: '77++', Member: '7777', none: '7777' };
  checkGrids(
    t,
    {
      Private: nobody(4),
      Public: byManagers,
      ChatRoom: byManagers,
      AVChatRoom: byManagers,
      BChatRoom: nobody(4),
    },
    anyTarget,
    (row, standing, target) => mayMute(row, standing, target as GroupRole),
  );
});

t.test('[G11] setting roles: by actor, target and type', async (t) => {
  const byOwner: Grid = { administrator: '7++', Owner: '7++', Admin: '777', Member: '777', none: '777' };
  checkGrids(
    t,
    { Private: nobody(3), Public: byOwner, ChatRoom: byOwner, AVChatRoom: nobody(3), BChatRoom: nobody(3) },
    members,
    (row, standing, target) => maySetRole(row, standing, target as GroupRole),
  );
});

t.test('[G11] name card and custom fields of others, and of oneself', async (t) => {
  const full: Grid = { administrator: '+++', Owner: '7++', Admin: '77+', Member: '777', none: '777' };
  const audience: Grid = { administrator: '++7', Owner: '7+7', Admin: '777', Member: '777', none: '777' };
  const grids = { Private: full, Public: full, ChatRoom: full, AVChatRoom: audience, BChatRoom: audience };
  for (const fields of [['nameCard'], ['custom'], ['nameCard', 'custom', 'role', 'muteSec']]) {
    checkGrids(t, grids, members, (row, standing, target) =>
      mayEditMember(row, standing, target as GroupRole, { isSelf: false, fields }),
    );
  }
  for (const name of types) {
    const own = members.map((role) =>
      shown(mayEditMember(groupTypes[name], role, role, { isSelf: true, fields: ['nameCard', 'custom', 'msgFlag'] })),
    );
    t.equal(own.join(''), groupTypes[name].isAudience ? '++7' : '+++', `${name}: oneself`);
  }
});

t.test('[G11] [G26] how a member receives is its own choice, or the administrator’s', async (t) => {
  const full: Grid = { ...nobody(3), administrator: '+++' };
  const audience: Grid = { ...nobody(3), administrator: '++7' };
  checkGrids(
    t,
    { Private: full, Public: full, ChatRoom: full, AVChatRoom: audience, BChatRoom: audience },
    members,
    (row, standing, target) =>
      mayEditMember(row, standing, target as GroupRole, { isSelf: false, fields: ['msgFlag'] }),
  );
});

t.test('[G8] the profile: what each edits and sees', async (t) => {
  const columns = [...textFields, 'maxMembers', 'applyOption', 'isMuted'];
  const managers: Grid = {
    administrator: '+++++++',
    Owner: '+++++++',
    Admin: '+++++++',
    Member: '7777777',
    none: '7777777',
  };
  const unmutable = Object.fromEntries(
    Object.entries(managers).map(([standing, cells]) => [standing, `${cells.slice(0, 6)}7`]),
  ) as Grid;
  checkGrids(
    t,
    {
      Private: { ...unmutable, Member: '++++777' },
      Public: managers,
      ChatRoom: managers,
      AVChatRoom: managers,
      BChatRoom: unmutable,
    },
    columns,
    (row, standing, field) => mayEditProfile(row, standing, [field]),
  );
  t.equal(shown(mayEditProfile(groupTypes.Private, 'Member', ['name', 'maxMembers'])), '7', 'all of it or nothing');
  t.equal(shown(mayEditProfile(groupTypes.Private, 'Member', [])), '+');
  t.equal(shown(mayEditProfile(groupTypes.Public, 'Member', [])), '7');
});

t.test('[G6] [G7] [G12] [G15] [G18] transfer, dismissal, invitations, applications, quitting', async (t) => {
  const grid = (administrator: string, Owner: string, Admin: string, Member: string, none: string): Grid => ({
    administrator,
    Owner,
    Admin,
    Member,
    none,
  });
  const owners = grid('+', '+', '7', '7', '7');
  const managers = grid('+', '+', '+', '7', '7');
  const all = grid('+', '+', '+', '+', '7');
  const no = nobody(1);
  const of = (Private: Grid, Public: Grid, ChatRoom: Grid, AVChatRoom: Grid, BChatRoom: Grid) => {
    return { Private, Public, ChatRoom, AVChatRoom, BChatRoom };
  };
  checkGrids(t, of(owners, owners, owners, no, no), [''], mayTransfer);
  const adminOnly = grid('+', '7', '7', '7', '7');
  checkGrids(t, of(adminOnly, owners, owners, owners, adminOnly), [''], mayDismiss);
  checkGrids(t, of(all, adminOnly, adminOnly, no, no), [''], mayPullIn);
  checkGrids(t, of(all, managers, managers, no, no), [''], mayInvite);
  checkGrids(t, of(no, managers, managers, managers, managers), [''], mayAnswerApplications);
  checkGrids(t, of(all, all, all, no, no), [''], mayAskRoles);
  checkGrids(t, of(all, all, all, all, no), [''], seesMembers);
  const applying = grid('++7', '13'.repeat(3), '13'.repeat(3), '13'.repeat(3), '++7');
  const closed = { ...applying, administrator: '777', none: '777' };
  checkGrids(t, of(closed, applying, applying, applying, applying), options, (row, standing, option) =>
    mayApply(row, standing, option as (typeof options)[number]),
  );
  for (const name of types) {
    const quits = [...members, 'none' as const].map((role) => shown(mayQuit(groupTypes[name], role))).join('');
    t.equal(quits, name === 'Private' ? '+++7' : '9++7', `${name}: quitting`);
  }
  t.equal(mayQuit(groupTypes.Public, 'Owner')?.error, 'GROUP_OWNER_STAYS');
});

t.test('[G22] [G27] speaking: members who are not muted', async (t) => {
  const cases = {
    'nobody is muted': { state: unmuted, grid: '++++7' },
    'the group is': { state: { ...unmuted, isMuted: true }, grid: '+++M7' },
    'the member is, until a second from now': { state: { ...unmuted, mutedUntilSec: 1_001 }, grid: '+MMM7' },
    'the member was, until now': { state: { ...unmuted, mutedUntilSec: 1_000 }, grid: '++++7' },
    'both are': { state: { isMuted: true, mutedUntilSec: 4_294_967_295, nowSec: 1_000 }, grid: '+MMM7' },
  };
  for (const [what, { state, grid }] of Object.entries(cases)) {
    for (const name of types) {
      const refusals = standings.map((standing) => maySpeak(groupTypes[name], standing, state));
      const got = refusals.map((one) => (one?.error === 'GROUP_MUTED' ? 'M' : shown(one))).join('');
      t.equal(got, name === 'BChatRoom' ? '+7777' : grid, `${name}: ${what}`);
    }
  }
});

/** A value of each column that no standard type has, or that Public has not; with what it needs to be possible. */
const otherColumns: Readonly<Record<keyof GroupTypeColumns, unknown>> = {
  maxMembers: 60,
  apply: 'never',
  defaultApplyOption: 'DisableApply',
  invite: 'members-pull',
  hasInitialMembers: false,
  membersEditProfile: true,
  hasOwner: false,
  hasAdmins: false,
  ownerMayQuit: true,
  dismiss: 'nobody',
  remove: 'never',
  canMute: false,
  isBroadcast: true,
  isSearchable: false,
  changeNotice: 'weak',
  isStored: false,
  showsEarlier: true,
  countsUnread: false,
  defaultMsgFlag: 'Discard',
  isHiddenAtFirst: true,
  isAudience: true,
  listedMembers: 10,
  canImport: false,
  quota: { perApp: 3 },
  isInJoinedList: false,
};

t.test('[G38] an app changes any column of a type, and that one alone', async (t) => {
  const { allowsGuests: _, ...settable } = groupTypes.Public;
  t.same(Object.keys(otherColumns).sort(), Object.keys(settable).sort(), 'all of them');
  for (const [column, value] of Object.entries(otherColumns)) {
    const app = appWith({ groupTypes: [{ name: 'Own', base: 'Public', [column]: value }] });
    t.same(groupTypeOf(app, 'Own'), { ...groupTypes.Public, [column]: value }, column);
    t.equal(groupTypeOf(app, 'Public'), groupTypes.Public);
  }
  const all = { name: 'Own', base: 'BChatRoom', maxMembers: 0, listedMembers: 'all' };
  t.same(groupTypeOf(appWith({ groupTypes: [all] }), 'Own'), { ...groupTypes.BChatRoom, listedMembers: undefined });
  t.equal(groupTypeOf(appWith({ groupTypes: [{ ...all, base: 'Public' }] }), 'Own')?.maxMembers, undefined);
});

t.test('[G38] types of an app: names, memory, what is unknown', async (t) => {
  const app = appWith({
    groupTypes: [
      { name: 'Class', base: 'Public', maxMembers: 60 },
      { name: 'ChatRoom', base: 'ChatRoom', changeNotice: 'weak', isInJoinedList: false },
    ],
  });
  t.same(groupTypeNames(app), [...types, 'Class']);
  t.equal(groupTypeOf(app, 'Class'), groupTypeOf(app, 'Class'), 'made once');
  t.not(groupTypeOf(appWith({ groupTypes: [{ name: 'Class', base: 'Private' }] }), 'Class'), groupTypeOf(app, 'Class'));
  t.equal(groupTypeOf(app, 'ChatRoom')?.changeNotice, 'weak');
  t.equal(groupTypeOf(plain, 'ChatRoom')?.changeNotice, 'none', 'of other apps it is as it was');
  t.same(unlistedTypesOf(app), ['ChatRoom', 'AVChatRoom', 'BChatRoom']);
  t.equal(typeFault(app, 'Class'), undefined);
  for (const name of ['', 'class', 'private', 'constructor', '__proto__', 'toString']) {
    t.equal(groupTypeOf(app, name), undefined, name);
    t.same(typeFault(app, name), {
      ok: false,
      error: 'GROUP_PARAMETER',
      field: 'Type',
      reason: 'is no type of groups',
      allowed: 'Private, Public, ChatRoom, AVChatRoom, BChatRoom, Class',
    });
  }
});

t.test('columns that contradict one another', async (t) => {
  for (const name of types) t.equal(groupTypeFault(groupTypes[name]), undefined, name);
  const unstored = { isStored: false, countsUnread: false, changeNotice: 'weak', canImport: false } as const;
  t.equal(groupTypeFault(groupTypeRow('Public', unstored)), undefined);
  const cases: [StandardGroupType, Parameters<typeof groupTypeRow>[1], keyof GroupTypeRow][] = [
    ['Public', { ...unstored, countsUnread: true }, 'countsUnread'],
    ['Public', { ...unstored, changeNotice: 'strong' }, 'changeNotice'],
    ['Public', { ...unstored, showsEarlier: true }, 'showsEarlier'],
    ['Public', { ...unstored, canImport: true }, 'canImport'],
    ['Private', unstored, 'isHiddenAtFirst'],
    ['Private', { hasOwner: false }, 'isHiddenAtFirst'],
    ['Private', { isBroadcast: true }, 'isHiddenAtFirst'],
    ['AVChatRoom', { isHiddenAtFirst: true }, 'isHiddenAtFirst'],
  ];
  for (const [base, columns, column] of cases) {
    t.equal(groupTypeFault(groupTypeRow(base, columns))?.column, column, JSON.stringify([base, columns]));
  }
});

t.test(
  'settings that are wrong are refused with field, reason and what is allowed, and nothing is stored',
  async (t) => {
    const field = (key: string, more: object = {}) => ({ key, ...more });
    const keys = (count: number, more: object = {}) => Array.from({ length: count }, (_, n) => field(`K${n}`, more));
    const cases: [im: object, field: string | undefined, reason?: string][] = [
      [{ groupTypes: [{ name: 'Own', base: 'Public' }] }, undefined],
      [{ groupTypes: [{ name: 'Public', base: 'Public', maxMembers: 9 }] }, undefined],
      [{ groupTypes: [{ name: 'Public', base: 'Private' }] }, 'im.groupTypes[0].name', 'Public is a standard type'],
      [
        {
          groupTypes: [
            { name: 'A', base: 'Public' },
            { name: 'A', base: 'Public' },
          ],
        },
        'im.groupTypes[1].name',
        'A stands twice',
      ],
      [
        { groupTypes: [{ name: 'A', base: 'Public', isStored: false }] },
        'im.groupTypes[0].countsUnread',
        'cannot be where messages are not kept',
      ],
      [{ groupFields: keys(20) }, undefined],
      [{ groupFields: keys(21) }, 'im.groupFields', 'has 21 fields for Private'],
      [{ groupFields: [...keys(20, { types: ['Public'] }), field('X', { types: ['Private'] })] }, undefined],
      [
        { groupFields: [field('X'), field('X', { types: ['Public'] })] },
        'im.groupFields[1].key',
        'X stands twice for Public',
      ],
      [{ groupFields: [field('X', { types: ['Own'] })] }, 'im.groupFields[0].types', 'Own is no type of groups'],
      [{ groupTypes: [{ name: 'Own', base: 'Public' }], groupFields: [field('X', { types: ['Own'] })] }, undefined],
      [{ groupMemberFields: keys(5) }, undefined],
      [{ groupMemberFields: keys(6) }, 'im.groupMemberFields', 'has 6 fields for Private'],
      [{ groupFields: [field('X')], groupSenderFields: { group: ['X'] } }, undefined],
      [{ groupSenderFields: { group: ['X'] } }, 'im.groupSenderFields.group[0]', 'X is none of im.groupFields'],
      [{ groupSenderFields: { member: ['X'] } }, 'im.groupSenderFields.member[0]', 'X is none of im.groupMemberFields'],
      [
        { profileFields: [{ keyword: 'Team' }], groupSenderFields: { account: ['Team', 'Rank'] } },
        'im.groupSenderFields.account[1]',
        'Rank is none of im.profileFields',
      ],
    ];
    for (const [index, [im, name, reason]] of cases.entries()) {
      const sdkAppId = 100 + index;
      const result = await store.create(completeApp({ sdkAppId, secret, im }));
      t.equal(result.ok ? undefined : result.field, name, JSON.stringify(im).slice(0, 100));
      if (!result.ok) {
        t.equal(result.code, 'INVALID_FIELD');
        t.ok(result.reason.startsWith(reason ?? '?'), result.reason);
        t.ok(result.allowed);
      }
      t.equal((await store.get(sdkAppId)) === undefined, name !== undefined, 'stored when it is right');
    }
    const { settings } = (await store.get(100)) ?? {};
    t.equal(settings && groupTypeOf(settings, 'Own')?.maxMembers, 2_000, 'comes back as it was');
  },
);

t.test('settings whose values are wrong in themselves', async (t) => {
  const refused = (app: object) => t.throws(() => completeApp({ sdkAppId: 1, secret, ...app }), JSON.stringify(app));
  for (const type of [
    { base: 'Public' },
    { name: 'A' },
    { name: '', base: 'Public' },
    { name: 'a b', base: 'Public' },
    { name: 'x'.repeat(31), base: 'Public' },
    { name: 'A', base: 'Own' },
    { name: 'A', base: 'Public', maxMembers: -1 },
    { name: 'A', base: 'Public', maxMembers: 1_000_001 },
    { name: 'A', base: 'Public', invite: 'everybody' },
    { name: 'A', base: 'Public', listedMembers: 'none' },
    { name: 'A', base: 'Public', quota: { perApp: -1 } },
    { name: 'A', base: 'Public', roamingDays: 0 },
    { name: 'A', base: 'Public', rate: { perSecond: 1 } },
    { name: 'A', base: 'Public', isRecycled: true },
  ]) {
    refused({ im: { groupTypes: [type] } });
  }
  for (const key of ['', 'x'.repeat(17), 'a-b', 'a b', '林', '__proto__']) {
    refused({ im: { groupFields: [{ key }] } });
    refused({ im: { groupMemberFields: [{ key }] } });
  }
  refused({ im: { groupFields: [{ key: 'A', read: 'Everybody' }] } });
  refused({ im: { groupFields: [{ key: 'A', selfRead: true }] } });
  refused({ im: { groupsPerDay: -1 } });
  refused({ im: { groupRoamingDays: 0 } });
  refused({ im: { groupRate: { perSec: -1 } } });
  for (const timeZone of [
    '',
    'UTC',
    '8',
    '+8:00',
    '+14:01',
    '+15:00',
    '-12:01',
    '-13:00',
    '+05:60',
    '08:00',
    '+08:00\n',
  ]) {
    refused({ timeZone });
  }
  for (const timeZone of ['+00:00', '-00:00', '+14:00', '-12:00', '+05:45', '-11:59']) {
    t.equal(completeApp({ sdkAppId: 1, secret, timeZone }).timeZone, timeZone);
  }
});

t.test('[G4] [G23] [G29] [G30] [G32] limits: their defaults, of the app, of a type', async (t) => {
  t.equal(groupsPerDayOf(plain), 5_000);
  t.equal(groupsPerDayOf(appWith({ groupsPerDay: 0 })), 0);
  t.equal(longestRoamingDays(plain), 7);
  const forty = { perSec: 40, normalPerSec: 40, lowPerSec: 40, lowestPerSec: 40 };
  for (const name of types) t.same(groupRateOf(plain, name), forty, name);
  const app = appWith({
    roamingDays: 3,
    groupRoamingDays: 30,
    groupRate: { perSec: 100 },
    groupTypes: [
      { name: 'Class', base: 'Public', roamingDays: 90, rate: { normalPerSec: 60, lowestPerSec: 0 } },
      { name: 'Stage', base: 'AVChatRoom', roamingDays: 365 },
      { name: 'ChatRoom', base: 'ChatRoom', rate: { perSec: 1 } },
    ],
  });
  t.same(groupRateOf(app, 'Public'), { ...forty, perSec: 100 });
  t.same(groupRateOf(app, 'Class'), { ...forty, perSec: 100, normalPerSec: 60, lowestPerSec: 0 });
  t.same(groupRateOf(app, 'ChatRoom'), { ...forty, perSec: 1 });
  t.equal(groupRoamingDaysOf(app, 'Private'), 30);
  t.equal(groupRoamingDaysOf(app, 'Class'), 90);
  t.equal(groupRoamingDaysOf(app, 'Stage'), 0, 'nothing is kept there');
  t.equal(longestRoamingDays(app), 90, 'of those that keep any');
  t.equal(longestRoamingDays(appWith({ roamingDays: 40 })), 40);
  t.equal(longestRoamingDays(appWith({ groupRoamingDays: 30 })), 30);
});

t.test('[G4] a day begins when it does in the app’s time zone', async (t) => {
  const dayIn = (timeZone: string, time: string) => dayOf(appWith({}, { timeZone }), Date.parse(time));
  t.equal(dayOf(plain, Date.parse('1970-01-01T15:59:59.999Z')), 0, 'UTC+8 by default');
  t.equal(dayOf(plain, Date.parse('1970-01-01T16:00:00Z')), 1);
  t.equal(dayIn('+00:00', '1970-01-01T23:59:59.999Z'), 0);
  t.equal(dayIn('-12:00', '1970-01-02T11:59:59Z'), 0);
  t.equal(dayIn('-12:00', '1970-01-02T12:00:00Z'), 1);
  t.equal(dayIn('+05:45', '2026-11-26T18:14:59Z') + 1, dayIn('+05:45', '2026-11-26T18:15:00Z'));
  t.equal(dayIn('-03:30', '2026-11-27T03:29:59Z') + 1, dayIn('-03:30', '2026-11-27T03:30:00Z'));
  const zones = ['-12:00', '-03:30', '-00:00', '+00:00', '+05:45', '+08:00', '+14:00'];
  fc.assert(
    fc.property(fc.constantFrom(...zones), fc.integer({ min: 0, max: 4e12 }), (timeZone, nowMs) => {
      // As whoever lives there would write it.
      const there = new Date(Date.parse(`${new Date(nowMs).toISOString().slice(0, -1)}${invert(timeZone)}`));
      return dayOf(appWith({}, { timeZone }), nowMs) === Math.floor(there.getTime() / 86_400_000);
    }),
  );
});
const invert = (timeZone: string) => (timeZone.startsWith('-') ? '+' : '-') + timeZone.slice(1);

const levels = ['App', 'Owner', 'Admin', 'Member', 'Any'] as const;
/** Who has a right of a level, in the order of `standings`. */
const reached: Readonly<Record<(typeof levels)[number], string>> = {
  App: '+7777',
  Owner: '++777',
  Admin: '+++77',
  Member: '++++7',
  Any: '+++++',
};

t.test('custom fields of groups: who reads and writes which (API reference §4.3)', async (t) => {
  for (const level of levels) {
    const app = appWith({
      groupFields: [
        { key: 'K', read: level, write: 'App' },
        { key: 'W', read: 'App', write: level },
      ],
    });
    const writes = standings.map((standing) => shown(customFieldFault(app, 'Public', { W: 'x' }, standing)));
    t.equal(writes.join(''), reached[level], `write ${level}`);
    const reads = standings.map((standing) => 'K' in readableFields(app, 'Public', { K: 'x', W: 'y' }, standing));
    t.same(
      reads,
      [...reached[level]].map((cell) => cell === '+'),
      `read ${level}`,
    );
  }
  const app = appWith({ groupFields: [{ key: 'K' }, { key: 'C', types: ['Private'], callback: true }] });
  t.match(customFieldsOf(app, 'Public', 'group').get('K'), { read: 'Member', write: 'Admin', callback: false });
  t.same([...customFieldsOf(app, 'Public', 'group').keys()], ['K']);
  t.equal(customFieldsOf(app, 'Private', 'group').get('C')?.callback, true);
  t.same(readableFields(app, 'Public', { K: 'x', Gone: 'y' }, 'administrator'), { K: 'x' }, 'what is declared');
  t.equal(customFieldFault(app, 'Public', undefined, 'none'), undefined);
  t.equal(customFieldFault(app, 'Public', {}, 'none'), undefined);
  t.equal(customFieldFault(app, 'Public', { K: '' }, 'Admin'), undefined, 'takes it away');
});

t.test('custom fields of members: their own, and those of others', async (t) => {
  const rights = [true, false];
  for (const level of levels) {
    for (const self of rights) {
      const app = appWith({
        groupMemberFields: [{ key: 'K', read: level, write: level, selfRead: self, selfWrite: self }],
      });
      for (const isSelf of rights) {
        for (const [index, standing] of standings.entries()) {
          const may = reached[level][index] === '+' || (self && isSelf);
          const name = `${level}, self ${self}: ${standing}, itself ${isSelf}`;
          const fault = memberFieldFault(app, 'Public', { K: 'x' }, { standing, isSelf });
          t.equal(fault?.error, may ? undefined : 'GROUP_FORBIDDEN', name);
          const read = readableMemberFields(app, 'Public', { K: 'x' }, { standing, isSelf });
          t.same(read, may ? { K: 'x' } : {}, name);
        }
      }
    }
  }
});

t.test('custom fields: unknown keys, no right, and lengths in bytes', async (t) => {
  const app = appWith({ groupFields: [{ key: 'K' }], groupMemberFields: [{ key: 'M' }] });
  const line = (refusal: ImRefusal | undefined) => refusal && describeRefusal(refusal);
  const asMember = { standing: 'Member', isSelf: true } as const;
  t.equal(
    line(customFieldFault(app, 'Public', { X: '1' }, 'Owner')),
    'AppDefinedData: "X" is no key of groups of this type; allowed: K',
  );
  t.equal(
    line(customFieldFault(plain, 'Public', { X: '1' }, 'Owner')),
    'AppDefinedData: "X" is no key of groups of this type; allowed: none: the app has declared none',
  );
  t.equal(
    line(customFieldFault(app, 'Public', { K: '1' }, 'Member')),
    'AppDefinedData.K: may not be written by the caller; allowed: from Admin on',
  );
  t.equal(
    line(memberFieldFault(app, 'Public', { M: '林'.repeat(22) }, asMember)),
    'AppMemberDefinedData.M: has 66 bytes; allowed: a text of at most 64 bytes of UTF-8',
  );
  t.equal(memberFieldFault(app, 'Public', { M: '林'.repeat(21) }, asMember), undefined);
  t.equal(customFieldFault(app, 'Public', { K: '😀'.repeat(128) }, 'Owner'), undefined);
  t.equal(customFieldFault(app, 'Public', { K: '😀'.repeat(129) }, 'Owner')?.error, 'GROUP_PARAMETER');
  t.equal(memberFieldFault(app, 'AVChatRoom', { M: 'x' }, asMember)?.error, 'GROUP_PARAMETER', 'an audience has none');
  const long = customFieldFault(app, 'Public', { [`\ud800${'x'.repeat(9_999)}`]: '1' }, 'Owner');
  t.ok((long?.reason?.length ?? 0) < 100 && long?.reason?.isWellFormed(), 'a long key is cut');
  for (const key of ['constructor', 'toString', '__proto__']) {
    const custom = JSON.parse(`{"${key}":"x"}`);
    t.equal(customFieldFault(app, 'Public', custom, 'administrator')?.error, 'GROUP_PARAMETER', key);
    t.same(readableFields(app, 'Public', custom, 'administrator'), {}, key);
  }
  t.same(customFieldFault(app, 'Public', { K: 1 as unknown as string }, 'Owner')?.reason, 'must be a string');
});

t.test('[G25] which custom fields a group message carries: by default none', async (t) => {
  t.same(senderFieldsOf(plain, 'Public'), { account: [], group: [], member: [] });
  const app = appWith({
    profileFields: [{ keyword: 'Team' }],
    groupFields: [{ key: 'A' }, { key: 'B', types: ['Private'] }],
    groupMemberFields: [{ key: 'M' }],
    groupSenderFields: { account: ['Team'], group: ['B', 'A'], member: ['M'] },
  });
  t.same(senderFieldsOf(app, 'Public'), { account: ['Team'], group: ['A'], member: ['M'] });
  t.same(senderFieldsOf(app, 'Private'), { account: ['Team'], group: ['B', 'A'], member: ['M'] });
  t.same(senderFieldsOf(app, 'AVChatRoom'), { account: ['Team'], group: ['A'], member: [] });
});

t.test('[G3] ids of groups', async (t) => {
  const custom = (id: unknown) => shown(checkGroupId(id));
  const named = (id: unknown) => shown(checkGroupIdForm(id));
  for (const right of ['a', ' ', '~', 'tea club', '@tgs#x', '@TGS', 'x@TGS#', 'x'.repeat(48), '"\\/', '0']) {
    t.equal(custom(right), '+', JSON.stringify(right));
    t.equal(named(right), '+', JSON.stringify(right));
  }
  for (const wrong of [
    '',
    'x'.repeat(49),
    'a\n',
    'a\u007f',
    'é',
    '林',
    '😀',
    '\ud800',
    'a\0',
    7,
    null,
    undefined,
    {},
    ['a'],
  ]) {
    t.equal(custom(wrong), '15', JSON.stringify(wrong));
    t.equal(named(wrong), '15', JSON.stringify(wrong));
  }
  for (const given of ['@TGS#', '@TGS#1Q7AB', '@TGS#_x']) {
    t.equal(custom(given), '15', `${given} of the app's own`);
    t.equal(named(given), '+', `${given} asked for`);
  }
  for (let code = 0; code < 0x180; code += 1) {
    const isPrintable = code >= 0x20 && code <= 0x7e;
    t.equal(custom(`a${String.fromCharCode(code)}`), isPrintable ? '+' : '15', `0x${code.toString(16)}`);
  }
  t.match(checkGroupId('@TGS#x'), { error: 'GROUP_ID', field: 'GroupId', reason: /begins with @TGS#/, allowed: /48/ });
  t.match(checkGroupId('x'.repeat(49)), { reason: 'has 49 characters' });
});

t.test('[G2] ids that the service gives', async (t) => {
  t.equal(
    newGroupId(() => 0),
    '@TGS#000000000000',
  );
  t.equal(
    newGroupId(() => 1 - 2 ** -53),
    '@TGS#ZZZZZZZZZZZZ',
  );
  const ids = new Set(Array.from({ length: 20_000 }, () => newGroupId(Math.random)));
  t.equal(ids.size, 20_000);
  for (const id of ids) {
    if (!/^@TGS#[0-9A-Z]{12}$/.test(id) || checkGroupIdForm(id) !== undefined) t.fail(id);
  }
});

t.test('texts by bytes of UTF-8, in several scripts (API reference §4.3)', async (t) => {
  const limits = { name: 30, introduction: 240, notification: 300, faceUrl: 100 };
  const named = { name: 'Name', introduction: 'Introduction', notification: 'Notification', faceUrl: 'FaceUrl' };
  const scripts = { Latin: 'a', Greek: 'λ', Arabic: 'ش', Hindi: 'अ', Chinese: '林', Thai: 'ก', emoji: '😀' };
  for (const [script, letter] of Object.entries(scripts)) {
    const letterBytes = Buffer.byteLength(letter);
    /** As long as may be, and a byte longer. */
    const pair = (maxBytes: number) => {
      const most = letter.repeat(Math.floor(maxBytes / letterBytes)) + 'a'.repeat(maxBytes % letterBytes);
      return [most, `${most}a`] as const;
    };
    for (const field of textFields) {
      const [most, over] = pair(limits[field]);
      t.equal(checkGroupTexts({ [field]: most }), undefined, `${field}, ${script}`);
      t.strictSame(checkGroupTexts({ [field]: over }), {
        ok: false,
        error: 'GROUP_PARAMETER',
        field: named[field],
        reason: `has ${limits[field] + 1} bytes`,
        allowed: `a text of at most ${limits[field]} bytes of UTF-8`,
      });
    }
    const [most, over] = pair(50);
    t.equal(checkNameCard(most), undefined, `name card, ${script}`);
    t.match(checkNameCard(over), { error: 'GROUP_PARAMETER', field: 'NameCard', reason: 'has 51 bytes' });
  }
  t.equal(checkGroupTexts({}), undefined);
  t.equal(checkGroupTexts({ introduction: '', notification: '', faceUrl: '' }), undefined, 'may be empty');
  t.match(checkGroupTexts({ name: '' }), { field: 'Name', reason: 'must not be empty' });
  t.equal(checkNameCard(''), undefined);
  for (const wrong of [null, 1, true, {}, [], 'a\0', '\ud800', '\udc00a']) {
    for (const field of textFields) {
      t.match(
        checkGroupTexts({ [field]: wrong }),
        { error: 'GROUP_PARAMETER', field: named[field] },
        JSON.stringify(wrong),
      );
    }
    t.match(checkNameCard(wrong), { error: 'GROUP_PARAMETER', field: 'NameCard' });
  }
});

t.test('a text is right when the database can keep it and it is not too long', async (t) => {
  const outcomes = { right: 0, wrong: 0 };
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), fc.nat({ max: 90 }), (text, maxBytes) => {
      const isRight = !text.includes('\0') && text.isWellFormed() && Buffer.byteLength(text) <= maxBytes;
      outcomes[isRight ? 'right' : 'wrong'] += 1;
      return (checkText(text, 'X', maxBytes) === undefined) === isRight;
    }),
    { numRuns: 2_000 },
  );
  t.ok(outcomes.right > 100 && outcomes.wrong > 100, 'both happened');
});

t.test('the example of the reference page is one that works', async (t) => {
  const page = readFileSync(new URL('../../../docs/reference/group-types.md', import.meta.url), 'utf8');
  const [, example = ''] = /```yaml\n([\s\S]*?)```/.exec(page) ?? [];
  const [given] = (parse(example) as { apps: [{ im: object }] }).apps;
  const app: AppSettings = completeApp({ sdkAppId: 999, secret, im: given.im });
  t.same(await store.create(app), { ok: true, value: undefined });
  t.match(groupTypeOf(app, 'Class'), { maxMembers: 60, apply: 'never', showsEarlier: true, invite: 'managers-invite' });
  t.match(groupTypeOf(app, 'Stage'), { maxMembers: 5_000, isStored: false });
  t.equal(groupTypeOf(app, 'ChatRoom')?.changeNotice, 'weak');
  t.equal(groupRateOf(app, 'Stage').perSec, 100);
  t.equal(groupRoamingDaysOf(app, 'Class'), 90);
  t.ok(customFieldsOf(app, 'Class', 'group').get('Subject')?.callback);
});
