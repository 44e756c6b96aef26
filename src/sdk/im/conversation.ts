import { invalid } from './arguments.ts';
import { ImError } from './error.ts';
import { numberOr } from './frames.ts';
import { type Head, missedRecalls, newHead } from './head.ts';
import type { MessagePage } from './history.ts';
import { isOfTwo, type SendOptions } from './letter.ts';
import { type ImElement, type ImMessage, type ImOutgoing, showMessage, toBody } from './message.ts';
import type { Session } from './session.ts';

export interface PageOptions {
  /** 1 … 200; default 20. */
  readonly count?: number;
  /** Messages before this one, or before this seq; default: the newest. */
  readonly before?: number | ImMessage;
}

/**
 * One conversation of the account. The object is a view: make as many as you like; `unread`, `last` and the others are always
 * as they are now. All methods throw `CLOSED` once the account is logged out.
 */
export interface ImConversation {
  /** `c2c:` and the peer, or `group:` and the group's id. */
  readonly id: string;
  readonly type: 'c2c' | 'group';
  /** The other account, or the group's id. */
  readonly peer: string;
  /** Messages of others that the account has not read, on whatever terminal (M14). */
  readonly unread: number;
  /** The account has read up to this seq, the peer up to that. */
  readonly readSeq: number;
  readonly peerReadSeq: number;
  /** The newest message, own ones that are not sent yet included. */
  readonly last: ImMessage | undefined;
  /**
   * Sends a text, or elements. The message is there at once, `sending`, and in `getMessage`; it is sent again, under the same
   * name, until the service has it, over as many connections as it takes, for `limits.sendTimeoutMs`; then it has `failed`.
   *
   * @throws ImError `INVALID_ARGUMENT`: content that is no text and no list of elements. Whatever else goes wrong is said by the message.
   */
  sendMessage(content: string | readonly ImElement[], options?: SendOptions): ImOutgoing;
  /** Only for terminals that are online now: asked for once, in no history. `failed` at once without a connection. */
  sendOnlineMessage(content: string | readonly ImElement[], options?: SendOptions): ImOutgoing;
  /**
   * Sends a message that has failed again, as the same one: if the service has it after all, it stays one (M13).
   * @throws ImError `MESSAGE_NOT_FOUND`: it is not among those that wait or have failed
   */
  resend(message: ImMessage): ImOutgoing;
  /**
   * Messages, oldest first: those that are stored here; where some are missing, from the service (H1). Without a connection what
   * is here, and `hasGap`.
   *
   * @throws ImError `INVALID_ARGUMENT`, or a refusal such as `RECEIVER_UNKNOWN` when nothing is here either
   */
  getMessage(options?: PageOptions): Promise<MessagePage>;
  /** The same without asking the service. */
  getLocalMessage(options?: PageOptions): Promise<MessagePage>;
  /**
   * The account has read up to this message, or all that came. Holds here at once; the service is told now or with the next
   * connection, and it tells the peer and the account's other terminals. Settles when it is written down here.
   */
  setReadMessage(upTo?: number | ImMessage): Promise<void>;
  /**
   * Takes an own message back, for everybody.
   * @throws ImError `RECALL_TOO_LATE`, `MESSAGE_NOT_FOUND`, `ALREADY_RECALLED`, `FORBIDDEN`, `NETWORK`, `TIMEOUT`
   */
  recall(message: ImMessage): Promise<void>;
  /** Removes a message here; the peer, and the account's other terminals, keep it (H2). */
  deleteMessage(message: ImMessage): Promise<void>;
  /**
   * Takes the conversation out of the list until its next message. With `messages` also removes all of them, here and from the
   * account's history at the service. Holds here at once; the service is told now or with the next connection. Of a group: here alone.
   */
  delete(options?: { readonly messages?: boolean }): Promise<void>;
}

const maxCount = 200;

export function idOf(peer: string): string {
  return /^(c2c|group):/.test(peer) ? peer : `c2c:${peer}`;
}

