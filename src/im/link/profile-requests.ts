import type { ImResult } from '../../wire/index.ts';
import { parseAccount } from './field-reader.ts';
import { emptyOk, okJson, type RequestDeps, type RequestHandler } from './request.ts';

const maxAccounts = 100;
const maxFields = 100;

/** `profiles` and `setProfile`: what an account shows of itself. */
export function profileRequests(deps: RequestDeps): Record<string, RequestHandler> {
  const { accounts, profiles } = deps;

  return {
    profiles: {
      permission: 'im.link.profile.read',
      order: 'parallel',
      async run({ terminal, fields }) {
        const { account } = terminal;
        const names = fields.list('accounts', maxAccounts, parseAccount);
        const wanted = fields.list('fields', maxFields, readText);
        if (fields.refusal !== undefined) return fields.refusal;
        const found = await accounts.findMany(account.sdkAppId, names);
        const got = await profiles.get([...found.values()], wanted, ({ no }) => (no === account.no ? 'self' : 'other'));
        if (!got.ok) return got;
        return okJson({
          profiles: [...found.values()].map(({ no, identifier }) => ({
            account: identifier,
            fields: got.value.get(no) ?? {},
          })),
          unknown: [...new Set(names)].filter((name) => !found.has(name)),
        });
      },
    },
    setProfile: {
      permission: 'im.link.profile.write',
      order: 'parallel',
      async run({ link, terminal, fields }) {
        const values = fields.object('fields');
        if (fields.refusal !== undefined) return fields.refusal;
        const done = await profiles.set(terminal.account, values, 'self', link.linkId);
        return done.ok ? emptyOk : done;
      },
    },
  };
}

function readText(value: unknown, field: string): ImResult<string> {
  if (typeof value === 'string' && value.length <= 100) return { ok: true, value };
  return {
    ok: false,
    error: 'INVALID_FIELD',
    field,
    reason: 'must be the name of a profile field',
    allowed: 'at most 100 characters',
  };
}
