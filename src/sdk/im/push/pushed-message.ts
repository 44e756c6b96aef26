import { type Fields, fieldsOf } from '../frames.ts';

/** The message of a push: `client.getConversation(conversation)` has it. */
export interface PushedMessage {
  readonly conversation: string;
  readonly seq: number;
}

/**
 * Finds the message in what the system handed to the app: `userInfo` of APNs, the extras of an intent or the `data` of a message of FCM, each
 * also as `data` of an object, as bridges give it; or a message itself. Undefined: it is of none, such as a push that is not this service's.
 */
export function pushedMessageOf(push: unknown): PushedMessage | undefined {
  return read(fieldsOf(push)) ?? read(fieldsOf(fieldsOf(push).data));
}

function read({ aps, conv, conversation, seq }: Fields): PushedMessage | undefined {
  const thread = fieldsOf(aps)['thread-id'] ?? conv;
  const id = typeof thread === 'string' ? thread.replace(/^(c2c|group)_/, '$1:') : conversation;
  const number = Number(seq);
  if (typeof id !== 'string' || !/^(c2c|group):./.test(id) || !Number.isSafeInteger(number) || number < 1) {
    return undefined;
  }
  return { conversation: id, seq: number };
}
