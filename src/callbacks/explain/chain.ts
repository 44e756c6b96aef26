import { type BeforeOutcome, type CallbackCommand, unpackCallbackNotes } from '../../wire/index.ts';
import { readShare } from '../before/decision.ts';
import {
  type About,
  aboutMessage,
  type CallbackEvent,
  type MessageFacts,
  nameOf,
  shown,
  withoutUndefined,
} from './events.ts';
import type { DeadLetter } from './letters.ts';
import type { WrittenTrace } from './traces-read.ts';
import type { WaitReason } from './waiting.ts';
import { askedText, subjectText, timeText, toldText, untoldText, waitText } from './words.ts';

/** What is known of one message or action, as a chain: what happened, who was asked before it, who was told after it. */
export interface Explanation {
  /** When it happened. */
  readonly at: string;
  readonly command: CallbackCommand;
  readonly subject: string;
  readonly from?: string;
  readonly to?: string;
  readonly account?: string;
  readonly groupId?: string;
  readonly key?: string;
  readonly seq?: number;
  readonly happened: Step;
  readonly asked: readonly Step[];
  readonly told: readonly Step[];
}

/** `code` for programs, `text` for people. */
export interface Step {
  readonly code: string;
  readonly text: string;
  readonly at?: string;
  readonly eventId?: number;
  readonly webhookId?: string;
  readonly status?: number;
  readonly tookMs?: number;
  readonly attempts?: number;
  readonly url?: string;
  readonly detail?: string;
  /** Of an event that waits: why, what decides first. */
  readonly waits?: readonly { readonly code: string; readonly text: string }[];
}

/** What explanations are made of. */
export interface Found {
  readonly messages: readonly MessageFacts[];
  readonly events: readonly CallbackEvent[];
  readonly traces: readonly WrittenTrace[];
}

/** What is known of its events besides: their dead letters, and why those wait that do. */
export interface EventFacts {
  webhookId(originId: number): string;
  readonly letters: ReadonlyMap<number, DeadLetter>;
  readonly waits: ReadonlyMap<number, readonly WaitReason[]>;
}

/** Before and after messages to an account, and to a group. */
export const before: CallbackCommand = 'C2C.CallbackBeforeSendMsg';
export const after: CallbackCommand = 'C2C.CallbackAfterSendMsg';
export const groupBefore: CallbackCommand = 'Group.CallbackBeforeSendMsg';
export const groupAfter: CallbackCommand = 'Group.CallbackAfterSendMsg';
export const sendCommands: readonly CallbackCommand[] = [before, after, groupBefore, groupAfter];

/** Makes a chain of each message and of each action that left none, the newest first. Pure. */
export function chainsOf({ messages, events, traces }: Found, facts: EventFacts): Explanation[] {
  const toldStep = (event: CallbackEvent) => toStep(event, facts);
  const explanations: Explanation[] = [];
  const usedEvents = new Set<number>();
  const usedTraces = new Set<number>();
  for (const message of messages) {
    const own = events.filter((event) => isOf(event, message, events));
    const asked = traces.filter((trace) => isBefore(trace, message));
    for (const { id } of own) usedEvents.add(id);
    for (const { id } of asked) usedTraces.add(id);
    explanations.push(explanationOf(message, asked, own.map(toldStep)));
  }
  // Of actions that are no stored message: what was asked and told of the same key goes together.
  const otherEvents = events.filter(({ id }) => !usedEvents.has(id));
  for (const group of Map.groupBy(otherEvents, ({ originId }) => originId).values()) {
    const [event] = group;
    if (event === undefined) continue;
    const { key, from: sender, groupId: place } = event.about;
    const asked = traces.filter(({ id, messageKey, from, groupId }) => {
      const isSame = key !== undefined && messageKey === key && from === sender && groupId === place;
      return isSame && !usedTraces.has(id);
    });
    for (const { id } of asked) usedTraces.add(id);
    explanations.push(explanationOfEvent(event, asked, group.map(toldStep)));
  }
  const otherTraces = traces.filter(({ id }) => !usedTraces.has(id));
  const nameOfTrace = ({ id, messageKey, from, to, groupId }: WrittenTrace) =>
    messageKey === undefined ? id : `${from} ${to ?? groupId} ${messageKey}`;
  for (const group of Map.groupBy(otherTraces, nameOfTrace).values()) explanations.push(explanationOfTraces(group));
  return explanations.sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
}

