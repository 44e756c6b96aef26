import { type RawBuilder, sql } from 'kysely';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import {
  type About,
  aboutBody,
  aboutMessage,
  type Db,
  type LoggedAttempt,
  nameOf,
  readLog,
  readMessages,
} from './events.ts';

/** An event that was given up. */
export interface DeadLetter {
  /** Its place among dead letters; `eventId` is what people name it by. */
  readonly no: number;
  readonly eventId: number;
  readonly originId: number;
  readonly command: AfterCommand;
  readonly drainKey: string;
  /** A word of a fixed set: `too-old`, `failing-alone`, … */
  readonly reason: string;
  readonly url: string | undefined;
  readonly status: number | undefined;
  readonly attempts: number;
  readonly log: readonly LoggedAttempt[];
  readonly createdMs: number;
  readonly diedMs: number;
  readonly message: { readonly conversationId: number; readonly seq: number } | undefined;
  readonly about: About;
  /** What was sent, and what came, cut; content, so not for everybody. */
  readonly content: DeadContent;
}

export interface DeadContent {
  /** JSON text; undefined: its message had expired. */
  readonly requestBody: string | undefined;
  readonly origin: string | undefined;
  readonly responseText: string | undefined;
}

interface LetterRow {
  id: number;
  outbox_id: number;
  origin_id: number;
  command: AfterCommand;
  drain_key: string;
  conversation_id: number | null;
  seq: number | null;
  reason: string;
  request_body: string | null;
  origin: string | null;
  url: string | null;
  response_status: number | null;
  response_text: string | null;
  attempts: number;
  attempt_log: string | null;
  created_ms: number;
  died_ms: number;
}

/** Dead letters `d` of an app for which it holds, the newest first. */
export async function readLetters(
  db: Db,
  sdkAppId: SdkAppId,
  where: RawBuilder<unknown>,
  limit: number,
): Promise<DeadLetter[]> {
  const { rows } = await sql<LetterRow>`
    select * from dead_letter d where d.sdk_app_id = ${sdkAppId} and ${where} order by d.id desc limit ${limit}`.execute(
    db,
  );
  const messages = await readMessages(
    db,
    rows.flatMap(({ conversation_id: conversationId, seq }) =>
      conversationId === null || seq === null ? [] : { conversationId, seq, day: undefined },
    ),
  );
  return rows.map((row) => {
    const { conversation_id: conversationId, seq } = row;
    const message = conversationId === null || seq === null ? undefined : { conversationId, seq };
    const found = message === undefined ? undefined : messages.get(nameOf(message));
    return {
      no: row.id,
      eventId: row.outbox_id,
      originId: row.origin_id,
      command: row.command,
      drainKey: row.drain_key,
      reason: row.reason,
      url: row.url ?? undefined,
      status: row.response_status ?? undefined,
      attempts: row.attempts,
      log: readLog(row.attempt_log),
      createdMs: row.created_ms,
      diedMs: row.died_ms,
      message,
      about:
        found === undefined
          ? aboutBody(row.command, row.request_body === null ? null : JSON.stringify({ raw: row.request_body }))
          : aboutMessage(found),
      content: {
        requestBody: row.request_body ?? undefined,
        origin: row.origin ?? undefined,
        responseText: row.response_text ?? undefined,
      },
    };
  });
}
