import type { CallbackCommand } from '../../wire/index.ts';
import { type About, type CallbackEvent, type LoggedAttempt, shown } from '../explain/events.ts';
import type { DeadLetter } from '../explain/letters.ts';
import type { EventState } from '../explain/queries.ts';
import type { WaitReason } from '../explain/waiting.ts';
import { deadReasonText, lastText, subjectText, timeText, waitText } from '../explain/words.ts';

/** An event as operators see it in lists: whom it is about, no content. */
export interface EventView {
  readonly id: number;
  readonly webhookId: string;
  readonly command: CallbackCommand;
  readonly state: EventState;
  readonly subject: string;
  readonly about: About;
  readonly seq?: number;
  readonly createdAt: string;
  readonly attempts: number;
  /** The last failed attempt. */
  readonly lastError?: string;
  readonly nextAttemptAt?: string;
  readonly doneAt?: string;
  readonly status?: number;
  readonly tookMs?: number;
  /** Sent again: the first entry of the event. */
  readonly replayOf?: number;
  readonly waits?: readonly { readonly code: string; readonly text: string }[];
}

export interface AttemptView {
  readonly at: string;
  readonly tookMs: number;
  readonly status?: number;
  readonly failure?: string;
  readonly detail?: string;
  readonly by?: string;
}

export interface LetterView {
  readonly id: number;
  readonly webhookId: string;
  readonly command: CallbackCommand;
  readonly subject: string;
  readonly about: About;
  readonly seq?: number;
  readonly reason: string;
  readonly reasonText: string;
  /** Without its query, which may hold a key. */
  readonly url?: string;
  readonly status?: number;
  readonly attempts: number;
  readonly log: readonly AttemptView[];
  readonly createdAt: string;
  readonly diedAt: string;
  /** What was sent and what came; null: it is not for whoever asks. Absent in lists. */
  readonly content?: LetterContent | null;
}

export interface LetterContent {
  /** Body of the callback, as it was signed; null: its message had expired. */
  readonly request: string | null;
  /** Where the action came from, JSON. */
  readonly origin: string | null;
  /** What was answered, cut. */
  readonly response: string | null;
}

export function viewEvent(event: CallbackEvent, webhookId: string, waits?: readonly WaitReason[]): EventView {
  const { id, originId, command, state, about, message, createdMs, attempts, log } = event;
  const { nextAttemptMs, doneMs, status, tookMs } = event;
  const lastError = lastText(log.findLast(({ by }) => by === undefined));
  return {
    id,
    webhookId,
    command,
    state,
    subject: subjectText(command, about),
    about: shown(about),
    ...(message === undefined ? {} : { seq: message.seq }),
    createdAt: timeText(createdMs),
    attempts,
    ...(lastError === '' ? {} : { lastError }),
    ...(state !== 'waiting' || nextAttemptMs === undefined ? {} : { nextAttemptAt: timeText(nextAttemptMs) }),
    ...(doneMs === undefined || doneMs === 0 ? {} : { doneAt: timeText(doneMs) }),
    ...(status === undefined ? {} : { status }),
    ...(tookMs === undefined ? {} : { tookMs }),
    ...(originId === id ? {} : { replayOf: originId }),
    ...(waits === undefined ? {} : { waits: waits.map((reason) => ({ code: reason.code, text: waitText(reason) })) }),
  };
}

export function viewLetter(letter: DeadLetter, webhookId: string, isWhole: boolean): LetterView {
  const { eventId, command, about, message, reason, url, status, attempts, log, createdMs, diedMs, content } = letter;
  const { requestBody = null, origin = null, responseText = null } = content;
  return {
    id: eventId,
    webhookId,
    command,
    subject: subjectText(command, about),
    about: shown(about),
    ...(message === undefined ? {} : { seq: message.seq }),
    reason,
    reasonText: deadReasonText(reason),
    ...(url === undefined ? {} : { url: withoutQuery(url) }),
    ...(status === undefined ? {} : { status }),
    attempts,
    log: log.map(viewAttempt),
    createdAt: timeText(createdMs),
    diedAt: timeText(diedMs),
    ...(isWhole ? { content: { request: requestBody, origin, response: responseText } } : {}),
  };
}

export function viewAttempt({ atMs, tookMs, status, failure, detail, by }: LoggedAttempt): AttemptView {
  return {
    at: timeText(atMs),
    tookMs,
    ...(status === undefined ? {} : { status }),
    ...(failure === undefined ? {} : { failure }),
    ...(detail === undefined ? {} : { detail }),
    ...(by === undefined ? {} : { by }),
  };
}

/** A URL as it may be shown to everybody: its query may hold a key. */
export function withoutQuery(url: string): string {
  return url.replace(/\?.*$/s, '');
}
