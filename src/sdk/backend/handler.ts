import type { IncomingMessage, ServerResponse } from 'node:http';
import { callbackFields } from '../../wire/index.ts';
import { type Answer, type Answers, allow } from './answers.ts';
import type { AfterCommand, BeforeCommand, CallbackCommand, CallbackEvent, CallbackEvents } from './events.ts';
import { findHeader } from './header-lookup.ts';
import { readRawBody } from './raw-body.ts';
import { readKey } from './signature.ts';
import { type Verified, type VerifyInput, verifyCallback } from './verify.ts';

/** What came beside the body. Only `id` and `timestamp` are signed: believe the rest as far as you believe the connection. */
export interface CallbackContext {
  readonly id: string;
  /** Unix seconds. */
  readonly timestamp: number;
  /** Where the action came from; '' where the service does not know. */
  readonly clientIp: string;
  /** `RESTAPI`, `Web`, `Android`, …; '' where the service does not say. */
  readonly platform: string;
  /** Ids of events of the same conversation or account that were given up right before this one. */
  readonly gap: readonly string[];
  /** An operator had it sent again. */
  readonly isReplay: boolean;
}

/** Remembers events over restarts and processes, in your own database. */
export interface SeenEvents {
  has(id: string): boolean | Promise<boolean>;
  /** Called when the event's handler has succeeded, before the service is answered. */
  add(id: string): unknown;
}

export type CallbackListeners = {
  readonly [Command in BeforeCommand]?: (
    event: CallbackEvents[Command],
    context: CallbackContext,
  ) => Answers[Command] | Promise<Answers[Command]>;
} & {
  readonly [Command in AfterCommand]?: (event: CallbackEvents[Command], context: CallbackContext) => unknown;
};

export interface CallbackHandlerOptions extends Pick<VerifyInput, 'secret' | 'toleranceSec' | 'now'> {
  /**
   * By command. What is not here is answered with `allow()`; one that throws, with 500. A listener that never ends is never
   * answered, repeats included: give what it waits for a deadline.
   */
  readonly on: CallbackListeners;
  /** Without it repeats are known by memory alone: best effort, see `remember`. */
  readonly seen?: SeenEvents;
  /** Ids, with their answers, that are kept in memory, the oldest forgotten first; default 10,000. */
  readonly remember?: number;
  /** Longest body; default 2 MiB. */
  readonly maxBodyBytes?: number;
  /** Longest time for the body to arrive; default 10 s. */
  readonly bodyTimeoutMs?: number;
  /** Called for each callback when it is answered, also for what does not verify: for logs and figures. */
  onHandled?(handled: HandledCallback, request: IncomingMessage): void;
  /** Called with what a listener threw; default `console.error`. */
  onError?(error: unknown, context: CallbackContext & { command: CallbackCommand }): void;
}

/** What became of a callback. */
export interface HandledCallback {
  readonly verified: Verified;
  /** Of what verified. */
  readonly context?: CallbackContext;
  /** It had been here before, and its listener was not called again. */
  readonly isRepeat: boolean;
  /** 200, 401 for what does not verify, 500 where its listener failed. */
  readonly status: number;
  /** With status 200. */
  readonly answer?: Answer;
  /** From the body's end. */
  readonly tookMs: number;
}

export type CallbackHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/**
 * A handler for Node's `http` (and whatever hands on its request before the body was read): reads the body, verifies it, calls the
 * listener of its command, answers. An event that comes again is answered like the first time and does not reach its listener
 * again: as long as this process remembers it, or `seen` does. The promise never rejects.
 *
 * ```js
 * const handler = createCallbackHandler({
 *   secret: process.env.CALLBACK_SECRET,
 *   on: {
 *     'C2C.CallbackBeforeSendMsg': async (event) => ((await isFriendly(event.MsgBody)) ? allow() : refuse(120001, 'be kind')),
 *     'C2C.CallbackAfterSendMsg': (event) => archive(event),
 *   },
 * });
 * createServer(handler).listen(9100);
 * ```
 *
 * @throws {TypeError} when a secret is malformed
 */
