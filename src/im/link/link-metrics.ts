import type { Metrics } from '../../observe/index.ts';
import type { LinkEndName } from '../../wire/index.ts';
import type { LinkEvent } from '../services.ts';

/** What the edge counts; on hot paths in plain numbers that are read when the metrics are asked for. */
export interface LinkMetrics {
  /** `what`: one of the requests that there are, or other. `outcome`: ok, or the error. */
  request(what: string, outcome: string, durationSec: number): void;
  event(kind: LinkEvent['kind']): void;
  framesIn(): void;
  framesOut(count: number): void;
  dropped(): void;
  resync(cause: 'slow' | 'gap' | 'missed'): void;
  ended(name: LinkEndName | 'CLIENT'): void;
  refused(status: number): void;
}

export function createLinkMetrics(
  metrics: Metrics,
  read: { connections(): number; behind(): number; inFlight(): number },
): LinkMetrics {
  const requests = new Map<string, number>();
  const errors = new Map<string, number>();
  const sends = metrics.plainHistogram(
    'qalgate_im_link_send_duration_seconds',
    'Sends of links, from frame to answer',
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 3],
  );
  const events = new Map<LinkEvent['kind'], number>();
  const ends = metrics.counter('qalgate_im_link_ends_total', 'Links that ended, by the name of their end', ['name']);
  const resyncs = metrics.counter('qalgate_im_link_resyncs_total', 'Links that were told to look again, by cause', [
    'cause',
  ]);
  const refusals = metrics.counter('qalgate_im_link_refusals_total', 'Links refused before they were opened', [
    'status',
  ]);
  let framesIn = 0;
  let framesOut = 0;
  let dropped = 0;
  metrics.gaugeOf('qalgate_im_link_connections', 'Links that are open, logged in or not', read.connections);
  metrics.gaugeOf('qalgate_im_links_behind', 'Links that do not take what they are sent', read.behind);
  metrics.gaugeOf('qalgate_im_link_requests_in_flight', 'Requests of links that are being worked on', read.inFlight);
  metrics.counterOf('qalgate_im_link_frames_received_total', 'Frames of terminals', () => framesIn);
  metrics.counterOf('qalgate_im_link_frames_sent_total', 'Frames to terminals, arrays taken apart', () => framesOut);
  metrics.counterOf('qalgate_im_link_events_dropped_total', 'Events that a slow link was not sent', () => dropped);
  metrics.countersOf('qalgate_im_link_requests_total', 'Requests of links', 'do', () => requests);
  metrics.countersOf(
    'qalgate_im_link_request_errors_total',
    'Requests that were refused or failed',
    'error',
    () => errors,
  );
  metrics.countersOf('qalgate_im_link_events_total', 'Events to links', 'kind', () => events);
  return {
    request(what, outcome, durationSec) {
      requests.set(what, (requests.get(what) ?? 0) + 1);
      if (outcome !== 'ok') errors.set(outcome, (errors.get(outcome) ?? 0) + 1);
      if (what === 'send') sends.observe(durationSec);
    },
    event(kind) {
      events.set(kind, (events.get(kind) ?? 0) + 1);
    },
    framesIn() {
      framesIn += 1;
    },
    framesOut(count) {
      framesOut += count;
    },
    dropped() {
      dropped += 1;
    },
    resync: (cause) => resyncs.inc({ cause }),
    ended: (name) => ends.inc({ name }),
    refused: (status) => refusals.inc({ status: String(status) }),
  };
}
