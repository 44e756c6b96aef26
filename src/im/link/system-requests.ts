import { systemConversation } from './field-reader.ts';
import { noticesText } from './group-outgoing.ts';
import { okJson, type RequestDeps, type RequestHandler } from './request.ts';

const maxSeq = Number.MAX_SAFE_INTEGER;

/** `sync` and `read` of the account's notices. */
export function systemRequests({ inbox }: Pick<RequestDeps, 'inbox'>): Record<string, RequestHandler> {
  return {
    sync: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run({ link, terminal, fields }) {
        const since = fields.integer('since', { min: 0, max: maxSeq });
        const limit = fields.optionalInteger('limit', { min: 1, max: 200 }) ?? 100;
        if (fields.refusal !== undefined) return fields.refusal;
        const { notices, throughSeq, more } = await inbox.sync(terminal.account, { since, limit });
        link.noteSeq(systemConversation, throughSeq);
        const rest = JSON.stringify({ throughSeq, more });
        return { ok: true, value: `{"notices":${noticesText(notices)},${rest.slice(1)}` };
      },
    },
    read: {
      permission: 'im.link.mailbox.write',
      order: 'parallel',
      async run({ link, terminal, fields }) {
        const seq = fields.optionalInteger('seq', { min: 0, max: maxSeq });
        if (fields.refusal !== undefined) return fields.refusal;
        return okJson(await inbox.read(terminal.account, seq, link.linkId));
      },
    },
  };
}
