import type { AccountId, ImResult } from '../../wire/index.ts';
import { c2cPrefix, parseConversation } from './field-reader.ts';
import { emptyOk, findPeer, okJson, type RequestDeps, type RequestHandler } from './request.ts';

const maxSeq = Number.MAX_SAFE_INTEGER;
const maxAcknowledged = 200;
const maxAsked = 100;

/** `ack`, `read`, `unread`, `hide`: what an account does with its conversations. */
export function conversationRequests(deps: RequestDeps): Record<string, RequestHandler> {
  const { accounts, mailbox } = deps;

  return {
    ack: {
      permission: 'im.link.mailbox.write',
      order: 'parallel',
      async run({ terminal, fields }) {
        const { account, autoReport } = terminal;
        const items = fields.list('items', maxAcknowledged, readAcknowledged);
        if (fields.refusal !== undefined) return fields.refusal;
        // M7: without automatic reports only `read` ends offline delivery.
        if (!autoReport) return emptyOk;
        const peers = await accounts.findMany(
          account.sdkAppId,
          items.map(([peer]) => peer),
        );
        // A conversation with an account that is no more is gone, too.
        const known = items.flatMap(([identifier, seq]) => {
          const peer = peers.get(identifier);
          return peer === undefined ? [] : [[peer, seq] as const];
        });
        if (known.length > 0) mailbox.acknowledge(account, known);
        return emptyOk;
      },
    },
    read: {
      permission: 'im.link.mailbox.write',
      order: 'parallel',
      async run(request) {
        const { link, terminal, fields } = request;
        const seq = fields.optionalInteger('seq', { min: 0, max: maxSeq });
        const peer = await findPeer(deps, request);
        if (!peer.ok) return peer;
        const upTo = seq === undefined ? {} : { seq };
        return okJson(await mailbox.read(terminal.account, peer.value, upTo, link.linkId));
      },
    },
    unread: {
      permission: 'im.link.mailbox.read',
      order: 'parallel',
      async run({ terminal, fields }) {
        const { account } = terminal;
        if (fields.raw('conversations') === undefined) return okJson({ total: await mailbox.unreadTotal(account) });
        const names = fields.list('conversations', maxAsked, parseConversation);
        if (fields.refusal !== undefined) return fields.refusal;
        const peers = await accounts.findMany(account.sdkAppId, names);
        const counts = await mailbox.unread(account, [...peers.values()]);
        const byName = new Map([...peers.keys()].map((name, index) => [name, counts[index] ?? 0]));
        return okJson({ conversations: names.map((name) => [c2cPrefix + name, byName.get(name) ?? 0]) });
      },
    },
    hide: {
      permission: 'im.link.mailbox.write',
      order: 'parallel',
      async run(request) {
        const { terminal, fields } = request;
        const clear = fields.boolean('clear', false);
        const peer = await findPeer(deps, request);
        if (!peer.ok) return peer;
        await mailbox.hide(terminal.account, peer.value, { clear });
        return emptyOk;
      },
    },
  };
}

/** `[conversation, seq]`. */
function readAcknowledged(value: unknown, field: string): ImResult<readonly [AccountId, number]> {
  if (!Array.isArray(value) || value.length !== 2) {
    return { ok: false, error: 'INVALID_FIELD', field, reason: 'must be a pair', allowed: '[conversation, seq]' };
  }
  const peer = parseConversation(value[0], `${field}[0]`);
  if (!peer.ok) return peer;
  const seq: unknown = value[1];
  if (!Number.isSafeInteger(seq) || (seq as number) < 0) {
    const allowed = '0 … 2^53 - 1';
    return { ok: false, error: 'INVALID_FIELD', field: `${field}[1]`, reason: 'must be an integer', allowed };
  }
  return { ok: true, value: [peer.value, seq as number] };
}
