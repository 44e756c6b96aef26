import type { ImResult } from '../../wire/index.ts';
import type { GroupChangeFields, GroupDraft, JoinedGroup } from '../group-services.ts';
import type { ApplyOption } from '../groups/model.ts';
import { readableMemberFields } from '../groups/settings.ts';
import { type FieldReader, parseAccount } from './field-reader.ts';
import { actorOf, answerOf, namedHere, readCustom } from './group-fields.ts';
import { groupView, joinedView, publicView } from './group-views.ts';
import { emptyOk, okJson, type RequestDeps, type RequestHandler } from './request.ts';

const applyOptions: readonly ApplyOption[] = ['FreeAccess', 'NeedPermission', 'DisableApply'];
/** Members that a group is made with, and accounts that one request names. */
export const maxAccounts = 500;
const maxMembers = { min: 1, max: 1_000_000 };
const maxJoined = 200;

/** `createGroup`, `dismissGroup`, `group`, `findGroup`, `modifyGroup`, `transferGroup`, `groups`: groups as such. */
export function groupRequests({ apps, groups }: Pick<RequestDeps, 'apps' | 'groups'>): Record<string, RequestHandler> {
  return {
    createGroup: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const draft = readDraft(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        const made = await groups.create(actorOf(request), draft);
        return answerOf(made, ({ groupId }) => okJson({ group: groupId }), { MemberList: 'members' });
      },
    },

    dismissGroup: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.dismiss(actorOf(request), group), () => emptyOk);
      },
    },

    group: {
      permission: 'im.link.group.read',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        if (fields.refusal !== undefined) return fields.refusal;
        const view = await groups.view(actorOf(request), group);
        if (!view.ok) return namedHere(view);
        // G8
        if (view.value.sees === 'public') return notMember;
        return okJson(groupView(view.value));
      },
    },

    findGroup: {
      permission: 'im.link.group.read',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.view(actorOf(request), group), (view) => okJson(publicView(view)));
      },
    },

    modifyGroup: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        const changes = readChanges(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.modify(actorOf(request), group, changes), () => emptyOk);
      },
    },

    transferGroup: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        const to = fields.account('to');
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.transfer(actorOf(request), group, to), () => emptyOk);
      },
    },

    groups: {
      permission: 'im.link.group.read',
      order: 'page',
      async run({ terminal, fields }) {
        const type = fields.optionalPlain('type');
        const offset = fields.optionalInteger('offset', { min: 0, max: maxMembers.max }) ?? 0;
        const limit = fields.optionalInteger('limit', { min: 1, max: maxJoined }) ?? 100;
        if (fields.refusal !== undefined) return fields.refusal;
        const input = { ...(type === undefined ? {} : { type }), offset, limit };
        const joined = await groups.joined(terminal.account, input);
        const app = apps.get(terminal.account.sdkAppId);
        return okJson({ total: joined.total, groups: joined.groups.map((one) => joinedView(readable(one, app))) });
      },
    },
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

function readDraft(fields: FieldReader): GroupDraft {
  const type = fields.plain('type');
  const name = fields.plain('name');
  const given = {
    introduction: fields.optionalPlain('introduction'),
    notification: fields.optionalPlain('notification'),
    faceUrl: fields.optionalPlain('faceUrl'),
    maxMembers: fields.optionalInteger('maxMembers', maxMembers),
    applyOption: fields.optionalWord('applyOption', applyOptions),
    custom: readCustom(fields),
  };
  const members = fields.raw('members') === undefined ? [] : fields.list('members', maxAccounts, parseAccount);
  return { type, name, ...withoutAbsent(given), members: members.map((account) => ({ account })) };
}

function readChanges(fields: FieldReader): GroupChangeFields {
  const given = {
    name: fields.optionalPlain('name'),
    introduction: fields.optionalPlain('introduction'),
    notification: fields.optionalPlain('notification'),
    faceUrl: fields.optionalPlain('faceUrl'),
    maxMembers: fields.optionalInteger('maxMembers', maxMembers),
    applyOption: fields.optionalWord('applyOption', applyOptions),
    isMuted: fields.optionalBoolean('muted'),
    custom: readCustom(fields),
  };
  const changes = withoutAbsent(given);
  if (Object.keys(changes).length === 0) {
    const allowed = 'name, introduction, notification, faceUrl, maxMembers, applyOption, muted, custom';
    fields.refuse({ error: 'INVALID_FIELD', field: 'name', reason: 'names nothing to be changed', allowed });
  }
  return changes;
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The fields that are there. */
export function withoutAbsent<T extends object>(given: T): Present<T> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Present<T>;
}
