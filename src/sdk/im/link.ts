import { ImError, type ImErrorCode } from './error.ts';
import { type Bye, type Fields, fieldsOf, numberOr, optionalText, readFrames } from './frames.ts';
import type { ImLimits } from './limits.ts';

/** As much of a WebSocket as a link uses; the platform's own has it, and so has npm's `ws`. */
export interface LinkSocket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(data: string): void;
  close(): void;
}

export type LinkSocketConstructor = new (url: string) => LinkSocket;

/** The service's answer to a login. */
export interface Welcome {
  readonly account: string;
  readonly epoch: string | undefined;
  /** Names the link, to resume it. */
  readonly link: string | undefined;
  /** It goes on with the login of another link: what holds for a login holds. */
  readonly resumed: boolean;
  /** Unix seconds. */
  readonly serverTime: number;
  /** A terminal of another kind ended this one while it could not be told; told once (P5). */
  readonly kickedWhileAway: { readonly platform: string; readonly at: number } | undefined;
}

/** Why a link is over. */
export interface LinkEnd {
  readonly error: ImError;
  /** Connecting again in the same way would end in the same way. */
  readonly isFinal?: boolean;
  readonly reconnectMs?: number | undefined;
  /** Of the terminal that kicked this one. */
  readonly platform?: string | undefined;
}

export interface LinkHandlers {
  onWelcome(welcome: Welcome): void;
  onEvent(on: string, fields: Fields): void;
  onBadFrame(): void;
  /** Called once, when it is over for whatever reason; nothing is called afterwards. */
  onEnd(end: LinkEnd): void;
}

export interface Link {
  /**
   * Asks, and gives the `ok` of the answer.
   * @throws ImError the refusal by its name; `NETWORK`: the link ended first; `TIMEOUT`: no answer in time; `MESSAGE_TOO_LONG`
   */
  request(what: string, fields?: object): Promise<Fields>;
  /** Tries whether the link still works, at once. */
  probe(): void;
  /** Ends it from here. */
  end(error: ImError): void;
}

export interface LinkOptions {
  readonly url: string;
  readonly WebSocket: LinkSocketConstructor;
  /** The fields of the first frame. */
  readonly login: object;
  readonly limits: ImLimits;
}