/** Whether an entry tells of that message; a dead letter that is sent again says so by its origin alone. */
function isOf(event: CallbackEvent, message: MessageFacts, events: readonly CallbackEvent[]): boolean {
  const isIts = ({ message: place }: CallbackEvent) => place !== undefined && nameOf(place) === nameOf(message);
  return isIts(event) || events.some((other) => other.originId === event.originId && isIts(other));
}

function isBefore(trace: WrittenTrace, { from, to, groupId, msgSeq, random }: MessageFacts): boolean {
  const isSame = trace.messageKey?.startsWith(`${msgSeq}_${random}_`) === true && trace.from === from;
  const command = groupId === undefined ? before : groupBefore;
  return isSame && trace.command === command && trace.to === to && trace.groupId === groupId;
}

function explanationOf(message: MessageFacts, traces: readonly WrittenTrace[], told: readonly Step[]): Explanation {
  const { storedMs, seq, isRecalled, seenBy } = message;
  const about = shown(aboutMessage(message));
  const [question, telling] = message.groupId === undefined ? [before, after] : [groupBefore, groupAfter];
  const where = message.groupId === undefined ? 'conversation' : 'group';
  const notes = unpackCallbackNotes(message.notes);
  const isNoted = traces.some(({ outcome }) => outcome === notes.before);
  const seen = { both: '', sender: ', for its sender alone', receiver: ', for its receiver alone' }[seenBy];
  const recalled = isRecalled ? ' It has been taken back since.' : '';
  const asked = [...traces].sort((a, b) => a.atMs - b.atMs).map(askedStep);
  return {
    at: timeText(storedMs),
    command: telling,
    subject: subjectText(telling, about, message.isTip),
    ...about,
    seq,
    happened: {
      code: 'stored',
      text: `It was accepted and stored at ${timeText(storedMs)}, as number ${seq} of the ${where}${seen}.${recalled}`,
      at: timeText(storedMs),
    },
    asked: isNoted ? asked : [...asked, { code: notes.before, text: askedText(notes.before, question) }],
    told: told.length > 0 ? told : [untoldStep(notes.after, telling)],
  };
}

function untoldStep(reason: ReturnType<typeof unpackCallbackNotes>['after'], command: CallbackCommand): Step {
  return reason === 'told'
    ? {
        code: 'entry-gone',
        text: 'An entry was written for the backend, and has been removed since: entries stay for 7 days after they were told.',
      }
    : { code: reason, text: untoldText(reason, command) };
}

function explanationOfEvent(event: CallbackEvent, traces: readonly WrittenTrace[], told: readonly Step[]): Explanation {
  const { command, createdMs, message } = event;
  const about = shown(event.about);
  const { before: outcome, result, what: _, ...who } = about;
  const isMessage = command === after || command === groupAfter;
  const question = command === groupAfter ? groupBefore : before;
  const text = !isMessage
    ? `It happened at ${timeText(createdMs)}.`
    : message !== undefined
      ? `It was stored as number ${message.seq} of the ${command === after ? 'conversation' : 'group'}, and has expired or been deleted since.`
      : result === undefined || result === 0
        ? `It was handed to those who were online at ${timeText(createdMs)}, and is stored nowhere.`
        : `It was refused at ${timeText(createdMs)} with ${result}, and is stored nowhere.`;
  const code = !isMessage ? 'happened' : message !== undefined ? 'expired' : result ? 'refused' : 'online-only';
  const asked = traces.map(askedStep);
  const isNoted = outcome === undefined || traces.some((trace) => trace.outcome === outcome);
  return {
    at: timeText(createdMs),
    command,
    subject: subjectText(command, about),
    ...who,
    ...(message === undefined ? {} : { seq: message.seq }),
    happened: { code, text, at: timeText(createdMs) },
    asked: isNoted ? asked : [...asked, { code: outcome, text: askedText(outcome, question) }],
    told,
  };
}

