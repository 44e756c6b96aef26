import type { Test } from 'tap';
import { type CallbackAdmin, createAdmin, createPauses, type Pauses } from '../../src/callbacks/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { type AppSettings, type ControlBus, createControlBus, type Database } from '../../src/store/index.ts';
import { completeApp } from './app-settings.ts';
import { makeTestLogger } from './database.ts';

export const callbackKey = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

/** An app that wants all callbacks at one URL. */
export function appWithCallbacks(sdkAppId: number, callbacks: object = {}): AppSettings {
  return completeApp({
    sdkAppId,
    secret: 'a secret of sixteen or more',
    im: { commandPerSec: 0, appPerSec: 0 },
    callbacks: { url: 'https://backend.example.com/cb?k=hidden', secret: callbackKey, events: 'all', ...callbacks },
  });
}

export interface TestAdmin {
  admin: CallbackAdmin;
  pauses: Pauses;
  control: ControlBus;
  /** What this process knows of circuits. */
  circuits: { open: Set<string> };
}

/** What operators use, on a test's database, as a process of its own has it. */
export async function openAdmin(t: Test, db: Database, clock: () => number = Date.now): Promise<TestAdmin> {
  const { logger } = makeTestLogger();
  const control = createControlBus(db, { logger });
  await control.ready();
  const pauses = await createPauses({ db, control, clock, logger, metrics: createMetrics() });
  t.teardown(async () => {
    await pauses.close();
    await control.close();
  });
  const circuits = { open: new Set<string>() };
  const admin = createAdmin({
    db,
    control,
    pauses,
    clock,
    logger,
    circuits: () => ({
      before: [],
      after: [...circuits.open].map((endpointId) => ({
        endpointId,
        url: '',
        state: 'open' as const,
        inFlight: 0,
        parkedLanes: 3,
        lastSuccessMs: undefined,
      })),
    }),
  });
  return { admin, pauses, control, circuits };
}

export interface TestEvent {
  app?: number;
  key: string;
  command?: string;
  body?: object | null;
  atMs?: number;
  message?: { conversationId: number; seq: number };
  state?: 'waiting' | 'delivered' | 'dead' | 'dropped' | 'superseded';
  attempts?: number;
  nextAttemptMs?: number;
  log?: object[];
  status?: number;
  originId?: number;
}

/** Writes an entry of the outbox as it would be after what is said of it. Gives its number. */
export async function writeEvent(db: Database, app: number, event: TestEvent): Promise<number> {
  const { key, command = 'State.StateChange', atMs = Date.now(), message, state = 'waiting', attempts = 0 } = event;
  const { rows } = await db.pool.query<{ id: number }>(
    `insert into outbox (day, consumer, sdk_app_id, drain_key, event, conversation_id, seq, body, created_ms, next_attempt_ms,
       attempts, done_ms, outcome, status, took_ms, attempt_log, origin_id)
     values ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) returning id`,
    [
      Math.floor(atMs / 86_400_000),
      event.app ?? app,
      key,
      command,
      message?.conversationId ?? null,
      message?.seq ?? null,
      event.body === null ? null : JSON.stringify(event.body ?? stateBody('alice')),
      atMs,
      event.nextAttemptMs ?? 0,
      attempts,
      state === 'waiting' ? null : atMs + 50,
      state === 'waiting' ? null : state,
      event.status ?? null,
      event.status === undefined ? null : 12,
      event.log === undefined ? null : JSON.stringify(event.log),
      event.originId ?? null,
    ],
  );
  return rows[0]?.id ?? 0;
}

export const stateBody = (account: string, state = 'offline') => ({
  account,
  platform: 'Android',
  state,
  reason: state === 'offline' ? 'timeout' : 'login',
  timeMs: Date.now(),
});

/** Makes a dead letter of an event, as the relay does. */
export async function bury(
  db: Database,
  app: number,
  eventId: number,
  letter: { reason?: string; request?: string | null; response?: string; createdMs?: number; log?: object[] } = {},
): Promise<void> {
  await db.pool.query(
    `with o as (update outbox set done_ms = $3, outcome = 'dead' where id = $1 returning *)
     insert into dead_letter (sdk_app_id, outbox_id, origin_id, command, drain_key, conversation_id, seq, reason, request_body, origin,
       url, response_status, response_text, attempts, attempt_log, created_ms, died_ms)
     select $2, id, coalesce(origin_id, id), event, drain_key, conversation_id, seq, $4, $5, '{"platform":"Android","address":"1.2.3.4"}',
       'https://backend.example.com/cb?k=hidden', 500, $6, 7, $7, coalesce($8, created_ms), $3 from o`,
    [
      eventId,
      app,
      Date.now(),
      letter.reason ?? 'failing-alone',
      letter.request === undefined
        ? '{"CallbackCommand":"State.StateChange","Info":{"To_Account":"alice"}}'
        : letter.request,
      letter.response ?? 'an error page',
      JSON.stringify(letter.log ?? [{ atMs: Date.now(), tookMs: 4, status: 500 }]),
      letter.createdMs ?? null,
    ],
  );
}
