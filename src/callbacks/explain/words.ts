import type { AfterReason, BeforeOutcome, CallbackCommand } from '../../wire/index.ts';
import { readShare } from '../before/decision.ts';
import type { About, CallbackEvent, LoggedAttempt } from './events.ts';
import type { DeadLetter } from './letters.ts';
import { maxAhead, type WaitReason } from './waiting.ts';

/** What explain says, for people: one sentence each. Pure. */

export const timeText = (ms: number): string => new Date(ms).toISOString();

/**
 * `alice's message 1_2_3 to bob`, `alice's message to group tea`, `a tip in group tea, of what alice did`,
 * `Group.CallbackBeforeApplyJoinGroup of alice to group tea`, `State.StateChange of alice (Android offline timeout)`.
 */
export function subjectText(
  command: CallbackCommand,
  { from, to, account, groupId, key, what }: About,
  isTip = false,
): string {
  if (isTip) return `a tip in group ${groupId}, of what ${from} did`;
  if (command.endsWith('SendMsg') && from !== undefined && groupId !== undefined) {
    return `${from}'s message to group ${groupId}`;
  }
  if (from !== undefined && to !== undefined) return `${from}'s message${key === undefined ? '' : ` ${key}`} to ${to}`;
  const whom = account ?? from;
  const of = whom === undefined ? '' : ` of ${whom}`;
  const group = groupId === undefined ? '' : `${whom === undefined ? ' of' : ' to'} group ${groupId}`;
  return `${command}${of}${group}${what === undefined ? '' : ` (${what})`}`;
}

/** What came of the question before an action. */
export function askedText(
  outcome: string,
  command: CallbackCommand,
  more: { detail?: string | undefined; tookMs?: number | undefined } = {},
): string {
  const { detail, tookMs } = more;
  // What the text says already is not said twice.
  const rest = detail?.replace(/^(no answer in time: |paused: |paused (?=by ))/, '') ?? '';
  const told = rest === '' ? '' : rest.startsWith('by ') ? ` ${rest}` : `: ${rest}`;
  const took = tookMs === undefined ? '' : ` after ${tookMs} ms`;
  const held = 'what the app has set for silence held';
  switch (outcome as BeforeOutcome) {
    case 'allowed':
      return `The backend was asked, and allowed it${took}.`;
    case 'rewritten':
      return `The backend was asked, and allowed it with changed content${took}.`;
    case 'refused': {
      const share = readShare(detail);
      return share === undefined
        ? `The backend was asked, and refused it${took}${told}.`
        : `The backend was asked, and refused ${share.some} of ${share.all} accounts${took}.`;
    }
    case 'dropped':
      return `The backend was asked, and had it dropped in silence${took}.`;
    case 'timeout':
      return `The backend was asked, and gave no answer in time${took}${told}; ${held}.`;
    case 'error':
      return rest.startsWith('not asked: ')
        ? `The backend was ${rest}; ${held}.`
        : `The backend gave no usable answer${took}${told}; ${held}.`;
    case 'circuit-open':
      return `The backend was not asked, because it had failed several times in a row (its circuit was open); ${held}.`;
    case 'unasked-off':
      return `The backend was not asked: the app did not want ${command}.`;
    case 'unasked-forbidden':
      return 'The backend was not asked: the sender had switched that off for this message (ForbidCallbackControl).';
    case 'unasked-kind':
      return 'The backend was not asked: actions of this kind are never asked about (batch sends, imports, pushes, tips).';
    case 'unasked-paused':
      return `The backend was not asked, because callbacks were paused${told}.`;
    case 'none':
      return 'The backend was not asked, and nothing is noted of why: callbacks did not run on the process that took it.';
    default:
      return `${command}: ${outcome}${told}.`;
  }
}

/** Why there is no entry of a callback after an action. */
export function untoldText(reason: Exclude<AfterReason, 'told'>, command: CallbackCommand): string {
  switch (reason) {
    case 'off':
      return `The backend is not told: the app did not want ${command} when it happened.`;
    case 'forbidden':
      return 'The backend is not told: the sender had switched that off for this message (ForbidCallbackControl).';
    case 'kind':
      return 'The backend is not told: it never is of actions of this kind (batch sends, imports, pushes, tips).';
    default:
      return 'The backend is not told, and nothing is noted of why: callbacks did not run on the process that took it.';
  }
}