/** Of an action that left nothing but what was asked about it. */
function explanationOfTraces(traces: readonly WrittenTrace[]): Explanation {
  const [first] = traces;
  if (first === undefined) throw new Error('no trace to explain');
  const { command, atMs, from, to, groupId, messageKey: key } = first;
  const about = shown(withoutUndefined<About>({ from, to, groupId, key }));
  const { happened, told } = outcomeOf(traces, timeText(atMs));
  return {
    at: timeText(atMs),
    command,
    subject: subjectText(command, about),
    ...about,
    happened,
    asked: [...traces].sort((a, b) => a.atMs - b.atMs).map(askedStep),
    told,
  };
}

/** What became of an action, and why the backend is not told of it, by what it was asked. */
function outcomeOf(traces: readonly WrittenTrace[], at: string): Pick<Explanation, 'happened' | 'told'> {
  const refusal = traces.find(({ outcome }) => (outcome as BeforeOutcome) === 'refused');
  const share = readShare(refusal?.detail);
  if (share !== undefined && share.some < share.all) {
    const text = `It went on at ${at} for those accounts alone that the backend did not refuse.`;
    return { happened: { code: 'partly-refused', text }, told: [] };
  }
  if (refusal !== undefined) {
    return {
      happened: { code: 'refused', text: `It was refused at ${at}, and is stored nowhere.` },
      told: [{ code: 'refused', text: 'The backend is not told, because it has refused it itself.' }],
    };
  }
  if (traces.some(({ outcome }) => (outcome as BeforeOutcome) === 'dropped')) {
    const text = `It was dropped at ${at}: its sender has success, and nothing is stored.`;
    return {
      happened: { code: 'dropped', text },
      told: [{ code: 'dropped', text: 'The backend is not told, because it has had it dropped itself.' }],
    };
  }
  const text = traces.every(({ command }) => sendCommands.includes(command))
    ? 'Nothing of it is stored: it was refused, was for those online alone, or has expired.'
    : 'The question alone is noted: what came of the action, the backend is told by itself.';
  return { happened: { code: 'not-stored', text }, told: [] };
}

function askedStep({ command, outcome, atMs, detail, tookMs, url, webhookId }: WrittenTrace): Step {
  return {
    code: outcome,
    text: askedText(outcome, command, { detail, tookMs }),
    at: timeText(atMs),
    ...(detail === undefined ? {} : { detail }),
    ...(tookMs === undefined ? {} : { tookMs }),
    ...(url === undefined ? {} : { url }),
    ...(webhookId === undefined ? {} : { webhookId }),
  };
}

function toStep(event: CallbackEvent, facts: EventFacts): Step {
  const { id, originId, state, doneMs, status, tookMs, attempts } = event;
  const [letter, waits] = [facts.letters.get(id), facts.waits.get(id)];
  const again = originId === id ? '' : 'Sent again: ';
  return {
    code: state,
    text: again + toldText(event, letter),
    ...(doneMs === undefined || doneMs === 0 ? {} : { at: timeText(doneMs) }),
    eventId: id,
    webhookId: facts.webhookId(originId),
    ...(status === undefined ? {} : { status }),
    ...(tookMs === undefined ? {} : { tookMs }),
    attempts,
    ...(letter?.url === undefined ? {} : { url: letter.url.replace(/\?.*$/s, '') }),
    ...(waits === undefined ? {} : { waits: waits.map((reason) => ({ code: reason.code, text: waitText(reason) })) }),
  };
}
