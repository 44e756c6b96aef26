import type { AccountId, ImResult } from '../../wire/index.ts';
import type { Clock, StoredMessage } from '../model.ts';
import { c2cPrefix } from './field-reader.ts';
import type { Link } from './link.ts';
import { messageFields, messagesText, viewText } from './outgoing.ts';
import { findPeer, type RequestDeps, type RequestHandler } from './request.ts';

const maxSeq = Number.MAX_SAFE_INTEGER;
/** What was stored longer ago than this is not looked at again for a link that has just been told of it. */
const recentSec = 60;
/** A page's end is a few numbers. */
const cursorForm = { pattern: /^[\x21-\x7e]{1,200}$/, allowed: 'the `after` of the answer before' };

/** `offline` and `recents`: what an account has, whose answers may be large. */
export function pageRequests({ mailbox, clock }: RequestDeps): Record<string, RequestHandler> {
  const note = noteBy(clock);

  return {
    offline: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run({ link, terminal, fields }) {
        const { account } = terminal;
        const cursor = fields.optionalText('after', cursorForm);
        if (fields.refusal !== undefined) return fields.refusal;
        const { messages, after } = await mailbox.offline(account, cursor);
        for (const { peer, seq, time } of messages) note(link, peer, seq, time);
        const texts = messages.map((message) => `{${messageFields(message, message.peer, account.identifier)}}`);
        return ok(`{"messages":[${texts.join(',')}]${after === undefined ? '' : `,"after":${JSON.stringify(after)}`}}`);
      },
    },

    recents: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run({ link, terminal }) {
        const { account } = terminal;
        const views = await mailbox.recents(account);
        for (const { peer, seq, time } of views) note(link, peer, seq, time);
        return ok(`{"conversations":[${views.map((view) => viewText(view, account.identifier)).join(',')}]}`);
      },
    },
  };
}

/** `sync` and `history` of one-to-one conversations. */
export function peerPageRequests(deps: RequestDeps): Record<string, RequestHandler> {
  const { mailbox, clock } = deps;
  const note = noteBy(clock);

  function noteLast(link: Link, peer: AccountId, messages: readonly StoredMessage[], seq?: number): void {
    const last = messages.at(-1);
    if (last !== undefined) note(link, peer, seq ?? last.seq, last.time);
  }

  return {
    sync: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run(request) {
        const { link, terminal, fields } = request;
        const { account } = terminal;
        const since = fields.integer('since', { min: 0, max: maxSeq });
        const recallNo = fields.optionalInteger('recallNo', { min: 0, max: maxSeq }) ?? 0;
        const limit = fields.optionalInteger('limit', { min: 1, max: 200 }) ?? 100;
        const peer = await findPeer(deps, request);
        if (!peer.ok) return peer;
        const page = await mailbox.sync(account, peer.value, { since, recallNo, limit });
        const { messages, throughSeq, more, recalled } = page;
        const { identifier } = peer.value;
        noteLast(link, identifier, messages, throughSeq);
        const rest = JSON.stringify({ throughSeq, more, recalled, recallNo: page.recallNo });
        return ok(`{"messages":${messagesText(messages, identifier, account.identifier)},${rest.slice(1)}`);
      },
    },

    history: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run(request) {
        const { link, terminal, fields } = request;
        const { account } = terminal;
        const before = fields.optionalInteger('before', { min: 1, max: maxSeq });
        const limit = fields.optionalInteger('limit', { min: 1, max: 100 }) ?? 20;
        const peer = await findPeer(deps, request);
        if (!peer.ok) return peer;
        const input = before === undefined ? { limit } : { before, limit };
        const { messages, complete } = await mailbox.history(account, peer.value, input);
        const { identifier } = peer.value;
        noteLast(link, identifier, messages);
        return ok(`{"messages":${messagesText(messages, identifier, account.identifier)},"complete":${complete}}`);
      },
    },
  };
}

/** The link knows of it now, so it need not be told again by a look for what it missed. */
function noteBy(clock: Clock) {
  return (link: Link, peer: AccountId, seq: number, timeSec: number): void => {
    if (timeSec > clock() / 1_000 - recentSec) link.noteSeq(c2cPrefix + peer, seq);
  };
}

function ok(value: string): ImResult<string> {
  return { ok: true, value };
}
