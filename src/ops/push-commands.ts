import { type PushAdmin, parseChannel, parseDrop, parseOrder, parseQuery } from '../push/index.ts';
import type { AppSettings, AppStore, Result } from '../store/index.ts';
import type { Answer, Call, Handle } from './answer.ts';
import { findApp } from './app-lookup.ts';
import type { Asking } from './database-away.ts';

export interface PushCommands {
  summary: Handle;
  list: Handle;
  devices: Handle;
  retry: Handle;
  drop: Handle;
  pause: Handle;
  resume: Handle;
}

/** What operators see and do of pushes (O1–O3). */
export function createPushCommands({
  apps,
  pushAdmin: admin,
  asking,
}: {
  apps: AppStore;
  pushAdmin: PushAdmin;
  asking: Asking;
}): PushCommands {
  function handle<T>(
    read: (call: Call) => Result<T>,
    act: (app: AppSettings, input: T, call: Call) => Promise<object | undefined>,
  ): Handle {
    return asking(async (call): Promise<Result<Answer>> => {
      const found = await findApp(apps, call.sdkAppId);
      if (!found.ok) return found;
      const input = read(call);
      if (!input.ok) return input;
      const body = await act(found.value.settings, input.value, call);
      return body === undefined
        ? { ok: false, code: 'NOT_FOUND', field: 'account', reason: 'the app has no such account' }
        : { ok: true, value: { status: 200, body } };
    });
  }

  return {
    summary: handle(
      () => ({ ok: true, value: undefined }),
      (app) => admin.summary(app),
    ),
    list: handle(
      ({ query }) => parseQuery(query),
      async (app, query) => {
        const { pushes, notes, next } = await admin.list(app, query);
        return { pushes, notes, next: next ?? null };
      },
    ),
    devices: handle(
      ({ query }) => {
        const asked = parseQuery(query);
        if (!asked.ok || asked.value.account !== undefined) return asked;
        const allowed = 'the name of an account';
        return { ok: false, code: 'INVALID_FIELD', field: 'account', reason: 'is missing', allowed };
      },
      async (app, { account = '' }) => {
        const devices = await admin.devices(app, account);
        return devices === undefined ? undefined : { devices };
      },
    ),
    retry: handle(
      ({ body }) => parseOrder(body),
      (app, order) => admin.retry(app, order),
    ),
    drop: handle(
      ({ body }) => parseDrop(body),
      (app, order) => admin.drop(app, order),
    ),
    pause: handle(
      ({ body }) => parseChannel(body),
      async (app, channel, { actor }) => ({ pauses: await admin.pause(app, channel, actor) }),
    ),
    resume: handle(
      ({ body }) => parseChannel(body),
      (app, channel) => admin.resume(app, channel),
    ),
  };
}