/** What became of an event; of one that waits, `waitText` says why. */
export function toldText(event: CallbackEvent, letter: DeadLetter | undefined): string {
  const { state, doneMs, status, tookMs, attempts, log } = event;
  const at = doneMs === undefined || doneMs === 0 ? '' : ` at ${timeText(doneMs)}`;
  switch (state) {
    case 'delivered': {
      const took = tookMs === undefined ? '' : ` after ${tookMs} ms`;
      return `The backend was told${at}: HTTP ${status ?? '2xx'}${took}, at attempt ${Math.max(1, attempts)}.`;
    }
    case 'dead': {
      const why = letter === undefined ? '' : `: ${deadReasonText(letter.reason)}`;
      const last = lastText(letter?.log.at(-1) ?? log.at(-1));
      const now =
        letter === undefined
          ? 'its dead letter has been removed or sent again'
          : `dead letter ${event.id} can be sent again`;
      return `It was given up${at}, after ${attemptsText(attempts)}${why}${last === '' ? '' : ` (last: ${last})`}; ${now}.`;
    }
    case 'dropped': {
      const by = log.findLast((attempt) => attempt.by !== undefined)?.by;
      return `It was dropped${at}${by === undefined ? '' : ` by ${by}`}, and not told, unless it was on its way just then.`;
    }
    case 'superseded':
      return 'It was not told, because the same terminal changed its state again right after: that was told instead.';
    default:
      return attempts === 0
        ? 'The backend has not been told yet.'
        : `The backend has not been told yet, ${attemptsText(attempts)} failed.`;
  }
}

export function waitText(reason: WaitReason): string {
  switch (reason.code) {
    case 'off':
      return 'It waits because the settings of the app do not name its command any more: it goes when they do again, or is given up when it is too old.';
    case 'paused': {
      const { actor, sinceMs, command, urlHash, reason: why } = reason.pause;
      const what = `${command ?? 'all callbacks'} ${urlHash === undefined ? 'of the app' : `to URL ${urlHash}`}`;
      const who = why === 'gone' ? 'the backend, which answered 410' : actor;
      return `It waits because ${what} ${command === undefined ? 'have' : 'has'} been paused since ${timeText(sinceMs)}, by ${who}.`;
    }
    case 'no-relay':
      return reason.seenMs === undefined
        ? 'It waits because no process with the role relay has run yet.'
        : `It waits because no process with the role relay runs: the last one was there until ${timeText(reason.seenMs)}.`;
    case 'circuit-open':
      return `It waits because the endpoint has failed several times in a row (its circuit is open): one event after another is tried until one gets through.`;
    case 'behind-failing': {
      const { head, ahead } = reason;
      const next =
        head.nextAttemptMs === undefined ? '' : `; its next attempt is due at ${timeText(head.nextAttemptMs)}`;
      return `It waits behind event ${head.id} of the same conversation or account, whose ${attemptsText(head.attempts)} failed (last: ${lastText(head.last)})${next}; ${aheadText(ahead)} ahead of it.`;
    }
    case 'behind':
      return `It waits behind event ${reason.head.id} of the same conversation or account: ${aheadText(reason.ahead)} ahead of it.`;
    case 'retry':
      return `It waits for its next attempt, due at ${timeText(reason.atMs)} (last: ${lastText(reason.last)}).`;
    case 'not-due':
      return `It waits for its time, ${timeText(reason.atMs)}.`;
    default:
      return 'It is due: it is being sent, or its turn comes next.';
  }
}

/** Why events are given up, by the word that the relay notes. */
export function deadReasonText(reason: string): string {
  const texts: Record<string, string> = {
    'content-gone': 'its message had expired before it could be told',
    'too-large': 'the backend answered 413, so that trying again could not help',
    'retry-off': 'the app has switched retries off',
    'failing-alone': 'it failed for a long time while others got through to the same endpoint',
    'too-many': 'more events were waiting than the app may have',
    'too-old': 'it had waited for longer than the app lets events wait',
  };
  return texts[reason] ?? reason;
}

/** `HTTP 503 at 2026-…`, `connection refused at …`; '' without one. */
export function lastText(attempt: LoggedAttempt | undefined): string {
  if (attempt === undefined) return '';
  const what =
    attempt.status === undefined ? (attempt.detail ?? attempt.failure ?? 'no answer') : `HTTP ${attempt.status}`;
  return `${what} at ${timeText(attempt.atMs)}`;
}

const attemptsText = (count: number): string => (count === 1 ? '1 attempt' : `${count} attempts`);
const aheadText = (count: number): string =>
  count === 1 ? '1 event is' : `${count}${count >= maxAhead ? ' or more' : ''} events are`;
