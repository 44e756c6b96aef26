import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { diagnose } from '../../callbacks/index.ts';
import { allow, drop, readRawBody, refuse, refuseFriends, verifyCallback } from '../../sdk/backend/index.ts';
import { beforeCommands, callbackFields } from '../../wire/index.ts';

/** What the receiver says to a callback. */
export interface Behaviour {
  readonly answer: 'allow' | 'drop' | { readonly code: number; readonly info: string } | { readonly json: string };
  /** What it does instead of answering; to the first `times` attempts of each callback. */
  readonly failure?: 'silent' | 'reset' | 'garbage' | { readonly status: number } | { readonly delayMs: number };
  readonly times?: number;
}

/** A callback as it came. */
export interface Arrival {
  readonly atMs: number;
  readonly from: string;
  /** Path and query. */
  readonly target: string;
  readonly id: string;
  readonly command: string;
  /** Which time this id is here, from 1. */
  readonly attempt: number;
  /** Undefined: there was no key to verify with. */
  readonly verified: boolean | undefined;
  /** What is wrong with it, a sentence each. */
  readonly faults: readonly string[];
  readonly gap: string;
  readonly isReplay: boolean;
  readonly body: string;
  /** How it is answered, in words. */
  readonly answered: string;
}

export interface CallbackReceiver {
  readonly url: string;
  close(): Promise<void>;
}

const maxBodyBytes = 2 * 1_048_576;
const bodyMs = 10_000;
/** Ids whose attempts are counted, the oldest forgotten first. */
const maxIds = 10_000;

/** A backend that shows what it gets. Rejects when it cannot listen there. */
export async function openCallbackReceiver(options: {
  host: string;
  port: number;
  secrets: readonly string[];
  behaviour: Behaviour;
  onArrival(arrival: Arrival): void;
}): Promise<CallbackReceiver> {
  const { host, port, secrets, behaviour, onArrival } = options;
  const attempts = new Map<string, number>();

  function count(id: string): number {
    const attempt = (attempts.get(id) ?? 0) + 1;
    attempts.delete(id);
    attempts.set(id, attempt);
    if (attempts.size > maxIds) attempts.delete(attempts.keys().next().value as string);
    return attempt;
  }

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const atMs = Date.now();
    if (request.method !== 'POST') return send(response, 405, '', { Allow: 'POST' });
    const body = await readRawBody(request, { maxBytes: maxBodyBytes, timeoutMs: bodyMs });
    if (body === undefined) return send(response, 413, '', { Connection: 'close' });
    const { verified, faults } = check(request, body, secrets, atMs);
    const field = (name: string): string => String(request.headers[name] ?? '');
    const id = field(callbackFields.id);
    const attempt = count(id);
    const event = parse(body);
    const command = typeof event?.CallbackCommand === 'string' ? event.CallbackCommand : '(no CallbackCommand)';
    const reply = verified === false ? refusal : replyOf(behaviour, command, event, attempt);
    onArrival({
      atMs,
      from: request.socket.remoteAddress ?? '',
      target: request.url ?? '',
      id,
      command,
      attempt,
      verified,
      faults,
      gap: field(callbackFields.gap),
      isReplay: field(callbackFields.replay) === 'true',
      body: body.toString(),
      answered: reply.words,
    });
    reply.act(response);
  }

  const server = createServer((request, response) => {
    // A client that went away: there is nobody to answer.
    receive(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { address, family, port: actual } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${actual}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function check(request: IncomingMessage, body: Buffer, secrets: readonly string[], nowMs: number) {
  if (secrets.length === 0) return { verified: undefined, faults: [] };
  const { headers } = request;
  const verified = verifyCallback({ secret: secrets, headers, body, now: () => nowMs });
  if (verified.ok) return { verified: true, faults: [] };
  const { findings } = diagnose({ headers, body, secrets, nowMs, receivedMs: nowMs });
  const faults = findings.filter(({ code }) => code !== 'SIGNATURE_RIGHT').map(({ text }) => text);
  return { verified: false, faults: faults.length === 0 ? [`${verified.reason}.`] : faults };
}

interface Reply {
  readonly words: string;
  act(response: ServerResponse): void;
}

const refusal: Reply = { words: '401', act: (response) => send(response, 401, '') };

function replyOf(
  { answer, failure, times = Number.POSITIVE_INFINITY }: Behaviour,
  command: string,
  event: Record<string, unknown> | undefined,
  attempt: number,
): Reply {
  const body =
    typeof answer === 'object' && 'json' in answer ? answer.json : JSON.stringify(answerTo(command, event, answer));
  const { ErrorCode } = parse(Buffer.from(body)) ?? {};
  const usual: Reply = { words: `200, ErrorCode ${ErrorCode}`, act: (response) => send(response, 200, body) };
  if (failure === undefined || attempt > times) return usual;
  if (failure === 'silent') return { words: 'with silence', act: () => {} };
  if (failure === 'reset') return { words: 'by cutting the connection', act: (response) => response.destroy() };
  if (failure === 'garbage') {
    return { words: '200, and what is no JSON', act: (response) => send(response, 200, '<html>oops</html>') };
  }
  if ('status' in failure)
    return { words: String(failure.status), act: (response) => send(response, failure.status, '') };
  const { delayMs } = failure;
  const late = (response: ServerResponse): void => void setTimeout(() => usual.act(response), delayMs).unref();
  return { words: `after ${delayMs} ms: ${usual.words}`, act: late };
}

/** What decides something is answered to questions alone; friend requests are refused one by one. */
function answerTo(command: string, event: Record<string, unknown> | undefined, answer: Behaviour['answer']): object {
  const isQuestion = (beforeCommands as readonly string[]).includes(command);
  if (!isQuestion || answer === 'allow' || (typeof answer === 'object' && 'json' in answer)) return allow();
  if (answer === 'drop') return drop();
  const { code, info } = answer;
  if (!command.startsWith('Sns.')) return refuse(code, info);
  const items = event?.FriendItem ?? event?.ResponseFriendItem;
  const accounts = Array.isArray(items) ? items.map((item) => String(Object(item).To_Account)) : [];
  return refuseFriends(accounts.map((account) => ({ account, code: 38_000, info })));
}

function parse(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined: it is too long. Rejects when it takes too long. */
function send(response: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}
