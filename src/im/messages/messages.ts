import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import { type ImRefusal, type ImResult, packCallbackNotes } from '../../wire/index.ts';
import type { Account, Clock, StoredMessage, Visibility } from '../model.ts';
import type { BeforeSend, ImPorts } from '../ports.ts';
import type { Accounts, Bus, Messages, SendInput, Sent, Words } from '../services.ts';
import { createAsking } from './asking.ts';
import { c2cAskedOf, c2cToldOf } from './c2c-callbacks.ts';
import { isTold, wantsCallback } from './callback-notes.ts';
import type { Cleared } from './cleared.ts';
import type { Committed, Committer } from './commit.ts';
import type { Conversation, Conversations } from './conversations.ts';
import { inTime, outcomeOfRefusal } from './in-time.ts';
import { createRecall } from './recall.ts';
import { dedupOf, findRepeat } from './repeat.ts';
import { createUnstored } from './unstored.ts';

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

/** Times that a message is authorised anew because who may send has changed meanwhile. */
const maxAttempts = 3;

/** Where a message goes on to: it is to be stored or handed on, or all has been said. */
type Way =
  | { readonly kind: 'go'; readonly message: Cleared }
  | { readonly kind: 'end'; readonly result: ImResult<Sent> };

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
  const asking = createAsking<Way>({ metrics });
  const unstored = createUnstored({ db, conversations, ports, clock });

  function checkWords({ from, draft }: SendInput, body: readonly unknown[]): ImRefusal | undefined {
    if (draft.importedTime !== undefined) return undefined;
    // Not the word itself: the list is not the sender's to learn.
    return words.findInBody(from.sdkAppId, body) === undefined
      ? undefined
      : { ok: false, error: 'DIRTY_WORD', field: 'body' };
  }

  /** The final content is checked; a backend that let it pass is told when it is refused all the same (API reference §10.2). */
  async function check(message: Cleared): Promise<Way> {
    const refusal = checkWords(message.input, message.body);
    if (refusal === undefined) return { kind: 'go', message };
    await unstored.tell(message, refusal);
    return { kind: 'end', result: refusal };
  }

  /** Asks the app's backend, unless it has been asked about the same message before (M13). */
  async function ask(port: BeforeSend, message: Cleared): Promise<Way> {
    const { input, body, time, msgSeq } = message;
    const { from, to, draft, origin } = input;
    const isOnlineOnly = draft.lifetimeSec === 0;
    if (!isOnlineOnly) {
      const conversation = await conversations.find(from, to);
      const repeat = await findRepeat(db, conversation?.id, from, dedupOf(input), clock());
      if (repeat !== undefined) return { kind: 'end', result: { ok: true, value: repeat } };
    }
    const { random, custom } = draft;
    const decision = await port.ask({ from, to, body, msgSeq, random, time, custom, isOnlineOnly, origin });
    if (decision.kind === 'allow') {
      return check({ ...message, body: decision.body ?? body, before: decision.outcome });
    }
    const { code, reason } = decision;
    const refusal: ImRefusal = { ok: false, error: 'REFUSED_BY_CALLBACK', reason };
    return { kind: 'end', result: code === undefined ? refusal : { ...refusal, code } };
  }

  /** Hands it to the terminals that are online. */
  async function handOn(input: SendInput, message: Cleared, visibility: Visibility): Promise<ImResult<Sent>> {
    const { time, msgSeq } = message;
    const { random } = message.input.draft;
    await unstored.tell(message);
    const numbers = { seq: 0, time, msgSeq, random };
    tell(message.input, messageOf(message, JSON.stringify(message.body), undefined, numbers), visibility, {
      linkId: input.linkId,
    });
    return { ok: true, value: { ...numbers, isRepeat: false } };
  }

  /** Stores it. `input`: of whoever stores it, which is not always who sent it first. */
  async function store(input: SendInput, message: Cleared, visibility: Visibility): Promise<ImResult<Sent>> {
    const { time, msgSeq, before } = message;
    const { from, to, draft, origin } = message.input;
    const isImport = draft.importedTime !== undefined;
    const told = c2cToldOf(message.input, ports);
    const content = {
      ...dedupOf(message.input),
      sender: from.no,
      time,
      msgSeq,
      random: draft.random,
      visibility,
      counts: draft.counts,
      lifetimeSec: isImport && !draft.counts ? 0 : draft.lifetimeSec,
      consumers: packCallbackNotes({ ...told, before }),
      origin: wantsCallback(told.consumers) ? JSON.stringify(origin) : undefined,
      body: JSON.stringify(message.body),
      push: draft.push === undefined ? undefined : JSON.stringify(draft.push),
      custom: draft.custom,
      extra: undefined,
      deadline: input.deadline,
    };
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const conversation = await conversations.ensure(from, to, time);
      if (conversation !== undefined) {
        const { id: conversationId, authEpoch } = conversation;
        const committed = await committer.commit({ ...content, conversationId, authEpoch }, (stored) => {
          // Imported history makes no noise (I3); terminals find it when they look.
          if (!isImport)
            tell(message.input, messageOf(message, content.body, conversation, stored), visibility, {
              linkId: input.linkId,
              stored,
            });
          if (isTold(told)) ports.written?.(from.sdkAppId, String(conversationId), 'C2C.CallbackAfterSendMsg');
        });
        if (committed.status === 'stored' || committed.status === 'repeat')
          return { ok: true, value: sentOf(committed, from, to) };
      }
      // Who may send here has changed since it was read: authorise anew.
      conversations.forget(from, to);
      const [sender, receiver] = await Promise.all([
        accounts.find(from.sdkAppId, from.identifier),
        accounts.find(to.sdkAppId, to.identifier),
      ]);
      if (sender?.no === from.no && receiver?.no === to.no) continue;
      const refusal: ImRefusal = {
        ok: false,
        error: sender?.no === from.no ? 'RECEIVER_UNKNOWN' : 'SENDER_UNKNOWN',
      };
      await unstored.tell(message, refusal);
      return refusal;
    }
    return { ok: false, error: 'BUSY' };
  }

  async function send(input: SendInput): Promise<ImResult<Sent>> {
    const { from, to, draft } = input;
    const relation =
      input.authority === 'self' && ports.relations !== undefined ? await ports.relations(from, to) : 'pass';
    if (typeof relation === 'object') {
      return { ok: false, error: 'FORBIDDEN', reason: `the relation refuses it (${relation.refuse})` };
    }
    const isOnlineOnly = draft.lifetimeSec === 0 && draft.importedTime === undefined;

    async function goOn(way: Way): Promise<ImResult<Sent>> {
      if (way.kind === 'end') return way.result;
      if (input.turn !== undefined && !(await input.turn)) return { ok: false, error: 'NOT_LOGGED_IN' };
      // Those before it had all of its time: not to be stored behind its answer.
      if (input.deadline.aborted) return { ok: false, error: 'TIMED_OUT' };
      const { message } = way;
      let visibility = message.input.draft.visibility;
      if (relation === 'sender-only') visibility = 'sender';
      // Of a conversation with oneself both sides are one: it has no other side that could be kept from it.
      else if (from.no === to.no) visibility = 'both';
      return isOnlineOnly ? handOn(input, message, visibility) : store(input, message, visibility);
    }

    const port = ports.beforeSend;
    const asked = c2cAskedOf(input, ports);
    const message: Cleared = {
      input,
      body: draft.body,
      time: draft.importedTime ?? Math.floor(clock() / 1_000),
      msgSeq: draft.msgSeq ?? draft.ownMsgSeq ?? Math.floor(random() * 4_294_967_296),
      before: asked === 'ask' ? 'none' : asked,
    };
    if (port === undefined || asked !== 'ask') return goOn(await check(message));
    if (isOnlineOnly) return goOn(await ask(port, message));
    return asking.once(`${from.no}/${to.no}/${dedupOf(input).dedupKey}`, () => ask(port, message), goOn);
  }

  /** Tells the receiver's terminals, and those of the sender but the one that sent it. Who writes to himself is the receiver. */
  function tell(
    { from, to, draft }: SendInput,
    message: StoredMessage,
    visibility: Visibility,
    { linkId, stored }: { linkId: string | undefined; stored?: Committed },
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
      try {
        const result = await inTime(() => send(input), input.deadline);
        if (!result.ok) count(outcomeOfRefusal(result));
        else if (result.value.seq === 0) count('online-only');
        else count(result.value.isRepeat ? 'repeat' : 'stored');
        return result;
      } catch (error) {
        count('failed');
        throw error;
      }
    },
    recall: createRecall(deps),
  };
}

function messageOf(
  { input: { from, draft } }: Cleared,
  body: string,
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
