import type { GroupState, Notice } from '../group-services.ts';
import type { StoredMessage } from '../model.ts';
import type { LinkEvent } from '../services.ts';
import { groupPrefix, systemConversation } from './field-reader.ts';

type GroupEvent = Extract<
  LinkEvent,
  { kind: 'group-message' | 'group-recalled' | 'group-read' | 'notice' | 'notices-read' }
>;

/**
 * The fields of a group's message, without braces. `isEvent`: with the seq before it, which in a group is always the one before (G34).
 * All members see the same, but for the sender's own name for it.
 */
export function groupMessageFields(message: StoredMessage, groupId: string, viewer: string, isEvent = false): string {
  const { seq, from, time, random, body, custom, extra, clientId, recalled } = message;
  let text = `"conversation":${JSON.stringify(groupPrefix + groupId)}`;
  // One that is for members alone who are online now has neither.
  if (seq > 0) text += isEvent ? `,"seq":${seq},"prev":${seq - 1}` : `,"seq":${seq}`;
  text += `,"from":${JSON.stringify(from)},"time":${time},"random":${random},"body":${body}`;
  if (custom !== undefined) text += `,"custom":${JSON.stringify(custom)}`;
  if (extra !== undefined) text += `,"extra":${extra}`;
  if (clientId !== undefined && from === viewer) text += `,"clientId":${JSON.stringify(clientId)}`;
  if (recalled) text += ',"recalled":true';
  return text;
}

export function groupMessagesText(messages: readonly StoredMessage[], groupId: string, viewer: string): string {
  return `[${messages.map((message) => `{${groupMessageFields(message, groupId, viewer)}}`).join(',')}]`;
}

/** One notice of the account, without braces. `content` is JSON text of ours. */
function noticeFields({ seq, time, content }: Notice, isEvent = false): string {
  const place = seq === 0 ? '' : isEvent ? `,"seq":${seq},"prev":${seq - 1}` : `,"seq":${seq}`;
  return `"conversation":"${systemConversation}"${place},"time":${time},"content":${content}`;
}

export function noticesText(notices: readonly Notice[]): string {
  return `[${notices.map((notice) => `{${noticeFields(notice)}}`).join(',')}]`;
}

/** What a terminal begins with in a group (G35). */
export function groupStateText(state: GroupState, viewer: string): string {
  const { groupId, seq, readSeq, unread, recallNo, msgFlag, last } = state;
  const facts = JSON.stringify({
    conversation: groupPrefix + groupId,
    seq,
    readSeq,
    unread,
    recallNo,
    receive: msgFlag,
  });
  return last === undefined ? facts : `${facts.slice(0, -1)},"last":{${groupMessageFields(last, groupId, viewer)}}}`;
}

/** An event of a group or of the account's notices, as JSON text (docs/reference/link.md). */
export function groupEventText(event: GroupEvent, viewer: string): string {
  switch (event.kind) {
    case 'group-message': {
      const fields = groupMessageFields(event.message, event.groupId, viewer, true);
      return `{"on":"message",${fields}${event.uncounted === true ? ',"uncounted":true' : ''}}`;
    }
    case 'group-recalled': {
      const { groupId, seqs, recallNo } = event;
      return JSON.stringify({ on: 'recalled', conversation: groupPrefix + groupId, seqs, recallNo });
    }
    case 'group-read': {
      const { groupId, readSeq, unread } = event;
      return JSON.stringify({ on: 'read', conversation: groupPrefix + groupId, readSeq, unread });
    }
    case 'notice': {
      const { seq, time, body } = event;
      return `{"on":"notice",${noticeFields({ seq, time, content: body }, true)}}`;
    }
    case 'notices-read': {
      const { readSeq, unread } = event;
      return JSON.stringify({ on: 'read', conversation: systemConversation, readSeq, unread });
    }
  }
}
