import type { Bus, LinkEvent } from '../services.ts';
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
 * links. Gives back how to stop.
 */
export function feedEvents(deps: { bus: Bus; directory: LinkDirectory; metrics: LinkMetrics }): () => void {
  const { bus, directory, metrics } = deps;
  let behindGap: Link[] = [];
  let timer: NodeJS.Timeout | undefined;

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
    const text = eventText(event, first.terminal.account.identifier);
    for (const link of links) {
      if (link.linkId === exceptLink) continue;
      link.sendEvent(text);
      metrics.event(event.kind);
      noteSeq(link, event);
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

function noteSeq(link: Link, event: LinkEvent): void {
  if (event.kind === 'message' && event.message.seq > 0) link.noteSeq(event.peer, event.message.seq);
}
