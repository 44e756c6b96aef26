import type { Command } from '../../auth/index.ts';
import { type ImRefusal, type ImResult, optPlatformOf } from '../../wire/index.ts';
import type { Actor } from '../group-services.ts';
import type { FieldReader } from './field-reader.ts';
import { emptyOk, type Request, type RequestHandler } from './request.ts';

/** What a request about groups is: what it reads, does, and tells. */
export interface GroupRow<Input, Output> {
  /** Reads the fields. Nothing is done where one is refused. */
  read(fields: FieldReader, request: Request): Input;
  act(actor: Actor, input: Input, request: Request): Promise<ImResult<Output>>;
  /** The answer; absent: `{}`. */
  show?(value: Output, input: Input, request: Request): ImResult<string>;
  /** Names that only this request has for fields of a refusal. */
  names?: Readonly<Record<string, string>>;
}

type Facts = Pick<RequestHandler, 'permission' | 'order'>;

/** Makes the handler of a request about groups: whatever they refuse names a field of the request. */
export function groupHandler<Input, Output>(
  facts: Facts,
  { read, act, show, names = {} }: GroupRow<Input, Output>,
): RequestHandler {
  return {
    ...facts,
    async run(request) {
      const { fields } = request;
      const input = read(fields, request);
      if (fields.refusal !== undefined) return fields.refusal;
      const result = await act(actorOf(request), input, request);
      if (!result.ok) return namedHere(result, names);
      return show === undefined ? emptyOk : show(result.value, input, request);
    },
  };
}

const factsOf = (permission: Command, order: RequestHandler['order']) => ({ permission, order });

/** Requests that change something in a group, look something up in one, and list something of one. */
export const writing = factsOf('im.link.group.write', 'parallel');
export const looking = factsOf('im.link.group.read', 'parallel');
export const listing = factsOf('im.link.group.read', 'page');

/** Who asks: the account that the link speaks for. */
function actorOf({ link, terminal }: Request): Actor {
  return {
    account: terminal.account,
    authority: 'self',
    origin: { platform: optPlatformOf(terminal.platform), address: link.address },
    linkId: link.linkId,
  };
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
  AppDefinedData: 'custom',
  AppMemberDefinedData: 'custom',
  NewOwner_Account: 'to',
  Member_Account: 'account',
  Members_Account: 'accounts',
  MemberToDel_Account: 'accounts',
  NameCard: 'nameCard',
  MsgKey: 'key',
  OnlineOnlyFlag: 'online',
};

/** A refusal of the groups with its field by the name that it has in the request. @param own names that this request has for some */
function namedHere(refusal: ImRefusal, own: Readonly<Record<string, string>>): ImRefusal {
  const { field } = refusal;
  if (field === undefined) return refusal;
  const [, first = '', rest = ''] = /^([A-Za-z_]+)(.*)$/s.exec(field) ?? [];
  const name = own[first] ?? namesHere[first];
  return name === undefined ? refusal : { ...refusal, field: name + rest };
}
