import { c2cSendFields } from '../../src/wire/index.ts';

/** What is told of in a round. */
export interface EventSet {
  readonly name: 'own' | 'ten' | 'bodies';
  readonly title: string;
  /** The command of its callbacks. */
  readonly command: 'C2C.CallbackAfterSendMsg' | 'Group.CallbackAfterSendMsg';
  readonly perConversation: 1 | 10;
  /** A multiple of {@link chunkEvents}. */
  readonly events: number;
}

/** Events that are written down at once, by whoever makes them. */
export const chunkEvents = 500;
export const sdkAppId = 1_400_000_000;
export const origin = { platform: 'Android', address: '198.51.100.7' } as const;
export const sender = 'lin';
export const text = 'x'.repeat(100);
export const msgRandom = 90_211;
/** Unix seconds. */
export const msgTime = 1_764_000_000;

export function makeEventSets(events: number): EventSet[] {
  const message = 'C2C.CallbackAfterSendMsg';
  return [
    {
      name: 'own',
      title: 'Stored one-to-one messages, each in a conversation of its own',
      command: message,
      perConversation: 1,
      events,
    },
    {
      name: 'ten',
      title: 'Stored one-to-one messages, ten of each conversation close together',
      command: message,
      perConversation: 10,
      events,
    },
    {
      name: 'bodies',
      title: 'Events that bring their body along, each in a conversation of its own',
      command: 'Group.CallbackAfterSendMsg',
      perConversation: 1,
      events,
    },
  ];
}

/** Where an event stands: those of a conversation come in one chunk, its others between them. */
export function placeOf({ perConversation }: EventSet, event: number): { conversation: number; seq: number } {
  const inChunk = event % chunkEvents;
  const conversations = chunkEvents / perConversation;
  return {
    conversation: Math.floor(event / chunkEvents) * conversations + (inChunk % conversations),
    seq: Math.floor(inChunk / conversations) + 1,
  };
}

export function receiverOf({ name }: EventSet, conversation: number): string {
  return `${name}-${conversation}`;
}

/** What the backend is told of an event, the command aside; MsgSeq is the event's number. */
export function fieldsOf(set: EventSet, event: number): Record<string, unknown> {
  const fields = c2cSendFields({
    from: sender,
    to: receiverOf(set, placeOf(set, event).conversation),
    msgSeq: event,
    random: msgRandom,
    time: msgTime,
    body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
    custom: undefined,
    isOnlineOnly: false,
  });
  return set.name === 'bodies' ? fields : { ...fields, SendMsgResult: 0, ErrorInfo: '' };
}

/** The body that the backend gets, whoever sends it. */
export function bodyOf(set: EventSet, event: number): string {
  return JSON.stringify({ CallbackCommand: set.command, ...fieldsOf(set, event) });
}
