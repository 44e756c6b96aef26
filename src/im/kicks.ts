import type { Logger } from '../observe/index.ts';
import type { ControlBus, Database } from '../store/index.ts';
import type { AccountId, SdkAppId } from '../wire/index.ts';
import type { Account, AccountNo } from './model.ts';
import type { Accounts, Presence } from './services.ts';

/**
 * Whoever kicks, by command line or ops API, ends links, too, not only sessions (I4): those whose UserSig is no good any
 * more. A kick that the bus did not tell of is found when it listens again.
 */
export function createKicks(deps: {
  db: Database;
  control: ControlBus;
  accounts: Pick<Accounts, 'find'>;
  presence: Pick<Presence, 'endAll'>;
  /** Of this process. */
  nodeId: string;
  logger: Logger;
}): { close(): void } {
  const { db, control, accounts, presence, nodeId, logger } = deps;

  async function onKick(payload: unknown): Promise<void> {
    const { scope, sdkAppId, subject, revokedBeforeMs } = payload as Record<string, unknown>;
    if (scope !== 'account' || typeof revokedBeforeMs !== 'number') return;
    const account = await accounts.find(sdkAppId as SdkAppId, subject as AccountId);
    if (account !== undefined) await presence.endAll(account, 'kicked-by-admin', Math.floor(revokedBeforeMs / 1_000));
  }

  /** Links of this process that a kick should have ended. */
  async function lookForMissed(): Promise<void> {
    const { rows } = await db.pool.query<{ no: AccountNo; sdk_app_id: SdkAppId; identifier: AccountId; until: number }>(
      `select distinct a.id as no, a.sdk_app_id, a.identifier, floor(extract(epoch from r.revoked_before))::bigint as until
       from terminal t
       join account a on a.id = t.account_id
       join session_revocation r
         on r.sdk_app_id = a.sdk_app_id and r.scope = 'account' and r.subject = a.identifier
       where t.node_id = $1 and t.issued_sec <= floor(extract(epoch from r.revoked_before))`,
      [nodeId],
    );
    for (const { no, sdk_app_id: sdkAppId, identifier, until } of rows) {
      const account: Account = { no, sdkAppId, identifier };
      await presence.endAll(account, 'kicked-by-admin', until);
    }
  }

  const reporting = (work: Promise<void>) => {
    work.catch((error: unknown) => logger.error({ err: error }, 'im.kick.failed'));
  };
  const stops = [
    control.subscribe('revocations', (payload) => reporting(onKick(payload))),
    control.onReconnect(() => reporting(lookForMissed())),
  ];
  return {
    close() {
      for (const stop of stops) stop();
    },
  };
}
