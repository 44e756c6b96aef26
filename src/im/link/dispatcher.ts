import { mayCall } from '../../auth/index.ts';
import type { Logger } from '../../observe/index.ts';
import { failureOf } from '../failure.ts';
import type { Deadlines } from './deadlines.ts';
import { FieldReader } from './field-reader.ts';
import type { Frame } from './frame.ts';
import type { Link, Terminal } from './link.ts';
import type { LinkMetrics } from './link-metrics.ts';
import { errorText, okText } from './outgoing.ts';
import type { RequestHandler } from './request.ts';

/** Requests of one link that are worked on at once. */
const maxInFlight = 64;
/** Of a request that nothing is before. */
const atOnce = Promise.resolve(true);
/** Pause between two lines of the log about requests that failed. */
const logEveryMs = 1_000;

export interface Dispatcher {
  /** Carries out a request of a link that is logged in, and answers it. */
  dispatch(link: Link, terminal: Terminal, frame: Frame): void;
  /** Requests of all links that are being worked on. */
  readonly inFlight: number;
}

/**
 * Has requests carried out: at most 64 of a link at once, those that must keep an order one after another or in turn, the others
 * as they come. Every request is answered, whatever happens, while its link lives.
 */
export function createDispatcher(deps: {
  handlers: Readonly<Record<string, RequestHandler>>;
  deadlines: Pick<Deadlines, 'next'>;
  /** Resolves when the link takes what it is sent. */
  caughtUp(link: Link): Promise<void>;
  /** A request of a link that says goodbye when nothing is in flight any more. */
  onIdle(link: Link): void;
  metrics: Pick<LinkMetrics, 'request'>;
  logger: Logger;
}): Dispatcher {
  const { caughtUp, onIdle, deadlines, metrics, logger } = deps;
  const handlers = new Map(Object.entries(deps.handlers));
  const names = ['beat', ...handlers.keys(), 'logout'].join(', ');
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  let inFlight = 0;

  async function carryOut(
    handler: RequestHandler,
    link: Link,
    terminal: Terminal,
    frame: Frame,
    deadline: AbortSignal,
    turn = atOnce,
  ): Promise<void> {
    const startedMs = performance.now();
    const { id } = frame;
    let outcome = 'ended';
    let text: string | undefined;
    // What waited for its turn is not carried out any more for a terminal that was kicked meanwhile.
    if (link.endName === undefined) {
      try {
        const result = await handler.run({ link, terminal, fields: new FieldReader(frame.fields), deadline, turn });
        outcome = result.ok ? 'ok' : result.error;
        if (id !== undefined) text = result.ok ? okText(id, result.value) : errorText(id, result);
      } catch (error) {
        const name = failureOf(error);
        outcome = name;
        if (id !== undefined) text = errorText(id, { ok: false, error: name });
        // A database that is away fails them all: the counters have the rest.
        if (name === 'INTERNAL' || startedMs - loggedAtMs > logEveryMs) {
          loggedAtMs = startedMs;
          logger.error({ err: error, do: frame.do, sdkAppId: terminal.account.sdkAppId }, 'im.link.request.failed');
        }
      }
    }
    metrics.request(frame.do, outcome, (performance.now() - startedMs) / 1_000);
    link.inFlight -= 1;
    inFlight -= 1;
    if (text !== undefined) link.send(text);
    if (link.inFlight === 0) onIdle(link);
  }

  /** After the one before it in its chain. */
  function chain(link: Link, name: string, work: () => Promise<void>): void {
    const before = link.chains?.get(name);
    append(link, name, before === undefined ? work() : before.then(work));
  }

  /** At once, and done when the one before it in its chain is done, too. */
  function chainTurns(link: Link, name: string, work: (turn: Promise<boolean>) => Promise<void>): void {
    const before = link.chains?.get(name);
    if (before === undefined) append(link, name, work(atOnce));
    else append(link, name, Promise.all([before, work(before.then(() => link.endName === undefined))]));
  }

  function append(link: Link, name: string, work: Promise<unknown>): void {
    link.chains ??= new Map();
    const { chains } = link;
    const done = work.then(() => {
      if (chains.get(name) !== done) return;
      chains.delete(name);
      if (chains.size === 0) link.chains = undefined;
    });
    chains.set(name, done);
  }

  return {
    dispatch(link, terminal, frame) {
      const handler = handlers.get(frame.do);
      const { id } = frame;
      if (handler === undefined) {
        metrics.request('other', 'NO_SUCH_COMMAND', 0);
        if (id !== undefined) {
          const reason = 'there is no such request';
          link.send(errorText(id, { ok: false, error: 'NO_SUCH_COMMAND', field: 'do', reason, allowed: names }));
        }
        return;
      }
      // I5
      if (!mayCall('self', handler.permission)) {
        metrics.request(frame.do, 'FORBIDDEN', 0);
        if (id !== undefined) link.send(errorText(id, { ok: false, error: 'FORBIDDEN', field: 'do' }));
        return;
      }
      if (link.inFlight >= maxInFlight) {
        metrics.request(frame.do, 'BUSY', 0);
        const reason = `${maxInFlight} requests of this link are being worked on`;
        if (id !== undefined) link.send(errorText(id, { ok: false, error: 'BUSY', reason }));
        return;
      }
      link.inFlight += 1;
      inFlight += 1;
      const deadline = deadlines.next();
      const work = (turn?: Promise<boolean>) => carryOut(handler, link, terminal, frame, deadline, turn);
      const { order } = handler;
      if (order === 'parallel') void work();
      else if (order === 'conversation') chainTurns(link, chainOf(frame), work);
      else if (order === 'page') chain(link, order, () => caughtUp(link).then(() => work()));
      else chain(link, order, () => work());
    },
    get inFlight() {
      return inFlight;
    },
  };
}

/** A field is anything before it is checked; what is no conversation is refused, in whatever order. */
function chainOf({ fields: { conversation } }: Frame): string {
  return typeof conversation === 'string' ? `conversation ${conversation}` : 'conversation';
}
