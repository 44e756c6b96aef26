import {
  allowedEvent,
  type CallbackAdmin,
  type EventName,
  parseDrop,
  parseEventName,
  parseExplain,
  parseList,
  parsePause,
  parseReplay,
  parseResume,
  parseRetry,
  refusalOfTooMuch,
} from '../callbacks/index.ts';
import type { AppSettings, AppStore, Refusal, Result } from '../store/index.ts';
import type { Answer, Call, Handle } from './answer.ts';
import { openCallbacks } from './app-commands.ts';
import { findApp } from './app-lookup.ts';
import type { Asking } from './database-away.ts';

export interface CallbackCommandDeps {
  apps: AppStore;
  callbackAdmin: CallbackAdmin;
  asking: Asking;
  /** Milliseconds since the epoch. */
  now: () => number;
}

export interface CallbackCommands {
  summary: Handle;
  explain: Handle;
  events: Handle;
  event: Handle;
  deadLetters: Handle;
  deadLetter: Handle;
  replays: Handle;
  replay: Handle;
  cancel: Handle;
  drop: Handle;
  retry: Handle;
  pause: Handle;
  resume: Handle;
}

/**
 * What operators see and do of callbacks (O2, O3). Whoever looks gets no content; only an operator sees what was sent and answered.
 * Every change has been committed when its answer is given.
 */
export function createCallbackCommands({ apps, callbackAdmin, asking, now }: CallbackCommandDeps): CallbackCommands {
  const admin = callbackAdmin;

  /** Finds the app, reads what is asked for, and does it. */
  function handle<T>(
    read: (call: Call, app: AppSettings) => Result<T>,
    act: (app: AppSettings, input: T, call: Call) => Promise<Result<Answer>>,
  ): Handle {
    return asking(async (call) => {
      const found = await findApp(apps, call.sdkAppId);
      if (!found.ok) return found;
      const { settings } = found.value;
      const input = read(call, settings);
      return input.ok ? act(settings, input.value, call) : input;
    });
  }
  /** The same of look-ups: one that takes too long is asked for too much, and changes nothing. */
  function look<T>(
    read: (call: Call, app: AppSettings) => Result<T>,
    act: (app: AppSettings, input: T, call: Call) => Promise<Result<Answer>>,
  ): Handle {
    return handle(read, async (app, input, call) => {
      try {
        return await act(app, input, call);
      } catch (error) {
        const refusal = refusalOfTooMuch(error);
        if (refusal === undefined) throw error;
        return refusal;
      }
    });
  }
  const nothing = (): Result<undefined> => ({ ok: true, value: undefined });
  const ok = (body: object): Result<Answer> => ({ ok: true, value: { status: 200, body } });

  return {
    summary: handle(nothing, async (app, _, { role }) =>
      ok({ settings: openCallbacks(app, role), ...(await admin.summary(app)) }),
    ),

    explain: look(
      ({ query }) => parseExplain(query, now()),
      async (app, query) => {
        const { explanations, notes, next } = await admin.explain(app, query);
        return ok({ explanations, notes, next: next ?? null });
      },
    ),

    events: look(
      ({ query }) => parseList(query, now()),
      async (app, query) => {
        const { events, next } = await admin.list(app, query);
        return ok({ events, next: next ?? null });
      },
    ),

    event: handle(readName, async (app, name, { role, params }) => {
      const shown = await admin.show(app, name);
      if (shown === undefined) return noEvent(app, params.id);
      const { event = null, log, letter, explained } = shown;
      return ok({
        event,
        log,
        deadLetter: letter === undefined ? null : forRole(letter, role),
        explanations: explained.explanations,
      });
    }),

    deadLetters: look(
      ({ query }) => parseList(query, now(), 'dead'),
      async (app, query) => {
        const { letters, next } = await admin.letters(app, query);
        return ok({ deadLetters: letters, next: next ?? null });
      },
    ),

    deadLetter: handle(readName, async (app, name, { role, params }) => {
      const letter = await admin.letter(app, name);
      return letter === undefined ? noEvent(app, params.id, 'dead letter') : ok({ deadLetter: forRole(letter, role) });
    }),

    replays: handle(nothing, async (app) => ok({ replays: await admin.replays(app) })),

    replay: handle(
      ({ body }) => parseReplay(body, now()),
      async (app, order, { actor }) => {
        const answer = await admin.replay(app, order, actor);
        if (!answer.ok) return answer;
        return { ok: true, value: { status: order.preview ? 200 : 201, body: answer.value } };
      },
    ),

    cancel: handle(
      ({ params }) => {
        const event = parseEventName(params.id);
        return event === undefined || event.epoch !== undefined
          ? wrongId('the number of a replay')
          : { ok: true, value: event.id };
      },
      async (app, id) => {
        const done = await admin.cancel(app, id);
        return done.ok ? { ok: true, value: { status: 204 } } : done;
      },
    ),

    drop: handle(
      ({ body }) => parseDrop(body, now()),
      async (app, order, { actor }) => ok({ dropped: await admin.drop(app, order, actor) }),
    ),

    retry: handle(
      ({ body }) => parseRetry(body, now()),
      async (app, selection) => ok(await admin.retry(app, selection)),
    ),

    pause: handle(
      ({ body }, app) => parsePause(body, app, now()),
      async (app, order, { actor }) => ok({ pauses: await admin.pause(app, order, actor) }),
    ),

    resume: handle(
      ({ body }) => parseResume(body, now()),
      async (app, order) => ok(await admin.resume(app, order)),
    ),
  };
}

function readName({ params }: Call): Result<EventName> {
  const name = parseEventName(params.id);
  return name === undefined ? wrongId(allowedEvent) : { ok: true, value: name };
}

function wrongId(allowed: string): Refusal {
  return { ok: false, code: 'INVALID_FIELD', field: 'id', reason: 'in the path is no number of one', allowed };
}

function noEvent({ sdkAppId }: AppSettings, id = '', what = 'event'): Refusal {
  return { ok: false, code: 'NOT_FOUND', reason: `app ${sdkAppId} has no ${what} ${id}` };
}

/** Content is the operators' (DESIGN §10): everybody else sees that there is some. */
function forRole<T extends { content?: unknown }>(letter: T, role: Call['role']): T {
  return role === 'operator' || letter.content === undefined ? letter : { ...letter, content: null };
}
