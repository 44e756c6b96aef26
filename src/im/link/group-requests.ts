import type { ImResult } from '../../wire/index.ts';
import type { GroupChangeFields, GroupDraft, JoinedGroup } from '../group-services.ts';
import type { ApplyOption } from '../groups/model.ts';
import { readableMemberFields } from '../groups/settings.ts';
import { withoutAbsent } from '../without-absent.ts';
import type { FieldReader } from './field-reader.ts';
import { readAccounts, readCustom, someOf } from './group-fields.ts';
import { groupHandler, listing, looking, writing } from './group-handler.ts';
import { groupView, joinedView, publicView } from './group-views.ts';
import { okJson, type RequestDeps, type RequestHandler } from './request.ts';

const applyOptions: readonly ApplyOption[] = ['FreeAccess', 'NeedPermission', 'DisableApply'];
const maxMembers = { min: 1, max: 1_000_000 };
const maxJoined = 200;

/** `createGroup`, `dismissGroup`, `group`, `findGroup`, `modifyGroup`, `transferGroup`, `groups`: groups as such. */
export function groupRequests({ apps, groups }: Pick<RequestDeps, 'apps' | 'groups'>): Record<string, RequestHandler> {
  return {
    createGroup: groupHandler(writing, {
      read: readDraft,
      act: (actor, draft) => groups.create(actor, draft),
      show: ({ groupId }) => okJson({ group: groupId }),
      names: { MemberList: 'members' },
    }),

    dismissGroup: groupHandler(writing, {
      read: (fields) => fields.group(),
      act: (actor, group) => groups.dismiss(actor, group),
    }),

    group: groupHandler(looking, {
      read: (fields) => fields.group(),
      act: (actor, group) => groups.view(actor, group),
      // G8
      show: (view) => (view.sees === 'public' ? notMember : okJson(groupView(view))),
    }),

    findGroup: groupHandler(looking, {
      read: (fields) => fields.group(),
      act: (actor, group) => groups.view(actor, group),
      show: (view) => okJson(publicView(view)),
    }),

    modifyGroup: groupHandler(writing, {
      read: (fields) => ({ group: fields.group(), changes: readChanges(fields) }),
      act: (actor, { group, changes }) => groups.modify(actor, group, changes),
    }),

    transferGroup: groupHandler(writing, {
      read: (fields) => ({ group: fields.group(), to: fields.account('to') }),
      act: (actor, { group, to }) => groups.transfer(actor, group, to),
    }),

    groups: groupHandler(listing, {
      read: (fields) => ({
        ...withoutAbsent({ type: fields.optionalPlain('type') }),
        offset: fields.optionalInteger('offset', { min: 0, max: maxMembers.max }) ?? 0,
        limit: fields.optionalInteger('limit', { min: 1, max: maxJoined }) ?? 100,
      }),
      act: async ({ account }, input) => ({ ok: true, value: await groups.joined(account, input) }),
      show({ total, groups: joined }, _, { terminal }) {
        const app = apps.get(terminal.account.sdkAppId);
        return okJson({ total, groups: joined.map((one) => joinedView(readable(one, app))) });
      },
    }),
  };
}

/** Of the app's own fields of its own the member gets those that it may read. */
function readable(joined: JoinedGroup, app: ReturnType<RequestDeps['apps']['get']>): JoinedGroup {
  if (app === undefined) return joined;
  const { group, self } = joined;
  const custom = readableMemberFields(app, group.type, self.custom, { standing: self.role, isSelf: true });
  return { ...joined, self: { ...self, custom } };
}

const notMember: ImResult<never> = {
  ok: false,
  error: 'GROUP_FORBIDDEN',
  reason: 'the account is no member of the group',
};

/** What is said of a group when it is made, and may be changed later. */
const readProfile = (fields: FieldReader) => ({
  introduction: fields.optionalPlain('introduction'),
  notification: fields.optionalPlain('notification'),
  faceUrl: fields.optionalPlain('faceUrl'),
  maxMembers: fields.optionalInteger('maxMembers', maxMembers),
  applyOption: fields.optionalWord('applyOption', applyOptions),
  custom: readCustom(fields),
});

function readDraft(fields: FieldReader): GroupDraft {
  const type = fields.plain('type');
  const name = fields.plain('name');
  const profile = withoutAbsent(readProfile(fields));
  const members = fields.raw('members') === undefined ? [] : readAccounts(fields, 'members');
  return { type, name, ...profile, members: members.map((account) => ({ account })) };
}

function readChanges(fields: FieldReader): GroupChangeFields {
  const name = fields.optionalPlain('name');
  const given = { name, ...readProfile(fields), isMuted: fields.optionalBoolean('muted') };
  const profile = ['introduction', 'notification', 'faceUrl', 'maxMembers', 'applyOption'];
  return someOf(fields, given, ['name', ...profile, 'muted', 'custom']);
}
