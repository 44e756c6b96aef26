import { type RawBuilder, sql } from 'kysely';
import type { CallbackCommand, SdkAppId } from '../../wire/index.ts';
import type { Trace } from '../traces.ts';
import { type Db, withoutUndefined } from './events.ts';

export interface WrittenTrace extends Trace {
  readonly id: number;
}

interface TraceRow {
  id: number;
  at_ms: number;
  command: CallbackCommand;
  outcome: string;
  detail: string | null;
  took_ms: number | null;
  url: string | null;
  from_account: string | null;
  to_account: string | null;
  group_id: string | null;
  message_key: string | null;
  webhook_id: string | null;
}

/** Traces `t` of an app for which it holds, the newest first. */
export async function readTraces(
  db: Db,
  sdkAppId: SdkAppId,
  where: RawBuilder<unknown>,
  limit: number,
): Promise<WrittenTrace[]> {
  const { rows } = await sql<TraceRow>`
    select * from callback_trace t where t.sdk_app_id = ${sdkAppId} and ${where}
    order by t.at_ms desc, t.id desc limit ${limit}`.execute(db);
  return rows.map((row) =>
    withoutUndefined<WrittenTrace>({
      id: row.id,
      sdkAppId,
      atMs: row.at_ms,
      command: row.command,
      outcome: row.outcome,
      detail: row.detail ?? undefined,
      tookMs: row.took_ms ?? undefined,
      url: row.url ?? undefined,
      from: row.from_account ?? undefined,
      to: row.to_account ?? undefined,
      groupId: row.group_id ?? undefined,
      messageKey: row.message_key ?? undefined,
      webhookId: row.webhook_id ?? undefined,
    }),
  );
}
