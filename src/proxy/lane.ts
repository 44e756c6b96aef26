import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { duplexPair } from 'node:stream';

/**
 * The lane: a way past Node's IncomingMessage and ServerResponse for requests that can be answered at once. `http.Server`
 * still owns every connection and its strict parser reads every byte; only what is made of a request's head differs. An
 * answer is one write of bytes that are ready.
 *
 * It takes the place of a function on the connection's parser, which is no part of Node's contract. So
 * {@link laneWorks} tries it, and without it everything goes the usual way.
 */

/** A request's head, as an IncomingMessage would have it. */
export interface LaneRequest {
  readonly method: 'GET';
  readonly url: string;
  readonly httpVersionMajor: number;
  readonly httpVersionMinor: number;
  readonly rawHeaders: string[];
}

/** Answers by writing the whole message to the socket, or gives back false and leaves no trace. */
export type LaneAnswer = (request: LaneRequest) => boolean;

type OnHeadersComplete = (
  this: LaneParser,
  versionMajor: number,
  versionMinor: number,
  headers: string[] | undefined,
  method: number,
  url: string | undefined,
  status: number | undefined,
  reason: string | undefined,
  upgrade: boolean,
  shouldKeepAlive: boolean,
) => number;

interface LaneParser {
  socket: Socket | null;
  incoming: unknown;
  [slot: number]: unknown;
}

/** What the parser calls GET. */
const get = 1;
/** To the parser: the message goes on as its head says. */
const goOn = 0;

/**
 * From its next request on the connection asks `answer` first, for GETs over connections that stay open. False: its parser
 * is not as expected.
 */
export function openLane(socket: Socket, answer: LaneAnswer): boolean {
  const { parser } = socket as Socket & { parser?: LaneParser };
  const slot = Object.keys(parser ?? {}).find((key) => {
    const value = parser?.[Number(key)];
    return typeof value === 'function' && value.name === 'parserOnHeadersComplete';
  });
  if (parser === undefined || parser === null || slot === undefined) return false;
  const usual = parser[Number(slot)] as OnHeadersComplete;
  const onHeadersComplete: OnHeadersComplete = function (
    this: LaneParser,
    major,
    minor,
    headers,
    method,
    url,
    status,
    reason,
    upgrade,
    shouldKeepAlive,
  ) {
    // Node uses a parser again for another connection, whose requests are none of ours.
    if (this.socket !== socket) {
      this[Number(slot)] = usual;
      return usual.call(this, major, minor, headers, method, url, status, reason, upgrade, shouldKeepAlive);
    }
    // A head in several pieces, more than 32 fields for instance, has to be put together first.
    if (method === get && shouldKeepAlive && !upgrade && headers !== undefined && url !== undefined && url !== '') {
      // Whatever is done with the message that came before has nothing to do with this one.
      const before = this.incoming;
      this.incoming = null;
      const request = {
        method: 'GET',
        url,
        httpVersionMajor: major,
        httpVersionMinor: minor,
        rawHeaders: headers,
      } as const;
      if (answer(request)) return goOn;
      this.incoming = before;
    }
    return usual.call(this, major, minor, headers, method, url, status, reason, upgrade, shouldKeepAlive);
  };
  parser[Number(slot)] = onHeadersComplete;
  return true;
}

const testTimeoutMs = 2_000;

/**
 * Does the lane work with this Node? Sends requests of both ways over one connection within the process, single and
 * pipelined, and looks at who saw which and in what order the answers come.
 */
export async function laneWorks(): Promise<boolean> {
  const [near, far] = duplexPair();
  const seen: string[] = [];
  const message = (name: string): string => `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${name}`;
  const server: Server = createServer();
  let opened = false;
  server.on('request', (req, res) => {
    seen.push(`usual ${req.url}`);
    res.writeHead(200, ['Content-Length', '2']);
    res.end(`u${req.url?.slice(-1)}`);
    if (opened) return;
    opened = openLane(req.socket, ({ url, rawHeaders }) => {
      if (!url.startsWith('/lane') || rawHeaders[1] !== 'x') return false;
      seen.push(`lane ${url}`);
      req.socket.write(message(`l${url.slice(-1)}`));
      return true;
    });
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, testTimeoutMs);
  const ask = (...urls: string[]): void =>
    void near.write(urls.map((url) => `GET ${url} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  // One after another, then two at once, with the lane behind the usual way only when that is out.
  const turns = [['/lane1'], ['/lane2'], ['/usual3'], ['/lane4', '/usual5'], ['/lane6']];
  const want = ['u1', 'l2', 'u3', 'l4', 'u5', 'l6'];
  let received = '';
  let turn = 0;
  let answers = 0;
  const next = (): void => {
    const urls = turns[turn];
    turn += 1;
    if (urls === undefined) resolve();
    else ask(...urls);
  };
  near.on('error', () => resolve());
  far.on('error', () => resolve());
  near.on('data', (data) => {
    received += String(data);
    const count = received.split('\r\n\r\n').filter((part) => /^[ul][0-9]/.test(part)).length;
    if (count === answers) return;
    answers = count;
    if (count === turns.slice(0, turn).flat().length) setImmediate(next);
  });
  try {
    server.emit('connection', far);
    next();
    await promise;
    const bodies = received.split('\r\n\r\n').flatMap((part) => /^[ul][0-9]/.exec(part)?.[0] ?? []);
    const order = ['usual /lane1', 'lane /lane2', 'usual /usual3', 'lane /lane4', 'usual /usual5', 'lane /lane6'];
    return bodies.join() === want.join() && seen.join() === order.join();
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
    near.destroy();
    far.destroy();
  }
}
