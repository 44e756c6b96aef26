/**
 * `/callbacks/`: what an app's backend does with qalgate's callbacks. `/callbacks/receive` is where they come: they are verified, messages
 * are moderated, everything else is taken note of. The page shows what came, and can make the backend misbehave.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type CallbackEvent,
  type CallbackHandler,
  createCallbackHandler,
  type HandledCallback,
  type Verified,
  verifyCallback,
} from '../../src/sdk/backend/index.ts';
import { type CallbackLog, createCallbackLog, type Seen } from './callback-log.ts';
import { moderate, refusalCodes } from './moderation.ts';
import { fieldOf, isJson, isSameOrigin, readBody, sendJson } from './requests.ts';
import { serveFile } from './static-files.ts';

export interface CallbackSettings {
  /** `whsec_…`, as configured for the app; two while it is changed. */
  secret: string | readonly string[];
}

/** How the backend takes callbacks: as it should, not at all, or as if it were broken. */
type Mode = 'answer' | 'silent' | 'fail';
const modes: readonly Mode[] = ['answer', 'silent', 'fail'];

export interface Callbacks {
  /** Called when the secret is known; until then callbacks get 503, and come again. */
  configure(settings: CallbackSettings): void;
  /** @param path what follows `/callbacks/` */
  serve(request: IncomingMessage, response: ServerResponse, path: string): Promise<void>;
  close(): void;
}

const maxBodyBytes = 2 * 1_048_576;
const shownChars = 4_000;

/** @param publicFolder where the page is */
export function createCallbacks(publicFolder: string): Callbacks {
  const log = createCallbackLog();
  let settings: CallbackSettings | undefined;
  let handler: CallbackHandler | undefined;
  let mode: Mode = 'answer';

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (settings === undefined || handler === undefined) {
      return sendJson(response, 503, { error: 'The secret is not known yet.' }, { 'Retry-After': '1' });
    }
    if (mode === 'answer' || request.method !== 'POST') return handler(request, response);
    // Misbehaving, but still looking at what comes.
    const body = await readBody(request, maxBodyBytes);
    if (body === undefined) return sendJson(response, 413, { error: 'The body is too long.' });
    const verified = verifyCallback({ secret: settings.secret, headers: request.headers, body });
    log.add(seenOf(request, verified, log, { answered: mode === 'silent' ? 'not at all' : '500' }));
    if (mode === 'fail') sendJson(response, 500, { error: 'As it was asked to.' });
  }

  async function switchMode(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'POST')
      return sendJson(response, 405, { error: 'Only POST works here.' }, { Allow: 'POST' });
    // Another site's page can say neither without asking first, which is not answered.
    if (!isSameOrigin(request)) return sendJson(response, 403, { error: 'Only the page itself may switch.' });
    if (!isJson(request)) return sendJson(response, 415, { error: 'The body must be JSON.' });
    const body = await readBody(request, 1_024);
    const wanted = modes.find((one) => one === (body === undefined ? undefined : fieldOf(body, 'mode')));
    if (wanted === undefined) return sendJson(response, 400, { error: `The mode is one of ${modes.join(', ')}.` });
    mode = wanted;
    log.tell('mode', mode);
    sendJson(response, 200, { mode });
  }

  return {
    configure(given) {
      settings = given;
      handler = createCallbackHandler({
        secret: given.secret,
        on: {
          'C2C.CallbackBeforeSendMsg': ({ MsgBody }) => moderate(MsgBody, refusalCodes.oneToOne),
          'Group.CallbackBeforeSendMsg': ({ MsgBody }) => moderate(MsgBody, refusalCodes.group),
        },
        onHandled(handled, request) {
          const { verified, answer } = handled;
          const answered = answer === undefined ? String(handled.status) : wordsOf(handled);
          log.add(seenOf(request, verified, log, { answered, tookMs: Math.round(handled.tookMs * 10) / 10, handled }));
        },
      });
    },
    async serve(request, response, path) {
      if (path === 'receive') return receive(request, response);
      if (path === 'mode') return switchMode(request, response);
      if (path === 'list') return sendJson(response, 200, { mode, callbacks: log.list() });
      if (path === 'events') {
        if (!log.watch(response)) return sendJson(response, 503, { error: 'Too many pages watch already.' });
        return log.tell('mode', mode);
      }
      if (path !== '') {
        response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('no such page\n');
        return;
      }
      response.setHeader(
        'Content-Security-Policy',
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src data:",
      );
      return serveFile(request, response, publicFolder, 'callbacks.html', 'no-store');
    },
    close: () => log.close(),
  };
}

function seenOf(
  request: IncomingMessage,
  verified: Verified,
  log: CallbackLog,
  { answered, tookMs, handled }: { answered: string; tookMs?: number; handled?: HandledCallback },
): Seen {
  const id = String(request.headers['webhook-id'] ?? '').slice(0, 256);
  const { gap = [], isReplay = false } = handled?.context ?? {};
  const text = verified.ok ? JSON.stringify(verified.event) : '';
  return {
    at: new Date().toISOString(),
    command: verified.ok ? verified.command : '',
    id,
    attempt: log.count(id),
    verified: verified.ok,
    ...(verified.ok ? {} : { reason: `${verified.code}: ${verified.reason}` }),
    about: verified.ok ? aboutOf(verified.event) : '',
    answered,
    ...(tookMs === undefined ? {} : { tookMs }),
    ...(gap.length === 0 ? {} : { gap }),
    ...(isReplay ? { isReplay } : {}),
    body: text.length > shownChars ? `${text.slice(0, shownChars)}…` : text,
  };
}

function wordsOf({ answer, isRepeat }: HandledCallback): string {
  const repeat = isRepeat ? ', as before' : '';
  if (answer === undefined) return '';
  if (answer.ErrorCode !== 0) return `refuse with ${answer.ErrorCode}${repeat}`;
  return `${'MsgBody' in answer ? 'allow, changed' : 'OK'}${repeat}`;
}

/** What a callback is about, in a line. */
function aboutOf(event: CallbackEvent): string {
  switch (event.CallbackCommand) {
    case 'State.StateChange':
      return `${event.Info.To_Account}: ${event.Info.Action} (${event.Info.Reason})`;
    case 'C2C.CallbackBeforeSendMsg':
    case 'C2C.CallbackAfterSendMsg': {
      const [element] = event.MsgBody;
      const text = element?.MsgType === 'TIMTextElem' ? `“${element.MsgContent.Text.slice(0, 80)}”` : element?.MsgType;
      return `${event.From_Account} → ${event.To_Account}: ${text}`;
    }
    default:
      return 'GroupId' in event ? `group ${event.GroupId}` : '';
  }
}
