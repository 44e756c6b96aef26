/**
 * The app's backend, a process of its own: answers every POST, and says when it has had every event of a round exactly once and,
 * where that is promised, those of a conversation in their order.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { serveParent } from '../../test/support/measured-process.ts';
import { machineClockOffsetMs } from '../before/machine-clock.ts';

export interface BackendStarted {
  port: number;
}

/** Waits for the events 0 … `events` - 1. */
export interface BackendQuestion {
  events: number;
  inOrder: boolean;
}

export interface BackendAnswer {
  problem?: string;
  /** When the last one came, by the machine's clock. */
  lastMs: number;
  /** Of all bodies. */
  bodyBytes: number;
}

interface Round extends BackendQuestion {
  came: Uint8Array;
  left: number;
  bodyBytes: number;
  /** The last event of each receiver. */
  last: Map<string, number>;
  end(answer: BackendAnswer): void;
}

const answer = JSON.stringify({ ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' });
const head = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(answer) };
const roundMs = 120_000;
let round: Round | undefined;

function take(body: string): void {
  if (round === undefined) return;
  const problem = problemOf(round, body);
  if (problem !== undefined) end(problem);
  else if (round.left === 0) end();
}

/** Notes what came; why it should not have. */
function problemOf(one: Round, body: string): string | undefined {
  const { MsgSeq: event, To_Account: receiver } = JSON.parse(body) as { MsgSeq: number; To_Account: string };
  if (one.came[event] !== 0) return `event ${event} came twice, or is none`;
  if (one.inOrder && event < (one.last.get(receiver) ?? -1)) return `event ${event} came too late`;
  one.came[event] = 1;
  one.last.set(receiver, event);
  one.bodyBytes += Buffer.byteLength(body);
  one.left -= 1;
  return undefined;
}

function end(problem?: string): void {
  const bodyBytes = round?.bodyBytes ?? 0;
  const lastMs = performance.now() + machineClockOffsetMs;
  round?.end({ lastMs, bodyBytes, ...(problem === undefined ? {} : { problem }) });
  round = undefined;
}

const server = createServer((request, response) => {
  void text(request).then((body) => {
    response.writeHead(200, head).end(answer);
    take(body);
  });
});
// Nobody's connections end between two rounds.
server.keepAliveTimeout = 600_000;
server.listen(0, '127.0.0.1', () =>
  serveParent({ port: (server.address() as AddressInfo).port } satisfies BackendStarted, async (question) => {
    const { events, inOrder } = question as BackendQuestion;
    return await new Promise<BackendAnswer>((resolve) => {
      const timer = setTimeout(() => end(`${round?.left} events are missing after ${roundMs} ms`), roundMs);
      round = {
        events,
        inOrder,
        came: new Uint8Array(events),
        left: events,
        bodyBytes: 0,
        last: new Map(),
        end(told) {
          clearTimeout(timer);
          resolve(told);
        },
      };
    });
  }),
);