interface Waiting {
  readonly resolve: (ok: Fields) => void;
  readonly reject: (error: ImError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** Requests that may wait for an answer; the service works on 64 at once. */
const maxWaiting = 256;
const minBeatMs = 20;
const maxBeatMs = 3_600_000;

/** One WebSocket to the service, from opening it until it is over: login, requests and answers, heartbeats, the end. */
export function openLink({ url, WebSocket, login, limits }: LinkOptions, handlers: LinkHandlers): Link {
  const waiting = new Map<number, Waiting>();
  let nextId = 1;
  let frameBytes = 32_768;
  let beatMs = 60_000;
  let isOver = false;
  let isIn = false;
  let bye: Bye | undefined;
  /** Why the login was refused: says more than the end that follows it. */
  let refusal: ImError | undefined;
  let beatTimer: ReturnType<typeof setTimeout> | undefined;
  /** Runs from a heartbeat, or from the beginning, until something is heard. */
  let deadTimer: ReturnType<typeof setTimeout> | undefined;
  let socket: LinkSocket | undefined;

  function finish(end: LinkEnd): void {
    if (isOver) return;
    isOver = true;
    clearTimeout(beatTimer);
    clearTimeout(deadTimer);
    // A link that is half open takes a while to close, and must not be heard of again.
    if (socket !== undefined) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => {};
      try {
        socket.close();
      } catch {
        // It was not open yet, in an implementation that minds.
      }
    }
    const error = new ImError('NETWORK', 'the link ended before the answer came', { cause: end.error });
    for (const { reject, timer } of waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    waiting.clear();
    handlers.onEnd(end);
  }

  const endWith = (error: ImError): void => finish({ error });

  function dieUnlessHeard(ms: number, what: string): void {
    if (deadTimer !== undefined) return;
    deadTimer = setTimeout(() => endWith(new ImError('TIMEOUT', `${what} within ${ms} ms`)), ms);
  }

  function closed(code: number): void {
    const name = bye?.name ?? 'NETWORK';
    const reason = bye?.reason ?? `the link was closed (${code})`;
    const isFinal = bye?.isFinal ?? ((code >= 4100 && code < 4200) || (code === 0 && refusal?.retryable === false));
    const error = refusal ?? new ImError(name as ImErrorCode, reason, { retryable: !isFinal });
    finish({ ...bye, error, isFinal });
  }

  function beat(): void {
    if (isOver || !isIn) return;
    clearTimeout(beatTimer);
    beatTimer = setTimeout(beat, beatMs);
    dieUnlessHeard(limits.beatTimeoutMs, 'nothing was heard after a heartbeat');
    write('{"id":0,"do":"beat"}');
  }

  function write(text: string): void {
    try {
      socket?.send(text);
    } catch (cause) {
      endWith(new ImError('NETWORK', 'the link cannot be written to', { cause }));
    }
  }

  function refusalOf(text: string): ImError | undefined {
    if (isOver) return new ImError('NETWORK', 'there is no connection');
    if (waiting.size >= maxWaiting) {
      return new ImError('BUSY', 'too many requests wait for an answer', { retryable: true });
    }
    // The service would end the link for good.
    const isTooLong = new TextEncoder().encode(text).byteLength > frameBytes;
    return isTooLong ? new ImError('MESSAGE_TOO_LONG', `a request has at most ${frameBytes} bytes`) : undefined;
  }

  function ask(what: string, fields: object, resolve: Waiting['resolve'], reject: Waiting['reject']): void {
    const id = nextId;
    const text = JSON.stringify({ id, do: what, ...fields });
    const refusal = refusalOf(text);
    if (refusal !== undefined) {
      reject(refusal);
      return;
    }
    nextId += 1;
    const timer = setTimeout(() => {
      waiting.delete(id);
      reject(new ImError('TIMEOUT', `${what} was not answered within ${limits.requestTimeoutMs} ms`));
      beat();
    }, limits.requestTimeoutMs);
    waiting.set(id, { resolve, reject, timer });
    write(text);
  }

  function answer(id: number, ok: unknown, error: ImError | undefined): void {
    const one = waiting.get(id);
    if (one === undefined) return;
    waiting.delete(id);
    clearTimeout(one.timer);
    if (error === undefined) one.resolve(fieldsOf(ok));
    else one.reject(error);
  }

  function welcome(ok: Fields): void {
    isIn = true;
    clearTimeout(deadTimer);
    deadTimer = undefined;
    frameBytes = numberOr(ok.frameBytes, frameBytes);
    beatMs = Math.min(Math.max(numberOr(ok.heartbeatSec, 60) * 1_000, minBeatMs), maxBeatMs);
    beatTimer = setTimeout(beat, beatMs);
    const { platform, at } = fieldsOf(ok.kickedWhileAway);
    handlers.onWelcome({
      account: optionalText(ok.account) ?? '',
      epoch: optionalText(ok.epoch),
      link: optionalText(ok.link),
      resumed: ok.resumed === true,
      serverTime: numberOr(ok.serverTime, 0),
      kickedWhileAway: typeof platform === 'string' ? { platform, at: numberOr(at, 0) } : undefined,
    });
  }

  function onMessage(data: unknown): void {
    // Whatever it is: the other side is there. Until the login is answered that does not count, and after its goodbye.
    if (isIn && bye === undefined) {
      clearTimeout(deadTimer);
      deadTimer = undefined;
    }
    const frames = readFrames(data);
    if (frames === undefined) handlers.onBadFrame();
    for (const frame of frames ?? []) {
      if (isOver) return;
      if (frame.kind === 'answer') answer(frame.id, frame.ok, frame.error);
      else if (frame.kind === 'bye') {
        bye = frame.bye;
        expectClose();
      } else handlers.onEvent(frame.on, frame.fields);
    }
  }

  function refused(error: ImError): void {
    refusal = error;
    if (!isOver) expectClose();
  }

  /** The service closes the WebSocket now; if it does not, this is the end all the same. */
  function expectClose(): void {
    clearTimeout(deadTimer);
    deadTimer = setTimeout(() => closed(0), limits.beatTimeoutMs);
  }

  const link: Link = {
    request: (what, fields = {}) => new Promise((resolve, reject) => ask(what, fields, resolve, reject)),
    probe: beat,
    end: endWith,
  };

  dieUnlessHeard(limits.connectTimeoutMs, 'no answer to the login');
  try {
    socket = new WebSocket(url);
  } catch (cause) {
    queueMicrotask(() => endWith(new ImError('NETWORK', `no WebSocket to ${url}`, { cause })));
    return link;
  }
  // No detour by a promise: what comes with the answer comes after it.
  socket.onopen = () => ask('login', login, welcome, refused);
  socket.onmessage = (event: { readonly data?: unknown }) => onMessage(event.data);
  socket.onerror = () => {};
  socket.onclose = (event: { readonly code?: number }) => closed(event.code ?? 0);
  return link;
}
