import {
  type AccountId,
  describeRefusal,
  type ImRefusal,
  imErrorCatalogue,
  type LinkEndName,
  linkEnds,
  messageKey,
} from '../../wire/index.ts';
import type { StoredMessage } from '../model.ts';
import type { ConversationView, KickedBy, LinkEvent } from '../services.ts';
import { c2cPrefix } from './field-reader.ts';
import { groupEventText } from './group-outgoing.ts';

/**
 * Frames of the service, as JSON text. A message's body is put in as it was stored: it is JSON text of ours, and it may be
 * large, and go to many.
 */

export function okText(id: number, value: string): string {
  return `{"id":${id},"ok":${value}}`;
}

export function errorText(id: number, refusal: ImRefusal): string {
  const { error, field, allowed } = refusal;
  const { message, retryable, ...known } = imErrorCatalogue[error];
  const reason = refusal.reason ?? message;
  const code = refusal.code ?? known.code;
  return JSON.stringify({ id, error: { code, name: error, reason, field, allowed, retryable } });
}

export interface ByeFacts {
  /** What is wrong, where there is more to say than the name does. */
  readonly reason?: string;
  readonly reconnectMs?: number;
  readonly by?: KickedBy;
}

export function byeText(name: LinkEndName, { reason, reconnectMs, by }: ByeFacts): string {
  const { code, isFinal, message } = linkEnds[name];
  return JSON.stringify({ on: 'bye', code, name, reason: reason ?? message, final: isFinal, reconnectMs, ...by });
}

/** A refusal in a line for `bye`. */
export function reasonOf(refusal: ImRefusal): string {
  return describeRefusal(refusal);
}

/** The fields of a message as one side sees it, without braces. `prev`: in events only. */
export function messageFields(message: StoredMessage, peer: AccountId, viewer: AccountId, prev?: number): string {
  const { seq, from, time, msgSeq, random, body, custom, clientId, recalled } = message;
  let text = `"conversation":${JSON.stringify(c2cPrefix + peer)}`;
  // One that is for online terminals alone has neither.
  if (seq > 0) text += prev === undefined ? `,"seq":${seq}` : `,"seq":${seq},"prev":${prev}`;
  text += `,"from":${JSON.stringify(from)},"time":${time},"msgSeq":${msgSeq},"random":${random}`;
  text += `,"key":"${messageKey(message)}","body":${body}`;
  if (custom !== undefined) text += `,"custom":${JSON.stringify(custom)}`;
  if (clientId !== undefined && from === viewer) text += `,"clientId":${JSON.stringify(clientId)}`;
  if (recalled) text += ',"recalled":true';
  return text;
}

export function messagesText(messages: readonly StoredMessage[], peer: AccountId, viewer: AccountId): string {
  return `[${messages.map((message) => `{${messageFields(message, peer, viewer)}}`).join(',')}]`;
}

export function eventText(event: LinkEvent, viewer: AccountId): string {
  switch (event.kind) {
    case 'message':
      return `{"on":"message",${messageFields(event.message, event.peer, viewer, event.prev)}${event.uncounted === true ? ',"uncounted":true' : ''}}`;
    case 'recalled': {
      const { peer, seqs, recallNo } = event;
      return JSON.stringify({ on: 'recalled', conversation: c2cPrefix + peer, seqs, recallNo });
    }
    case 'read': {
      const { peer, readSeq, unread } = event;
      const whose = unread === undefined ? { peer: true } : { unread };
      return JSON.stringify({ on: 'read', conversation: c2cPrefix + peer, readSeq, ...whose });
    }
    case 'profile':
      return JSON.stringify({ on: 'profile', account: event.account, fields: event.fields });
    case 'group-message':
    case 'group-recalled':
    case 'group-read':
    case 'notice':
    case 'notices-read':
      return groupEventText(event, viewer);
  }
}

export const resyncText = '{"on":"resync"}';

export function viewText(view: ConversationView, viewer: AccountId): string {
  const { peer, last, seq, readSeq, unread, recallNo, deliveredSeq, peerReadSeq } = view;
  const facts = JSON.stringify({
    conversation: c2cPrefix + peer,
    seq,
    readSeq,
    unread,
    recallNo,
    deliveredSeq,
    peerReadSeq,
  });
  return last === undefined ? facts : `${facts.slice(0, -1)},"last":{${messageFields(last, peer, viewer)}}}`;
}
