import { type ImRefusal, type ImResult, optPlatformOf } from '../../wire/index.ts';
import type { Actor } from '../group-services.ts';
import type { CustomFields } from '../groups/model.ts';
import { type FieldReader, groupPrefix, parseGroupId } from './field-reader.ts';
import type { Request } from './request.ts';

/** Who asks: the account that the link speaks for. */
export function actorOf({ link, terminal }: Pick<Request, 'link' | 'terminal'>): Actor {
  return {
    account: terminal.account,
    authority: 'self',
    origin: { platform: optPlatformOf(terminal.platform), address: link.address },
    linkId: link.linkId,
  };
}

/** The id of the group whose conversation the request names. */
export function groupOfConversation(fields: FieldReader): string {
  const name = fields.raw('conversation');
  return fields.take(parseGroupId(String(name).slice(groupPrefix.length), 'conversation')) ?? '';
}

/** Values of the app's own fields. Which keys there are and who may set them the groups know. */
export function readCustom(fields: FieldReader, name = 'custom'): CustomFields | undefined {
  if (fields.raw(name) === undefined) return undefined;
  const given = fields.object(name);
  for (const [key, value] of Object.entries(given)) {
    if (!isPlain(key) || typeof value !== 'string' || !isPlain(value)) {
      const reason = 'must hold texts by their keys, of well-formed Unicode without U+0000';
      fields.refuse({ error: 'INVALID_FIELD', field: name, reason, allowed: '{"key": "value", …}' });
      return undefined;
    }
  }
  return given as CustomFields;
}

function isPlain(text: string): boolean {
  return text.isWellFormed() && !text.includes('\u0000');
}

/** Fields of the vendor's commands and what they are called here: what groups refuse, they name by their own. */
const namesHere: Readonly<Record<string, string>> = {
  GroupId: 'group',
  Type: 'type',
  Name: 'name',
  Introduction: 'introduction',
  Notification: 'notification',
  FaceUrl: 'faceUrl',
  MaxMemberCount: 'maxMembers',
  MaxMemberNum: 'maxMembers',
  ApplyJoinOption: 'applyOption',
  ShutUpAllMember: 'muted',
  AppDefinedData: 'custom',
  AppMemberDefinedData: 'custom',
  NewOwner_Account: 'to',
  Member_Account: 'account',
  Members_Account: 'accounts',
  MemberToDel_Account: 'accounts',
  User_Account: 'accounts',
  MsgFlag: 'receive',
  NameCard: 'nameCard',
  Role: 'role',
  ShutUpTime: 'muteSec',
  MsgKey: 'key',
  Authentication: 'auth',
  MsgBody: 'body',
  MsgPriority: 'priority',
  MsgSeq: 'seq',
};

/** A refusal of the groups with its field by the name that it has in the request. @param own names that this request has for some */
export function namedHere(refusal: ImRefusal, own: Readonly<Record<string, string>> = {}): ImRefusal {
  const { field } = refusal;
  if (field === undefined) return refusal;
  const [, first = '', rest = ''] = /^([A-Za-z_]+)(.*)$/s.exec(field) ?? [];
  const name = own[first] ?? namesHere[first];
  return name === undefined ? refusal : { ...refusal, field: name + rest };
}

/** What groups answer as the answer of a request. */
export function answerOf<T>(
  result: ImResult<T>,
  show: (value: T) => ImResult<string>,
  own?: Readonly<Record<string, string>>,
): ImResult<string> {
  return result.ok ? show(result.value) : namedHere(result, own);
}
