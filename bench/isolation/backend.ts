/**
 * The backends of the apps, one process: what fails is answered 500, what hangs not at all, everything else at once. Says when it has had
 * every healthy event of a run exactly once, those of a conversation in their order, and how late they came.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { serveParent } from '../../test/support/measured-process.ts';
import { machineClockOffsetMs } from '../before/machine-clock.ts';
import type { Kind } from './events.ts';

export interface BackendStarted {
  port: number;
}

/** Waits for so many healthy events of that run. */
export interface BackendQuestion {
  run: number;
  events: number;
}

export interface BackendAnswer {
  problem?: string;
  /** When the last one came, by the machine's clock. */
  lastMs: number;
  /** From the event's writing to its coming, in order. */
  lagsMs: number[];
  /** POSTs of the others. */
  failing: number;
  hanging: number;
  /** POSTs to the endpoint that hangs, at once. */
  mostHanging: number;
}

interface Round extends BackendQuestion {
  hanging: number;
  next: Map<string, number>;
  answer: BackendAnswer;
  end(problem?: string): void;
}

const answer = JSON.stringify({ ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' });
const head = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(answer) };
const roundMs = 240_000;
const nowMs = (): number => performance.now() + machineClockOffsetMs;
let round: Round | undefined;

interface Told {
  run: number;
  kind: Kind;
  conversation: string;
  number: number;
  writtenMs: number;
}

function take({ run, kind, conversation, number, writtenMs }: Told): void {
  if (round === undefined || run !== round.run) return;
  if (kind !== 'healthy') {
    round.answer[kind] += 1;
    return;
  }
  const expected = round.next.get(conversation) ?? 0;
  if (number !== expected) round.end(`conversation ${conversation}: event ${number} came instead of ${expected}`);
  round.next.set(conversation, expected + 1);
  round.answer.lagsMs.push(nowMs() - writtenMs);
  if (round.answer.lagsMs.length === round.events) round.end();
}

const server = createServer((request, response) => {
  void text(request)
    .then((body) => {
      const told = JSON.parse(body) as Told;
      take(told);
      if (told.kind === 'hanging') {
        const own = round;
        // One of the run before hangs on.
        if (own === undefined || own.run !== told.run) return;
        own.hanging += 1;
        own.answer.mostHanging = Math.max(own.answer.mostHanging, own.hanging);
        response.once('close', () => {
          own.hanging -= 1;
        });
        return;
      }
      response.writeHead(told.kind === 'failing' ? 500 : 200, head).end(answer);
    })
    .catch(() => response.destroy());
});
// Nobody's connections end between two rounds.
server.keepAliveTimeout = 600_000;
server.listen(0, '127.0.0.1', () =>
  serveParent({ port: (server.address() as AddressInfo).port } satisfies BackendStarted, async (question) => {
    const asked = question as BackendQuestion;
    return await new Promise<BackendAnswer>((resolve) => {
      const told: BackendAnswer = { lastMs: 0, lagsMs: [], failing: 0, hanging: 0, mostHanging: 0 };
      const end = (problem?: string): void => {
        clearTimeout(timer);
        round = undefined;
        resolve({
          ...told,
          lastMs: nowMs(),
          lagsMs: told.lagsMs.toSorted((a, b) => a - b),
          ...(problem === undefined ? {} : { problem }),
        });
      };
      const timer = setTimeout(() => end(`${asked.events - told.lagsMs.length} events are missing`), roundMs);
      round = { ...asked, hanging: 0, next: new Map(), answer: told, end };
    });
  }),
);
