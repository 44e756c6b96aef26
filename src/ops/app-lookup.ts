import type { AppStore, Refusal, Result, StoredApp } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';

/** The app that a path names. */
export async function findApp(apps: Pick<AppStore, 'get'>, sdkAppId: string): Promise<Result<StoredApp>> {
  const id = parseSdkAppId(sdkAppId);
  if (!id.ok) return id;
  const app = await apps.get(id.value);
  return app === undefined ? unknownApp(id.value) : { ok: true, value: app };
}

export function parseSdkAppId(text: string): Result<SdkAppId> {
  const id = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0;
  if (id >= 1 && id <= 4_294_967_295) return { ok: true, value: id };
  const allowed = 'a whole number from 1 to 4294967295';
  return {
    ok: false,
    code: 'INVALID_FIELD',
    field: 'sdkAppId',
    reason: 'in the path is not the number of an app',
    allowed,
  };
}

export function unknownApp(sdkAppId: SdkAppId): Refusal {
  return { ok: false, code: 'APP_UNKNOWN', reason: `there is no app ${sdkAppId}` };
}
