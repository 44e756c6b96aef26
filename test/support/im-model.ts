/**
 * What the messaging core promises about one-to-one messages, as plainly as it can be said: lists and counting, no cursors kept
 * up to date. The model test compares the service with it.
 */

export interface ModelMessage {
  seq: number;
  from: string;
  text: string;
  /** Unix seconds. */
  time: number;
  visibleTo: 'both' | 'sender' | 'receiver';
  counts: boolean;
  /** Unix seconds, end of its offline delivery. */
  offlineUntil: number;
  recalled: boolean;
  /** Position over all conversations. */
  position: number;
}

type Side = { read: number; acknowledged: number };
type ModelConversation = { accounts: [string, string]; messages: ModelMessage[]; sides: Map<string, Side> };

const daySec = 86_400;

export class ImModel {
  readonly conversations = new Map<string, ModelConversation>();
  nowSec: number;
  position = 0;
  /** What was stored before fell out of the account's offline delivery. */
  readonly offlineFloor = new Map<string, number>();

  constructor(nowSec: number) {
    this.nowSec = nowSec;
  }

  conversation(a: string, b: string): ModelConversation {
    const accounts = [a, b].sort() as [string, string];
    const side = () => ({ read: 0, acknowledged: 0 });
    const key = accounts.join(' ');
    const found = this.conversations.get(key) ?? {
      accounts,
      messages: [],
      sides: new Map(accounts.map((name) => [name, side()])),
    };
    this.conversations.set(key, found);
    return found;
  }

  side(account: string, peer: string): Side {
    return this.conversation(account, peer).sides.get(account) as Side;
  }

  send(
    from: string,
    to: string,
    message: Pick<ModelMessage, 'text' | 'visibleTo' | 'counts'> & { lifetimeSec: number },
  ): number {
    const { messages } = this.conversation(from, to);
    const seq = messages.length + 1;
    const { lifetimeSec, ...rest } = message;
    const time = this.nowSec;
    const position = ++this.position;
    messages.push({ ...rest, seq, from, time, offlineUntil: time + lifetimeSec, recalled: false, position });
    return seq;
  }

  read(account: string, peer: string, seq = Number.POSITIVE_INFINITY): void {
    const side = this.side(account, peer);
    side.read = Math.max(side.read, Math.min(seq, this.conversation(account, peer).messages.length));
  }

  recall(account: string, peer: string, seq: number): void {
    const message = this.conversation(account, peer).messages[seq - 1];
    if (message !== undefined) message.recalled = true;
  }

  /** What the account sees of the conversation: nothing that has expired, or that is not for it. */
  view(account: string, peer: string): ModelMessage[] {
    return this.conversation(account, peer).messages.filter(
      ({ from, time, visibleTo }) =>
        time >= this.nowSec - 7 * daySec && (visibleTo === 'both' || (visibleTo === 'sender') === (from === account)),
    );
  }

  unread(account: string, peer: string): number {
    const { read } = this.side(account, peer);
    return this.view(account, peer).filter(
      ({ seq, from, counts, recalled }) => seq > read && from !== account && counts && !recalled,
    ).length;
  }

  peers(account: string): string[] {
    return [...this.conversations.values()]
      .filter(({ accounts }) => accounts.includes(account))
      .map(({ accounts: [a, b] }) => (a === account ? b : a));
  }

  /** Newest first, of one second by name: peer, time, unread, text of the last message. */
  recents(account: string): { peer: string; time: number; unread: number; last: string }[] {
    return this.peers(account)
      .flatMap((peer) => {
        const last = this.view(account, peer).at(-1);
        return last === undefined ? [] : [{ peer, last }];
      })
      .sort((a, b) => b.last.time - a.last.time || (a.peer < b.peer ? -1 : 1))
      .map(({ peer, last }) => ({
        peer,
        time: last.time,
        unread: this.unread(account, peer),
        last: last.recalled ? '' : last.text,
      }));
  }

  /** Oldest first: what a terminal that comes now is given, at most so many bytes of it. */
  offline(account: string, maxBytes: number, bytesOf: (text: string) => number): string[] {
    const waiting = this.peers(account)
      .flatMap((peer) => {
        const { read, acknowledged } = this.side(account, peer);
        return this.view(account, peer).filter(
          ({ seq, from, recalled, offlineUntil, position }) =>
            seq > Math.max(read, acknowledged) &&
            from !== account &&
            !recalled &&
            offlineUntil > this.nowSec &&
            position >= (this.offlineFloor.get(account) ?? 0),
        );
      })
      .sort((a, b) => a.position - b.position);
    let bytes = 0;
    const kept = waiting
      .toReversed()
      .filter(({ text }) => {
        bytes += bytesOf(text);
        return bytes <= maxBytes;
      })
      .reverse();
    if (kept.length < waiting.length) this.offlineFloor.set(account, kept[0]?.position ?? this.position + 1);
    return kept.map(({ text }) => text);
  }
}
