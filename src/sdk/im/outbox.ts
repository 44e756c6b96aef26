import { ImError, toImError } from './error.ts';
import { type Fields, numberOr, optionalNumber } from './frames.ts';
import { type Letter, makeClientId, readLetters, type StoredLetter } from './letter.ts';
import type { ImLimits } from './limits.ts';
import { type ImMessage, type ImOutgoing, keyOf, type Stored } from './message.ts';

interface Entry extends Letter {
  readonly clientId: string;
  /** What the caller holds: kept up to date. */
  readonly outgoing: { -readonly [K in keyof ImOutgoing]: ImOutgoing[K] };
  deadlineMs: number;
  resolve: (message: ImMessage) => void;
  reject: (error: ImError) => void;
  isInFlight: boolean;
  attempts: number;
  /** Not again before. */
  retryAtMs: number;
}

export interface OutboxDeps {
  readonly account: string;
  readonly limits: ImLimits;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly random: () => number;
  /** Asks the service; undefined: there is no link. */
  readonly request: () => ((what: string, fields: object) => Promise<Fields>) | undefined;
  /** Keeps what is not sent yet. */
  readonly keep: (unsent: readonly unknown[]) => void;
  /**
   * The service has a message of ours; settles when that is in its conversation here, too.
   * @param prev the seq before it
   */
  readonly onSent: (conversation: string, stored: Stored, prev: number | undefined) => Promise<void>;
  /** A message is there, or has another status. */
  readonly onStatus: (message: ImMessage) => void;
}

/** Messages of this terminal until the service has them. */
export interface Outbox {
  send(letter: Letter): ImOutgoing;
  /** Sends a failed one again, as the same message. Undefined: there is none. */
  resend(clientId: string): ImOutgoing | undefined;
  /** Forgets one; what is on its way may arrive all the same. */
  remove(clientId: string): boolean;
  /** Of a conversation, in the order of sending. */
  unsent(conversation: string): ImMessage[];
  /** The service told of a message of ours whose answer was lost. @returns whether it was one of these */
  settle(conversation: string, stored: Stored): boolean;
  /** Goes on, if there is a link. */
  pump(): void;
  close(): void;
}

/** Conversations at once; the service works on 64 requests of a link. */
const maxInFlight = 16;
const maxRetryMs = 10_000;
/** A timer takes no more than 2^31 ms. */
const maxSleepMs = 3_600_000;

/**
 * Sends in the order of the calls, one at a time for each conversation, so that a refusal or a repetition never changes it
 * (M15); and over any number of links under the same name, so that it stays one message (M13).
 *
 * @param stored what `keep` got last, before a restart
 */
