import type { AppLookup, UserSigCheck } from '../../auth/index.ts';
import type { AppSettings } from '../../store/index.ts';
import { type AccountId, type ImRefusal, parseAccountId } from '../../wire/index.ts';

/** Whom a UserSig proved. */
export interface ProvenCaller {
  readonly app: AppSettings;
  readonly identifier: AccountId;
}

/** Who calls as far as the URL says it; each later field needs those before. */
export type CallerResult = ({ ok: true } & ProvenCaller) | (ImRefusal & { readonly app?: AppSettings });

/**
 * Reads and checks the credentials of a `/v4` URL: `sdkappid`, `identifier`, `usersig` (API reference §1.1, §1.4). The name of the
 * first is read in any case, as official samples write it in several.
 */
export async function checkCaller(
  query: URLSearchParams,
  { apps, checkUserSig }: { apps: AppLookup; checkUserSig: UserSigCheck['check'] },
): Promise<CallerResult> {
  const appIds = [...query].filter(([name]) => name.toLowerCase() === 'sdkappid').map(([, value]) => value);
  const [appId = ''] = appIds;
  if (appId === '') return { ok: false, error: 'NO_SDKAPPID', field: 'sdkappid', reason: 'is missing' };
  // Two of them would let two readers of the URL see two apps.
  const isOne = appIds.every((value) => value === appId);
  if (!isOne || !/^[1-9]\d{0,9}$/.test(appId)) {
    return { ok: false, error: 'APP_DISABLED', field: 'sdkappid', reason: 'must be the number of an app' };
  }
  const sdkAppId = Number(appId);
  const app = apps.get(sdkAppId);
  if (app === undefined) return { ok: false, error: 'APP_UNKNOWN', field: 'sdkappid' };
  const named = onlyOne(query, 'identifier');
  if (!named.ok) return { ...named, app };
  const identifier = parseAccountId(named.value);
  if (!identifier.ok) {
    return { ok: false, error: 'NO_CREDENTIALS', field: 'identifier', reason: identifier.reason, app };
  }
  const userSig = onlyOne(query, 'usersig');
  if (!userSig.ok) return { ...userSig, app };
  const checked = await checkUserSig(sdkAppId, identifier.value, userSig.value);
  if (!checked.ok) return { ok: false, error: checked.error, field: 'usersig', app };
  return { ok: true, app, identifier: identifier.value };
}

function onlyOne(query: URLSearchParams, field: string): { ok: true; value: string } | ImRefusal {
  const [value, ...more] = query.getAll(field);
  if (value !== undefined && more.length === 0) return { ok: true, value };
  const reason = value === undefined ? 'is missing' : 'is given twice';
  return { ok: false, error: 'NO_CREDENTIALS', field, reason };
}
