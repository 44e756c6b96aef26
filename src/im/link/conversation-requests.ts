import type { AccountId, ImResult } from '../../wire/index.ts';
import type { Account } from '../model.ts';
import {
  c2cPrefix,
  groupPrefix,
  type NamedConversation,
  parseAnyConversation,
  systemConversation,
} from './field-reader.ts';
import { emptyOk, findPeer, okJson, type RequestDeps, type RequestHandler } from './request.ts';

const maxSeq = Number.MAX_SAFE_INTEGER;
const maxAcknowledged = 200;
const maxAsked = 100;

/** `ack` and `unread`: of several conversations at once. */
export function conversationRequests(deps: RequestDeps): Record<string, RequestHandler> {
  const { accounts, mailbox, groupSync, inbox } = deps;

  async function unreadOfPeers(account: Account, names: readonly AccountId[]): Promise<Map<string, number>> {
    if (names.length === 0) return new Map();
    const peers = await accounts.findMany(account.sdkAppId, names);
    const counts = await mailbox.unread(account, [...peers.values()]);
    return new Map([...peers.keys()].map((name, index) => [c2cPrefix + name, counts[index] ?? 0]));
  }

  async function unreadOfGroups(account: Account, groupIds: readonly string[]): Promise<Map<string, number>> {
    if (groupIds.length === 0) return new Map();
    const counts = await groupSync.unread(account, groupIds);
    return new Map(groupIds.map((groupId, index) => [groupPrefix + groupId, counts[index] ?? 0]));
  }

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
        // What groups and notices have is fetched, not delivered: nothing of it waits for an acknowledgement.
        const delivered = items.flatMap(([named, seq]) => (named.kind === 'c2c' ? [[named.peer, seq] as const] : []));
        const peers = await accounts.findMany(
          account.sdkAppId,
          delivered.map(([peer]) => peer),
        );
        // A conversation with an account that is no more is gone, too.
        const known = delivered.flatMap(([identifier, seq]) => {
          const peer = peers.get(identifier);
          return peer === undefined ? [] : [[peer, seq] as const];
        });
        if (known.length > 0) mailbox.acknowledge(account, known);
        return emptyOk;
      },
    },
    unread: {
      permission: 'im.link.mailbox.read',
      order: 'parallel',
      async run({ terminal, fields }) {
        const { account } = terminal;
        if (fields.raw('conversations') === undefined) {
          const [peers, groups] = await Promise.all([mailbox.unreadTotal(account), groupSync.unreadTotal(account)]);
          return okJson({ total: peers + groups });
        }
        const named = fields.list('conversations', maxAsked, parseAnyConversation);
        if (fields.refusal !== undefined) return fields.refusal;
        const [peers, groups, system] = await Promise.all([
          unreadOfPeers(
            account,
            named.flatMap((one) => (one.kind === 'c2c' ? one.peer : [])),
          ),
          unreadOfGroups(
            account,
            named.flatMap((one) => (one.kind === 'group' ? one.groupId : [])),
          ),
          named.some(({ kind }) => kind === 'system') ? inbox.state(account) : undefined,
        ]);
        const counts = new Map([...peers, ...groups, [systemConversation, system?.unread ?? 0]]);
        return okJson({ conversations: named.map(({ name }) => [name, counts.get(name) ?? 0]) });
      },
    },
  };
}

/** `read` and `hide` of one-to-one conversations. */
export function peerRequests(deps: RequestDeps): Record<string, RequestHandler> {
  const { mailbox } = deps;

  return {
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
function readAcknowledged(value: unknown, field: string): ImResult<readonly [NamedConversation, number]> {
  if (!Array.isArray(value) || value.length !== 2) {
    return { ok: false, error: 'INVALID_FIELD', field, reason: 'must be a pair', allowed: '[conversation, seq]' };
  }
  const named = parseAnyConversation(value[0], `${field}[0]`);
  if (!named.ok) return named;
  const seq: unknown = value[1];
  if (!Number.isSafeInteger(seq) || (seq as number) < 0) {
    const allowed = '0 … 2^53 - 1';
    return { ok: false, error: 'INVALID_FIELD', field: `${field}[1]`, reason: 'must be an integer', allowed };
  }
  return { ok: true, value: [named.value, seq as number] };
}
