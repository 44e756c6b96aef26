import { type Caller, type Revocations, userSigSecretId } from '../auth/index.ts';
import { keyFingerprint, withoutQuery } from '../callbacks/index.ts';
import {
  type AppSettings,
  type AppStore,
  appSecrets,
  callbackSecrets,
  type PushSettings,
  type Refusal,
  type Result,
  type StoredApp,
  splitPushKeys,
} from '../store/index.ts';
import { parseAccountId, type SdkAppId } from '../wire/index.ts';
import type { Answer, Handle } from './answer.ts';
import { findApp, parseSdkAppId, unknownApp } from './app-lookup.ts';
import type { Asking } from './database-away.ts';

export interface AppCommandDeps {
  apps: AppStore;
  asking: Asking;
  revocations: Pick<Revocations, 'revokeAccount'>;
  /** Reads an app's settings and fills defaults. Its refusals must not show a secret. */
  checkApp(value: unknown): Result<AppSettings>;
}

export interface AppCommands {
  list: Handle;
  read: Handle;
  create: Handle;
  replace: Handle;
  remove: Handle;
  kick: Handle;
}

/** What of an app is shown: everything but its secrets, of which the number and the fingerprints tell which are in use. */
export function describeApp({ settings, origin, createdAt, updatedAt }: StoredApp, role: Caller): object {
  const { secret: _, ...shown } = settings;
  const secrets = appSecrets(settings);
  const signing = callbackSecrets(settings);
  const { open: push, keys } = splitPushKeys(settings.push);
  return {
    settings: { ...shown, callbacks: openCallbacks(settings, role), push },
    secret: { count: secrets.length, fingerprints: secrets.map(userSigSecretId) },
    callbackSecret: { count: signing.length, fingerprints: signing.map(keyFingerprint) },
    callbackSignToken: settings.callbacks.signToken !== undefined,
    pushKeys: Object.entries(keys).flatMap(([name, key]) => (key === undefined ? [] : [name])),
    origin,
    createdAt,
    updatedAt,
  };
}

/** The settings of an app's callbacks without what signs them; for whoever may not change them also without queries of URLs. */
export function openCallbacks({ callbacks }: Pick<AppSettings, 'callbacks'>, role: Caller): object {
  const { secret: _, signToken: __, ...open } = callbacks;
  return role === 'operator' ? open : withoutQueries(open);
}

/** The URLs of callbacks may hold a key of the backend, where their query stands. Whatever has no such URLs stays as it is. */
export function withoutQueries<T extends { url?: unknown; commands?: unknown }>(callbacks: T): T {
  const shorten = (url: string): string => (url.includes('?') ? `${withoutQuery(url)}?…` : url);
  const { url, commands } = callbacks;
  return {
    ...callbacks,
    ...(typeof url === 'string' ? { url: shorten(url) } : {}),
    ...(Array.isArray(commands)
      ? { commands: commands.map((one) => (typeof one?.url === 'string' ? { ...one, url: shorten(one.url) } : one)) }
      : {}),
  };
}

/**
 * The commands on apps and their sessions. Every change has been committed when its answer is given; when the database
 * does not answer they are refused with DATABASE_UNAVAILABLE.
 */
