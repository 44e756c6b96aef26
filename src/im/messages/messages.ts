import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import { type BeforeOutcome, type ImRefusal, type ImResult, packCallbackNotes } from '../../wire/index.ts';
import type { Account, Clock, StoredMessage } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import type { Accounts, Bus, Messages, SendInput, Sent, Words } from '../services.ts';
import { type Committed, type Committer, QueueFull, TooLate } from './commit.ts';
import type { Conversation, Conversations } from './conversations.ts';
import { createRecall } from './recall.ts';
import { findRepeat } from './repeat.ts';

export interface MessagesDeps {
  db: Database;
  apps: AppLookup;
  accounts: Pick<Accounts, 'find'>;
  conversations: Conversations;
  committer: Committer;
  words: Pick<Words, 'findInBody'>;
  bus: Bus;
  ports: ImPorts;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}

/** How long a repeat is the same message: by MsgRandom, and by our SDK's own client id (M13). */
const randomWindowMs = 120_000;
const clientIdWindowMs = 86_400_000;
/** The bit of `Consumers` that stands for callbacks. */
const callbacksBit = 1;
/** Times that a message is authorised anew because who may send has changed meanwhile. */
const maxAttempts = 3;

type Outcome = 'stored' | 'repeat' | 'online-only' | 'refused' | 'timed-out' | 'failed';

/**
 * The way of a one-to-one message (DESIGN §6): authorise, look for a repeat, ask the app's backend, check words and size of the final
 * content, commit, tell the terminals. `ok` means that it is committed, or for an online-only one that it was handed on (M16).
 */
export function createMessages(deps: MessagesDeps): Messages {
  const { db, accounts, conversations, committer, words, bus, ports, clock, random, metrics } = deps;
  const counter = metrics.counter('qalgate_im_messages_total', 'One-to-one messages by what became of them', [
    'outcome',
  ]);
  const count = (outcome: Outcome) => counter.inc({ outcome });

  /** Who is told of it by the outbox: nobody of imports, pushes of those without callbacks. */
  function consumersOf({ from, draft, withoutAfter }: SendInput): number {
    if (draft.importedTime !== undefined) return 0;
    const all = ports.consumers?.(from.sdkAppId, 'C2C.CallbackAfterSendMsg') ?? 0;
    return withoutAfter === true ? all & ~callbacksBit : all;
  }

  function checkWords({ from, draft }: SendInput, body: readonly unknown[]): ImRefusal | undefined {
    const found = words.findInBody(from.sdkAppId, body);
    // Not the word itself: the list is not the sender's to learn.
    if (found === undefined) return undefined;
    return { ok: false, error: 'DIRTY_WORD', field: draft.importedTime === undefined ? 'body' : 'MsgBody' };
  }

  async function send(input: SendInput): Promise<ImResult<Sent>> {
    const { from, to, draft } = input;
    const nowSec = Math.floor(clock() / 1_000);
    const time = draft.importedTime ?? nowSec;
    const msgSeq = draft.msgSeq ?? draft.ownMsgSeq ?? Math.floor(random() * 4_294_967_296);
    const isImport = draft.importedTime !== undefined;
    // Of a conversation with oneself both sides are one: it has no other side that could be kept from it.
    let visibility = from.no === to.no ? 'both' : draft.visibility;
    if (input.authority === 'self' && ports.relations !== undefined) {
      const relation = await ports.relations(from, to);
      if (relation === 'sender-only') visibility = 'sender';
      else if (relation !== 'pass') {
        return { ok: false, error: 'FORBIDDEN', reason: `the relation refuses it (${relation.refuse})` };
      }
    }

    const isOnlineOnly = draft.lifetimeSec === 0 && !isImport;
    const dedup = dedupOf(input);
    let body = draft.body;
    let before: BeforeOutcome = 'none';
    if (ports.beforeSend?.wants(from.sdkAppId) === true && !isImport && input.withoutBefore !== true) {
      // A repeat is answered before anybody is asked again.
      const repeat = isOnlineOnly
        ? undefined
        : await findRepeat(db, await conversations.find(from, to), from, dedup, clock());
      if (repeat !== undefined) return { ok: true, value: repeat };
      const message = {
        from,
        to,
        body,
        msgSeq,
        random: draft.random,
        time,
        custom: draft.custom,
        isOnlineOnly,
        origin: input.origin,
      };
      const decision = await ports.beforeSend.ask(message);
      if (decision.kind === 'refuse') return { ok: false, error: 'REFUSED_BY_CALLBACK', reason: decision.reason };
      before = decision.outcome;
      if (decision.body !== undefined) body = decision.body;
    }
    const dirty = isImport ? undefined : checkWords(input, body);
    if (dirty !== undefined) return dirty;

    const content = { from, draft, body: JSON.stringify(body), msgSeq };
    if (isOnlineOnly) {
      tell(input, messageOf(content, undefined, { seq: 0, time, msgSeq, random: draft.random }), visibility, undefined);
      return { ok: true, value: { seq: 0, time, msgSeq, random: draft.random, isRepeat: false } };
    }
    const consumers = consumersOf(input);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const conversation = await conversations.ensure(from, to, time);
      const committed = await committer.commit(
        {
          conversationId: conversation.id,
          sender: from.no,
          authEpoch: conversation.authEpoch,
          ...dedup,
          time,
          msgSeq,
          random: draft.random,
          visibility,
          counts: draft.counts,
          lifetimeSec: isImport && !draft.counts ? 0 : draft.lifetimeSec,
          consumers: packCallbackNotes({
            consumers,
            before,
            after: (consumers & callbacksBit) !== 0 ? 'told' : 'none',
          }),
          origin: (consumers & callbacksBit) !== 0 ? JSON.stringify(input.origin) : undefined,
          body: content.body,
          push: draft.push === undefined ? undefined : JSON.stringify(draft.push),
          custom: draft.custom,
          deadline: input.deadline,
        },
        (stored) => {
          // Imported history makes no noise (I3); terminals find it when they look.
          if (!isImport) tell(input, messageOf(content, conversation, stored), visibility, stored);
        },
      );
      if (committed.status === 'stored' || committed.status === 'repeat')
        return { ok: true, value: sentOf(committed, from, to) };
      // Who may send here has changed since it was read: authorise anew.
      conversations.forget(from, to);
      const [sender, receiver] = await Promise.all([
        accounts.find(from.sdkAppId, from.identifier),
        accounts.find(to.sdkAppId, to.identifier),
      ]);
      if (sender?.no !== from.no) return { ok: false, error: 'SENDER_UNKNOWN' };
      if (receiver?.no !== to.no) return { ok: false, error: 'RECEIVER_UNKNOWN' };
    }
    return { ok: false, error: 'BUSY' };
  }

  /** Tells the receiver's terminals, and those of the sender but the one that sent it. Who writes to himself is the receiver. */
  function tell(
    { from, to, draft, linkId }: SendInput,
    message: StoredMessage,
    visibility: SendInput['draft']['visibility'],
    stored: Committed | undefined,
  ): void {
    const prev = (account: Account, other: Account) => (stored === undefined ? 0 : prevOf(stored, account, other));
    const fact = { kind: 'message' as const, message, ...(draft.counts ? {} : { uncounted: true as const }) };
    if (to.no !== from.no && visibility !== 'sender') {
      bus.publish(to.no, { ...fact, peer: from.identifier, prev: prev(to, from) });
    }
    if ((draft.tellSender || to.no === from.no) && visibility !== 'receiver') {
      bus.publish(from.no, { ...fact, peer: to.identifier, prev: prev(from, to) }, linkId);
    }
  }

  return {
    async send(input) {
      const late = lateness(input.deadline);
      try {
        const result = await Promise.race([send(input), late.promise]);
        if (!result.ok) count(result.error === 'TIMED_OUT' ? 'timed-out' : 'refused');
        else if (result.value.seq === 0) count('online-only');
        else count(result.value.isRepeat ? 'repeat' : 'stored');
        return result;
      } catch (error) {
        if (error instanceof TooLate) {
          count('timed-out');
          return { ok: false, error: 'TIMED_OUT' };
        }
        count('failed');
        if (error instanceof QueueFull) return { ok: false, error: 'BUSY', reason: error.message };
        throw error;
      } finally {
        late.stop();
      }
    },
    recall: createRecall(deps),
  };
}