export function createOutbox(deps: OutboxDeps, stored: readonly unknown[]): Outbox {
  const { account, limits, clock, random, request, keep, onSent, onStatus } = deps;
  /** By client id, in the order of sending. */
  const entries = new Map<string, Entry>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isClosed = false;

  function save(): void {
    const lasting = [...entries.values()].filter(({ isOnline, outgoing }) => !isOnline && outgoing.seq === 0);
    keep(
      lasting.map(({ clientId, conversation, body, options, deadlineMs, outgoing: { time, error } }): StoredLetter => {
        return { clientId, conversation, body, options, deadlineMs, time, failure: error?.code };
      }),
    );
  }

  function enter(letter: Letter, clientId: string, time: number, deadlineMs: number): Entry {
    const { conversation, body, options, isOnline } = letter;
    const entry: Entry = {
      ...letter,
      clientId,
      deadlineMs,
      outgoing: {
        conversation,
        seq: 0,
        from: account,
        isSelf: true,
        time,
        body,
        status: 'sending',
        key: '',
        clientId,
        ...(options.custom !== undefined && { custom: options.custom }),
        ...(isOnline && { isOnline: true as const }),
        done: Promise.reject(),
      },
      resolve() {},
      reject() {},
      isInFlight: false,
      attempts: 0,
      retryAtMs: 0,
    };
    renew(entry);
    entries.set(clientId, entry);
    return entry;
  }

  /** A promise for what happens from now on. */
  function renew(entry: Entry): void {
    const { promise, resolve, reject } = Promise.withResolvers<ImMessage>();
    entry.outgoing.done.catch(() => {});
    promise.catch(() => {});
    Object.assign(entry, { resolve, reject });
    entry.outgoing.done = promise;
  }

  function changed(entry: Entry): ImMessage {
    const message = snapshot(entry);
    onStatus(message);
    return message;
  }

  function fail(entry: Entry, error: ImError): void {
    entry.outgoing.status = 'failed';
    entry.outgoing.error = error;
    if (entry.isOnline) entries.delete(entry.clientId);
    save();
    changed(entry);
    entry.reject(error);
  }

  /** The service has it. */
  function sent(entry: Entry, message: Stored): void {
    const { outgoing } = entry;
    const { seq, time } = message;
    delete outgoing.error;
    Object.assign(outgoing, { status: 'sent', seq, time, key: keyOf(message) });
    entry.resolve(changed(entry));
  }

  function forget(entry: Entry): void {
    entries.delete(entry.clientId);
    save();
  }

  async function post(entry: Entry, ask: NonNullable<ReturnType<OutboxDeps['request']>>): Promise<void> {
    const { clientId, conversation, body, options, isOnline } = entry;
    entry.isInFlight = true;
    try {
      const ok = await ask('send', { conversation, clientId, body, ...options, online: isOnline });
      if (entries.get(clientId) === entry) await accepted(entry, ok);
    } catch (caught) {
      const error = toImError(caught);
      if (entries.get(clientId) !== entry || entry.outgoing.status !== 'sending') return;
      if (isOnline || !error.retryable) return fail(entry, error);
      // The next link may come at once; a service that has too much to do needs a while.
      const isBusy = error.code !== 'NETWORK';
      entry.retryAtMs = isBusy ? clock() + random() * Math.min(maxRetryMs, limits.backoffMs * 2 ** entry.attempts) : 0;
      entry.attempts += 1;
    } finally {
      entry.isInFlight = false;
      pump();
    }
  }

  async function accepted(entry: Entry, ok: Fields): Promise<void> {
    const { clientId, body, options } = entry;
    const message: Stored = {
      seq: numberOr(ok.seq, 0),
      from: account,
      time: numberOr(ok.time, entry.outgoing.time),
      msgSeq: numberOr(ok.msgSeq, 0),
      random: numberOr(ok.random, 0),
      body,
      clientId,
      ...(options.custom !== undefined && { custom: options.custom }),
    };
    sent(entry, message);
    // It is in one of both at any time: here until it is there.
    if (message.seq > 0) await onSent(entry.conversation, message, optionalNumber(ok.prev));
    forget(entry);
  }

  function pump(): void {
    clearTimeout(timer);
    if (isClosed) return;
    const ask = request();
    const now = clock();
    const waiting = [...entries.values()].filter(({ outgoing }) => outgoing.status === 'sending');
    const lanes = new Set(waiting.filter(({ isInFlight }) => isInFlight).map(({ conversation }) => conversation));
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (const entry of waiting) {
      // A listener that was told of one before may have deleted this, or sent others.
      if (entries.get(entry.clientId) !== entry || entry.outgoing.status !== 'sending') continue;
      if (entry.deadlineMs <= now) {
        fail(entry, new ImError('TIMEOUT', 'the message was not accepted in time; sending it again is safe'));
        continue;
      }
      wakeAtMs = Math.min(wakeAtMs, entry.deadlineMs);
      if (entry.isInFlight || lanes.has(entry.conversation)) continue;
      if (entry.isOnline && ask === undefined) {
        fail(entry, new ImError('NETWORK', 'there is no connection'));
        continue;
      }
      if (ask === undefined || lanes.size >= maxInFlight) continue;
      lanes.add(entry.conversation);
      if (entry.retryAtMs > now) wakeAtMs = Math.min(wakeAtMs, entry.retryAtMs);
      else void post(entry, ask);
    }
    clearTimeout(timer);
    if (wakeAtMs < Number.POSITIVE_INFINITY)
      timer = setTimeout(pump, Math.min(Math.max(wakeAtMs - now, 1), maxSleepMs));
  }

  /** Makes room: a failed one goes first. @returns false: all of them are on their way */
  function hasRoom(): boolean {
    if (entries.size < limits.unsent) return true;
    const failed = [...entries.values()].find(({ outgoing }) => outgoing.status === 'failed');
    return failed !== undefined && entries.delete(failed.clientId);
  }

  for (const { clientId, time, deadlineMs, failure, ...letter } of readLetters(stored)) {
    const { outgoing } = enter({ ...letter, isOnline: false }, clientId, time, deadlineMs);
    if (failure === undefined) continue;
    outgoing.status = 'failed';
    outgoing.error = new ImError(failure, 'it had failed before the restart');
  }

  return {
    send(letter) {
      const now = clock();
      const isRoom = hasRoom();
      const entry = enter(letter, makeClientId(), Math.floor(now / 1_000), now + limits.sendTimeoutMs);
      if (isRoom) {
        save();
        changed(entry);
        pump();
      } else {
        entries.delete(entry.clientId);
        fail(entry, new ImError('BUSY', 'too many messages wait to be sent', { retryable: true }));
      }
      return entry.outgoing;
    },
    resend(clientId) {
      const entry = entries.get(clientId);
      if (entry === undefined || entry.outgoing.status !== 'failed') return entry?.outgoing;
      entries.delete(clientId);
      entries.set(clientId, entry);
      delete entry.outgoing.error;
      Object.assign(entry, { deadlineMs: clock() + limits.sendTimeoutMs, attempts: 0, retryAtMs: 0 });
      entry.outgoing.status = 'sending';
      renew(entry);
      save();
      changed(entry);
      pump();
      return entry.outgoing;
    },
    remove(clientId) {
      const entry = entries.get(clientId);
      if (entry === undefined) return false;
      forget(entry);
      entry.reject(new ImError('CLOSED', 'the message was deleted'));
      return true;
    },
    unsent: (conversation) =>
      [...entries.values()].filter((entry) => entry.conversation === conversation && !entry.isOnline).map(snapshot),
    settle(conversation, message) {
      const entry = entries.get(message.clientId ?? '');
      if (entry === undefined || entry.conversation !== conversation) return false;
      if (entry.outgoing.seq === 0) sent(entry, message);
      forget(entry);
      return true;
    },
    pump,
    close() {
      isClosed = true;
      clearTimeout(timer);
      for (const { reject } of entries.values()) reject(new ImError('CLOSED', 'the account was logged out'));
    },
  };
}

function snapshot({ outgoing }: Entry): ImMessage {
  const { done: _, ...message } = outgoing;
  return message;
}
