import type { ImRefusal } from '../../wire/index.ts';
import { c2cPrefix, groupPrefix, systemConversation } from './field-reader.ts';
import type { RequestHandler } from './request.ts';

type Handlers = Readonly<Record<string, RequestHandler>>;

const kinds = {
  c2c: { isMeant: (name: string) => name.startsWith(c2cPrefix), shown: 'c2c: and an account' },
  group: { isMeant: (name: string) => name.startsWith(groupPrefix), shown: 'group: and the id of a group' },
  system: { isMeant: (name: string) => name === systemConversation, shown: systemConversation },
} as const;
type Kind = keyof typeof kinds;
const kindNames = Object.keys(kinds) as Kind[];

/** Requests about a conversation, each handed to whoever does it for the kind of conversation that it names. */
export function byConversation(handlers: Readonly<Record<Kind, Handlers>>): Record<string, RequestHandler> {
  const names = new Set(kindNames.flatMap((kind) => Object.keys(handlers[kind])));
  return Object.fromEntries([...names].map((name) => [name, handlerOf(name, handlers)]));
}

function handlerOf(name: string, handlers: Readonly<Record<Kind, Handlers>>): RequestHandler {
  const doing = kindNames.filter((kind) => handlers[kind][name] !== undefined);
  const first = handlers[doing[0] as Kind][name] as RequestHandler;
  const allowed = doing.map((kind) => kinds[kind].shown).join('; ');
  const refusal = (reason: string): ImRefusal => {
    return { ok: false, error: 'INVALID_FIELD', field: 'conversation', reason, allowed };
  };
  return {
    permission: first.permission,
    order: first.order,
    run(request) {
      const named = request.fields.raw('conversation');
      if (named === undefined) return Promise.resolve(refusal('is missing'));
      if (typeof named !== 'string') return Promise.resolve(refusal('must be a string'));
      const kind = kindNames.find((one) => kinds[one].isMeant(named));
      if (kind === undefined) return Promise.resolve(refusal('is no conversation that there is'));
      const handler = handlers[kind][name];
      return handler === undefined ? Promise.resolve(refusal(`is none that \`${name}\` is for`)) : handler.run(request);
    },
  };
}