export function createAppCommands({ apps, asking, revocations, checkApp }: AppCommandDeps): AppCommands {
  const find = (sdkAppId: string): Promise<Result<StoredApp>> => findApp(apps, sdkAppId);

  async function show(status: 200 | 201, sdkAppId: SdkAppId, role: Caller): Promise<Result<Answer>> {
    const app = await apps.get(sdkAppId);
    // Deleted in the meantime by somebody else.
    if (app === undefined) return unknownApp(sdkAppId);
    const location = status === 201 ? { Location: `/ops/v1/apps/${sdkAppId}` } : {};
    return { ok: true, value: { status, headers: { ETag: etagOf(app), ...location }, body: describeApp(app, role) } };
  }

  return {
    list: asking(async ({ role }) => {
      const all = await apps.list();
      return { ok: true, value: { status: 200, body: { apps: all.map((app) => describeApp(app, role)) } } };
    }),

    read: asking(async ({ sdkAppId, role }) => {
      const id = parseSdkAppId(sdkAppId);
      return id.ok ? show(200, id.value, role) : id;
    }),

    create: asking(async ({ body, role }) => {
      const app = checkApp(body);
      if (!app.ok) return app;
      const created = await apps.create(app.value);
      return created.ok ? show(201, app.value.sdkAppId, role) : created;
    }),

    replace: asking(async (call) => {
      const found = await find(call.sdkAppId);
      if (!found.ok) return found;
      const mismatch = matchEtag(found.value, call.ifMatch);
      if (mismatch !== undefined) return mismatch;
      const { settings } = found.value;
      const app = checkApp(completed(call.body, settings));
      if (!app.ok) return app;
      if (app.value.sdkAppId !== settings.sdkAppId) {
        const reason = `${app.value.sdkAppId} is not the sdkAppId of the path`;
        return { ok: false, code: 'INVALID_FIELD', field: 'sdkAppId', reason, allowed: String(settings.sdkAppId) };
      }
      const done = await apps.set(app.value, asRead(call.ifMatch, found.value));
      return done.ok ? show(200, settings.sdkAppId, call.role) : done;
    }),

    remove: asking(async ({ sdkAppId, ifMatch }) => {
      const id = parseSdkAppId(sdkAppId);
      if (!id.ok) return id;
      // Not read without need: an app whose secret does not open any more can still be deleted.
      let condition = {};
      if (ifMatch !== undefined) {
        const found = await find(sdkAppId);
        if (!found.ok) return found;
        const mismatch = matchEtag(found.value, ifMatch);
        if (mismatch !== undefined) return mismatch;
        condition = asRead(ifMatch, found.value);
      }
      const done = await apps.delete(id.value, condition);
      return done.ok ? { ok: true, value: { status: 204 } } : done;
    }),

    kick: asking(async ({ sdkAppId, body }) => {
      const account = parseAccountId(isMap(body) ? body.account : undefined);
      if (!account.ok) return { ok: false, code: 'INVALID_FIELD', field: 'account', reason: account.reason };
      const found = await find(sdkAppId);
      if (!found.ok) return found;
      await revocations.revokeAccount(found.value.settings.sdkAppId, account.value);
      return { ok: true, value: { status: 204 } };
    }),
  };
}

/**
 * A replacement need not repeat what the path says, and not the secrets, which nobody can read here. `null` removes those that
 * an app can be without.
 */
function completed(body: unknown, { sdkAppId, secret, callbacks, push }: AppSettings): unknown {
  if (!isMap(body)) return body;
  const kept = { secret: callbacks.secret, signToken: callbacks.signToken };
  const given = body.callbacks ?? {};
  return {
    ...body,
    sdkAppId: body.sdkAppId ?? sdkAppId,
    secret: body.secret ?? secret,
    callbacks: isMap(given) ? { ...kept, ...given } : given,
    ...(isMap(body.push) ? { push: withPushKeys(body.push, push) } : {}),
  };
}

/** A replacement of the pushes' settings keeps credentials that it does not name, those of another kind aside. */
function withPushKeys({ apns, fcm, ...rest }: Record<string, unknown>, { apns: before, fcm: fcmBefore }: PushSettings) {
  const { key, certificate, certificateKey } = before ?? {};
  const kept =
    isMap(apns) && (apns.key ?? apns.certificate ?? undefined) === undefined
      ? { key, certificate, certificateKey }
      : {};
  return {
    ...rest,
    ...(apns === undefined ? {} : { apns: isMap(apns) ? { ...kept, ...apns } : apns }),
    ...(fcm === undefined ? {} : { fcm: isMap(fcm) ? { serviceAccount: fcmBefore?.serviceAccount, ...fcm } : fcm }),
  };
}

/** Changes with every change of the app. */
function etagOf({ updatedAt }: StoredApp): string {
  return `"${updatedAt.toISOString()}"`;
}

/** RFC 9110 §13.1.1: a list of strong entity tags, or `*`. Refused when the app has none of them. */
function matchEtag(app: StoredApp, ifMatch: string | undefined): Refusal | undefined {
  if (ifMatch === undefined || ifMatch.trim() === '*') return undefined;
  const etag = etagOf(app);
  if (ifMatch.split(',').some((one) => one.trim() === etag)) return undefined;
  return { ok: false, code: 'PRECONDITION_FAILED', reason: 'If-Match: the app has been changed', allowed: etag };
}

/** A tag that matched must still match when the change is made: the store looks again, in its transaction. */
function asRead(ifMatch: string | undefined, { updatedAt }: StoredApp): { ifUpdatedAt?: Date } {
  return ifMatch === undefined || ifMatch.trim() === '*' ? {} : { ifUpdatedAt: updatedAt };
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
