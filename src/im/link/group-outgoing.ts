import type { LinkEvent } from '../services.ts';

type GroupEvent = Extract<LinkEvent, { kind: 'group-message' | 'group-recalled' | 'group-read' | 'notice' }>;

export const groupPrefix = 'group:';
/** The account's own inbox of notices. */
export const systemConversation = 'system';

/** An event of a group, as JSON text (docs/reference/link.md). */
export function groupEventText(event: GroupEvent, viewer: string): string {
  switch (event.kind) {
    case 'group-message': {
      const { seq, from, time, random, body, custom, clientId, extra } = event.message;
      let text = `{"on":"message","conversation":${JSON.stringify(groupPrefix + event.groupId)}`;
      if (seq > 0) text += `,"seq":${seq},"prev":${seq - 1}`;
      text += `,"from":${JSON.stringify(from)},"time":${time},"random":${random},"body":${body}`;
      if (custom !== undefined) text += `,"custom":${JSON.stringify(custom)}`;
      if (extra !== undefined) text += `,"extra":${extra}`;
      if (clientId !== undefined && from === viewer) text += `,"clientId":${JSON.stringify(clientId)}`;
      return `${text}${event.uncounted === true ? ',"uncounted":true' : ''}}`;
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
      return `{"on":"notice"${seq > 0 ? `,"seq":${seq}` : ''},"time":${time},"content":${body}}`;
    }
  }
}