function dedupOf({ draft }: SendInput): { dedupKey: string; dedupWindowMs: number } {
  if (draft.clientId !== undefined) return { dedupKey: `c${draft.clientId}`, dedupWindowMs: clientIdWindowMs };
  // An import is repeated by its time, too, whenever it was done before (API §3.3).
  if (draft.importedTime !== undefined) {
    return {
      dedupKey: `i${draft.random}/${draft.msgSeq ?? ''}/${draft.importedTime}`,
      dedupWindowMs: clientIdWindowMs,
    };
  }
  const key = draft.msgSeq === undefined ? `r${draft.random}` : `r${draft.random}/${draft.msgSeq}`;
  return { dedupKey: key, dedupWindowMs: randomWindowMs };
}

function messageOf(
  { from, draft, body }: { from: Account; draft: SendInput['draft']; body: string },
  conversation: Conversation | undefined,
  { seq, time, msgSeq, random }: Pick<Sent, 'seq' | 'time' | 'msgSeq' | 'random'>,
): StoredMessage {
  return {
    conversationId: (conversation?.id ?? 0) as StoredMessage['conversationId'],
    seq,
    from: from.identifier,
    time,
    msgSeq,
    random,
    body,
    ...(draft.push === undefined ? {} : { push: JSON.stringify(draft.push) }),
    ...(draft.custom === undefined ? {} : { custom: draft.custom }),
    ...(draft.clientId === undefined ? {} : { clientId: draft.clientId }),
    recalled: false,
  };
}

/** The newest seq before it that the account saw in its conversation with the other. */
function prevOf({ prevA, prevB }: Committed, account: Account, other: Account): number {
  return account.no <= other.no ? prevA : prevB;
}

function sentOf(committed: Committed, from: Account, to: Account): Sent {
  const { status, seq, time, msgSeq, random } = committed;
  const sent = { seq, time, msgSeq, random };
  return status === 'repeat'
    ? { ...sent, isRepeat: true }
    : { ...sent, isRepeat: false, prev: prevOf(committed, from, to) };
}

/** A refusal that comes when the deadline does. */
function lateness(deadline: AbortSignal): { promise: Promise<ImResult<Sent>>; stop(): void } {
  const { promise, resolve } = Promise.withResolvers<ImResult<Sent>>();
  const onAbort = () => resolve({ ok: false, error: 'TIMED_OUT' });
  if (deadline.aborted) onAbort();
  else deadline.addEventListener('abort', onAbort, { once: true });
  return { promise, stop: () => deadline.removeEventListener('abort', onAbort) };
}
