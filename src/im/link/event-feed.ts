import type { AccountId } from '../../wire/index.ts';
import type { Bus, LinkEvent } from '../services.ts';
import { c2cPrefix, groupPrefix, systemConversation } from './field-reader.ts';
import type { Link } from './link.ts';
import type { LinkDirectory } from './link-directory.ts';
import type { LinkMetrics } from './link-metrics.ts';
import { eventText, resyncText } from './outgoing.ts';

/** After a gap all links are told to look again, a part of them each step: their looks all go to one database. */
const stepMs = 100;
const steps = 50;
const minPerStep = 50;

/**
 * Hands the bus's events to the links of their account. An event is written once for an account, whatever the number of its
 * links, and one of a group once for all its members. Gives back how to stop.
 */
export function feedEvents(deps: { bus: Bus; directory: LinkDirectory; metrics: LinkMetrics }): () => void {
  const { bus, directory, metrics } = deps;
  let behindGap: Link[] = [];
  let timer: NodeJS.Timeout | undefined;
  /** The event of a group that was written last: the next account it goes to gets the same. */
  let written: Written | undefined;

  function write(event: LinkEvent, viewer: AccountId): Written {
    if (written?.event === event && !seesItsOwn(event, viewer)) return written;
    const fresh = { event, text: eventText(event, viewer), place: placeOf(event) };
    if (isForMany(event) && !seesItsOwn(event, viewer)) written = fresh;
    return fresh;
  }

  function resyncSome(perStep: number): void {
    for (const link of behindGap.splice(-perStep)) {
      // One that is behind is told when it has caught up.
      if (!link.isOpen || link.isBehind) continue;
      link.send(resyncText);
      metrics.resync('gap');
    }
    timer = behindGap.length === 0 ? undefined : setTimeout(resyncSome, stepMs, perStep).unref();
  }

  const stopEvents = bus.subscribe((to, event, exceptLink) => {
    const links = directory.ofAccount(to);
    const [first] = links ?? [];
    if (links === undefined || first?.terminal === undefined) return;
    const { text, place } = write(event, first.terminal.account.identifier);
    for (const link of links) {
      if (link.linkId === exceptLink) continue;
      link.sendEvent(text);
      metrics.event(event.kind);
      if (place !== undefined) link.noteSeq(place.conversation, place.seq);
    }
  });
  const stopGaps = bus.onGap(() => {
    clearTimeout(timer);
    behindGap = [...directory.all].filter((link) => link.isOpen);
    resyncSome(Math.max(minPerStep, Math.ceil(behindGap.length / steps)));
  });

  return () => {
    stopEvents();
    stopGaps();
    clearTimeout(timer);
    behindGap = [];
  };
}

interface Written {
  readonly event: LinkEvent;
  readonly text: string;
  /** What whoever got it has of its conversation now. */
  readonly place: { readonly conversation: string; readonly seq: number } | undefined;
}

/** Whether all who get it get the same (`publishMany`). */
function isForMany({ kind }: LinkEvent): boolean {
  return kind === 'group-message' || kind === 'group-recalled' || kind === 'notice';
}

/** The sender of a message alone sees its own name for it. */
function seesItsOwn(event: LinkEvent, viewer: AccountId): boolean {
  return event.kind === 'group-message' && event.message.clientId !== undefined && event.message.from === viewer;
}

function placeOf(event: LinkEvent): Written['place'] {
  switch (event.kind) {
    case 'message':
      return event.message.seq === 0 ? undefined : { conversation: c2cPrefix + event.peer, seq: event.message.seq };
    case 'group-message':
      return event.message.seq === 0
        ? undefined
        : { conversation: groupPrefix + event.groupId, seq: event.message.seq };
    case 'notice':
      return event.seq === 0 ? undefined : { conversation: systemConversation, seq: event.seq };
    default:
      return undefined;
  }
}