export function openConversation(session: Session, id: string): ImConversation {
  const { store, outbox, reports, history, delivery, account } = session;

  function head(): Head {
    if (session.isClosed) throw new ImError('CLOSED', 'the account is not logged in any more');
    return store.head(id);
  }

  /** Looking makes no conversation. */
  const look = (): Head => store.heads.get(id) ?? newHead(id);

  function letter(content: string | readonly ImElement[], options: SendOptions, isOnline: boolean): ImOutgoing {
    head();
    const body = toBody(content);
    if (body === undefined) throw invalid('content', 'must be a text or a list of elements');
    const { lifetimeSec, push, custom, priority } = options;
    return outbox.send({ conversation: id, body, options: { lifetimeSec, push, custom, priority }, isOnline });
  }

  async function page({ count = 20, before }: PageOptions, isLocal: boolean): Promise<MessagePage> {
    if (!Number.isInteger(count) || count < 1 || count > maxCount) {
      throw invalid('count', `must be an integer from 1 to ${maxCount}`);
    }
    const seq = seqOf(before);
    return history.read(head(), seq === 0 ? undefined : seq, count, isLocal ? undefined : session.ask());
  }

  return {
    id,
    type: isOfTwo(id) ? 'c2c' : 'group',
    peer: id.slice(id.indexOf(':') + 1),
    get unread() {
      return look().unread;
    },
    get readSeq() {
      return look().readSeq;
    },
    get peerReadSeq() {
      return look().peerReadSeq;
    },
    get last() {
      const { last } = look();
      return outbox.unsent(id).at(-1) ?? (last && showMessage(id, last, account));
    },
    sendMessage: (content, options = {}) => letter(content, options, false),
    sendOnlineMessage: (content, options = {}) => letter(content, options, true),
    resend({ clientId = '' }) {
      head();
      const outgoing = outbox.resend(clientId);
      if (outgoing === undefined) throw new ImError('MESSAGE_NOT_FOUND', 'it does not wait to be sent');
      return outgoing;
    },
    getMessage: async (options = {}) => page(options, false),
    getLocalMessage: async (options = {}) => page(options, true),
    async setReadMessage(upTo) {
      const mine = head();
      // What is on its way to the application was not read.
      const seq = upTo === undefined ? (mine.isSynced ? mine.shown : mine.seq) : (seqOf(upTo) ?? 0);
      if (seq <= mine.readSeq) return;
      mine.readSeq = mine.owedRead = seq;
      if (seq >= mine.seq) mine.unread = 0;
      else reports.recount(id);
      await store.commit();
      session.signals.onConversation.emit(id);
      void reports.settle();
    },
    async recall(message) {
      const mine = head();
      const answer = await session.request('recall', { conversation: id, seq: message.seq });
      const recallNo = numberOr(answer.recallNo, 0);
      // The event may have been faster.
      if (recallNo <= mine.recallNo) return;
      if (!missedRecalls(mine, recallNo, 1)) mine.recallNo = recallNo;
      await delivery.recall(mine, [message.seq]);
    },
    async deleteMessage({ seq, clientId = '' }) {
      const mine = head();
      outbox.remove(clientId);
      if (seq > 0) {
        await store.load(mine, [seq]);
        store.remove(mine, seq);
        if (mine.last?.seq === seq) await history.findLast(mine);
      }
      await store.commit();
      session.signals.onConversation.emit(id);
    },
    async delete({ messages = false } = {}) {
      const mine = head();
      mine.isHidden = true;
      // A group is in the list as long as its messages are.
      if (isOfTwo(id)) mine.owedHide = messages ? 'clear' : 'hide';
      if (messages) {
        for (const { clientId = '' } of outbox.unsent(id)) outbox.remove(clientId);
        mine.floor = Math.max(mine.floor, mine.seq + 1);
        mine.readSeq = Math.max(mine.readSeq, mine.seq);
        mine.unread = 0;
        mine.last = undefined;
        await store.clear(mine);
      }
      await store.commit();
      session.signals.onConversation.emit(id);
      void reports.settle();
    },
  };
}

function seqOf(message: number | ImMessage | undefined): number | undefined {
  return typeof message === 'object' ? message.seq : message;
}