export function createCallbackHandler(options: CallbackHandlerOptions): CallbackHandler {
  const { secret, on, seen, remember = 10_000, maxBodyBytes = 2 * 1_048_576, bodyTimeoutMs = 10_000 } = options;
  const { onHandled, onError = (error, { command, id }) => console.error(command, id, error) } = options;
  const secrets = [secret].flat();
  if (secrets.length === 0 || secrets.some((one) => readKey(one) === undefined)) {
    throw new TypeError('secret: must be `whsec_` and base64, or a list of such');
  }
  /** Answers, or what they will be: a repeat may come while the first is being handled. */
  const answers = new Map<string, Promise<Handled>>();

  async function handle(event: CallbackEvent, context: CallbackContext): Promise<Handled> {
    const command = event.CallbackCommand;
    if (!Object.hasOwn(on, command)) return { answer: allow(), isRepeat: false };
    const listener = on[command] as (event: CallbackEvent, context: CallbackContext) => unknown;
    if (isQuestion(command)) {
      const answer = await listener(event, context);
      if (typeof answer !== 'object' || answer === null)
        throw new TypeError(`the listener of ${command} gave no answer`);
      return { answer: answer as Answer, isRepeat: false };
    }
    if ((await seen?.has(context.id)) === true) return { answer: allow(), isRepeat: true };
    await listener(event, context);
    await seen?.add(context.id);
    return { answer: allow(), isRepeat: false };
  }

  function answerOnce(event: CallbackEvent, context: CallbackContext): Promise<Handled> {
    const before = answers.get(context.id);
    if (before !== undefined) return before.then(({ answer }) => ({ answer, isRepeat: true }));
    const answer = handle(event, context);
    answers.set(context.id, answer);
    for (const [oldest] of answers) {
      if (answers.size <= remember) break;
      answers.delete(oldest);
    }
    // What failed is done again when it comes again.
    answer.catch(() => {
      if (answers.get(context.id) === answer) answers.delete(context.id);
    });
    return answer;
  }

  return async (request, response) => {
    try {
      if (request.method !== 'POST') {
        return send(response, 405, 'only POST works here', { Allow: 'POST' });
      }
      if (request.readableDidRead) {
        return send(response, 500, 'the body was read before: put this handler before any body parser');
      }
      const body = await readRawBody(request, { maxBytes: maxBodyBytes, timeoutMs: bodyTimeoutMs });
      if (body === undefined) {
        return send(response, 413, `the body has at most ${maxBodyBytes} bytes`, { Connection: 'close' });
      }
      const readAt = performance.now();
      const verified = verifyCallback({ ...options, headers: request.headers, body });
      const tell = (handled: Pick<HandledCallback, 'context' | 'isRepeat' | 'status' | 'answer'>): void => {
        try {
          onHandled?.({ verified, ...handled, tookMs: performance.now() - readAt }, request);
        } catch (error) {
          // The answer is on its way, and stays so.
          console.error('onHandled', error);
        }
      };
      if (!verified.ok) {
        send(response, 401, `${verified.code}: ${verified.reason}`);
        return tell({ isRepeat: false, status: 401 });
      }
      const { event, command } = verified;
      const context = contextOf(request, verified);
      let handled: Handled;
      try {
        handled = await answerOnce(event, context);
      } catch (error) {
        onError(error, { ...context, command });
        send(response, 500, 'the listener failed');
        return tell({ context, isRepeat: false, status: 500 });
      }
      sendJson(response, 200, handled.answer);
      tell({ context, ...handled, status: 200 });
    } catch {
      // The client went away or was too slow, or onError threw: there is nobody to tell.
      response.destroy();
    }
  };
}

interface Handled {
  readonly answer: Answer;
  readonly isRepeat: boolean;
}

const questions: Readonly<Record<BeforeCommand, true>> = {
  'C2C.CallbackBeforeSendMsg': true,
  'Group.CallbackBeforeCreateGroup': true,
  'Group.CallbackBeforeApplyJoinGroup': true,
  'Group.CallbackBeforeInviteJoinGroup': true,
  'Group.CallbackBeforeSendMsg': true,
  'Sns.CallbackPrevFriendAdd': true,
  'Sns.CallbackPrevFriendResponse': true,
};

function isQuestion(command: CallbackCommand): command is BeforeCommand {
  return Object.hasOwn(questions, command);
}

function contextOf(
  { headers, url = '' }: IncomingMessage,
  { id, timestamp }: Pick<CallbackContext, 'id' | 'timestamp'>,
) {
  const query = new URLSearchParams(url.slice(url.indexOf('?') + 1));
  const field = (name: string): string => {
    const found = findHeader(headers, name);
    return 'value' in found ? found.value : '';
  };
  return {
    id,
    timestamp,
    clientIp: query.get('ClientIP') ?? '',
    platform: query.get('OptPlatform') ?? '',
    gap: field(callbackFields.gap)
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== ''),
    isReplay: field(callbackFields.replay) === 'true',
  };
}

/** A refusal; its status is what counts. */
function send(response: ServerResponse, status: number, reason: string, headers: Record<string, string> = {}): void {
  sendJson(response, status, { ActionStatus: 'FAIL', ErrorCode: 1, ErrorInfo: reason }, headers);
}

function sendJson(response: ServerResponse, status: number, value: object, headers: Record<string, string> = {}): void {
  const text = JSON.stringify(value);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}
