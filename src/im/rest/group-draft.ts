import Type from 'typebox';
import type { ImErrorName, ImRefusal } from '../../wire/index.ts';
import type { GroupDraft } from '../group-services.ts';
import { withoutAbsent } from '../without-absent.ts';
import { applyOption, groupCustom, groupId, groupName, profileFields, readCustom } from './group-fields.ts';
import { accountName, integer, text } from './schema.ts';

/** What create_group and import_group share. */

export const memberNumber = () =>
  integer('How many members it can have, at most as many as groups of the type.', 1, 2_147_483_647);
export const draftFields = {
  Type: text('Private, Public, ChatRoom, AVChatRoom, BChatRoom, or a type of the app’s own.', 30, 1),
  GroupId: Type.Optional(
    groupId('An id of your own: 1 … 48 bytes of printable ASCII that do not begin with @TGS#. Absent: one is made.'),
  ),
  Name: groupName(),
  Owner_Account: Type.Optional(accountName('The owner, who is a member with it; absent: it has none.')),
  ...profileFields(),
  MaxMemberCount: Type.Optional(memberNumber()),
  ApplyJoinOption: Type.Optional(applyOption()),
  AppDefinedData: Type.Optional(groupCustom()),
};
export const draftErrors = [
  'GROUP_PARAMETER',
  'GROUP_ID',
  'GROUP_QUOTA',
  'GROUP_FORBIDDEN',
  'GROUP_ID_TAKEN',
  'GROUP_ID_OWN',
  'DIRTY_WORD',
] as const satisfies readonly ImErrorName[];

interface DraftBody {
  readonly Type: string;
  readonly GroupId?: string;
  readonly Name: string;
  readonly Owner_Account?: NonNullable<GroupDraft['owner']>;
  readonly Introduction?: string;
  readonly Notification?: string;
  readonly FaceUrl?: string;
  readonly MaxMemberCount?: number;
  readonly ApplyJoinOption?: NonNullable<GroupDraft['applyOption']>;
  readonly AppDefinedData?: readonly { Key: string; Value: string }[];
}

export function draftOf(body: DraftBody): { ok: true; value: GroupDraft } | ImRefusal {
  const custom = readCustom(body.AppDefinedData, 'AppDefinedData');
  if (!custom.ok) return custom;
  const given = {
    groupId: body.GroupId,
    owner: body.Owner_Account,
    introduction: body.Introduction,
    notification: body.Notification,
    faceUrl: body.FaceUrl,
    maxMembers: body.MaxMemberCount,
    applyOption: body.ApplyJoinOption,
    custom: custom.value,
  };
  return { ok: true, value: { type: body.Type, name: body.Name, ...withoutAbsent(given) } };
}
