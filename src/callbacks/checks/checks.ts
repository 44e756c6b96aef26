import { Check } from 'typebox/value';
import type { Clock } from '../../auth/index.ts';
import {
  type AppSettings,
  CallbacksSchema,
  callbackSecrets,
  type Database,
  type Refusal,
  type Result,
} from '../../store/index.ts';
import { type CallbackCommand, callbackCommands, callbackFields } from '../../wire/index.ts';
import { isBase64 } from '../dry-run/base64.ts';
import { type Diagnosis, diagnose, type Received } from '../dry-run/diagnose.ts';
import type { Poster } from '../endpoint/poster.ts';
import { readSent } from './sent-record.ts';
import { sendTestEvent, type TestReport, testEndpoint } from './test-event.ts';

/** What the developers of a backend try out. Input comes from people: what is wrong with it is told by field. */
export interface CallbackChecks {
  /**
   * Why a callback did not verify (K5). `{headers, body | bodyBase64, receivedAt?, computed?}`: as the backend received it, when, and
   * the signature that it computed itself.
   */
  verify(app: AppSettings, input: unknown): Promise<Result<Diagnosis>>;
  /** Sends a callback that nothing caused. `{command?, url?, send?}`; `send: false` only shows it. */
  test(app: AppSettings, input: unknown): Promise<Result<TestReport>>;
}

export interface CallbackChecksDeps {
  db: Database;
  poster: Pick<Poster, 'prepare' | 'post'>;
  clock: Clock;
  randomUuid: () => string;
}

const maxHeaders = 200;

export function createCallbackChecks(deps: CallbackChecksDeps): CallbackChecks {
  return {
    verify: (app, input) => verifyReceived(deps, app, input),
    test: (app, input) => testBackend(deps, app, input),
  };
}

/** @param db where what was sent is looked up; without it nothing is */
export async function verifyReceived(
  { db, clock }: { db?: Database; clock: Clock },
  app: AppSettings | { secrets: readonly string[] },
  input: unknown,
): Promise<Result<Diagnosis>> {
  const received = readReceived(input);
  if (!received.ok) return received;
  const { headers } = received.value;
  const id = Object.entries(headers).find(([name]) => name.toLowerCase() === callbackFields.id)?.[1];
  const isKnown = db !== undefined && 'sdkAppId' in app && typeof id === 'string';
  const sent = isKnown ? await readSent(db, app, id.trim()) : undefined;
  const secrets = 'secrets' in app ? app.secrets : callbackSecrets(app);
  const value = diagnose({ ...received.value, secrets, nowMs: clock(), ...(sent === undefined ? {} : { sent }) });
  return { ok: true, value };
}

export async function testBackend(
  { poster, clock, randomUuid }: Omit<CallbackChecksDeps, 'db'>,
  app: AppSettings,
  input: unknown,
): Promise<Result<TestReport>> {
  const event = readTest(app, input);
  if (!event.ok) return event;
  const { command, url, isSent } = event.value;
  const endpoint = testEndpoint({ app, command, url });
  if (endpoint === undefined) {
    const missing = app.callbacks.secret === undefined ? 'secret' : 'url';
    const reason = 'of the app is missing, so that it has no callbacks to test';
    return { ok: false, code: 'INVALID_FIELD', field: `callbacks.${missing}`, reason };
  }
  const webhookId = `cb_test_${randomUuid()}`;
  const value = await sendTestEvent(poster, { app, command, url, webhookId, nowMs: clock(), endpoint, isSent });
  return { ok: true, value };
}

type Given = Pick<Received, 'body' | 'receivedMs' | 'computed'> & { headers: Record<string, string | string[]> };

function readReceived(input: unknown): Result<Given> {
  const fields = readMap(input, ['headers', 'body', 'bodyBase64', 'receivedAt', 'computed']);
  if (!fields.ok) return fields;
  const { headers, body, bodyBase64, receivedAt, computed } = fields.value;
  const isText = (value: unknown) => typeof value === 'string';
  if (
    !isMap(headers) ||
    Object.keys(headers).length > maxHeaders ||
    !Object.values(headers).every((value) => isText(value) || (Array.isArray(value) && value.every(isText)))
  ) {
    const allowed = `an object of at most ${maxHeaders} header fields, each a text or a list of texts`;
    return refused('headers', headers === undefined ? 'is missing' : 'is no object of header fields', allowed);
  }
  const given = [body, bodyBase64].filter((value) => value !== undefined);
  if (given.length !== 1 || !isText(given[0])) {
    return refused('body', 'must be given once', 'body: the text as received; or bodyBase64: its bytes in base64');
  }
  if (isText(bodyBase64) && !isBase64(bodyBase64 as string)) {
    return refused('bodyBase64', 'is no base64', 'the bytes of the body in base64');
  }
  if (computed !== undefined && (!isText(computed) || (computed as string).length > 500)) {
    return refused('computed', 'must be a text', 'the signature that the backend computed, at most 500 characters');
  }
  const receivedMs = receivedAt === undefined ? undefined : readMoment(receivedAt);
  if (receivedAt !== undefined && receivedMs === undefined) {
    return refused('receivedAt', 'is no time', 'an ISO 8601 date with its zone, or Unix seconds');
  }
  const bytes = isText(body) ? Buffer.from(body as string) : Buffer.from(bodyBase64 as string, 'base64');
  return {
    ok: true,
    value: {
      headers: headers as Given['headers'],
      body: bytes,
      ...(receivedMs === undefined ? {} : { receivedMs }),
      ...(computed === undefined ? {} : { computed: computed as string }),
    },
  };
}

function readTest(
  { callbacks }: AppSettings,
  input: unknown,
): Result<{ command: CallbackCommand; url: string | undefined; isSent: boolean }> {
  const fields = readMap(input ?? {}, ['command', 'url', 'send']);
  if (!fields.ok) return fields;
  const first = callbacks.events === 'all' ? undefined : callbacks.events[0];
  const { command = first ?? 'C2C.CallbackAfterSendMsg', url, send = true } = fields.value;
  if (!(callbackCommands as readonly unknown[]).includes(command)) {
    return refused('command', 'is no callback command', callbackCommands.join(', '));
  }
  if (
    url !== undefined &&
    (typeof url !== 'string' || !Check(CallbacksSchema.properties.url, url) || !URL.canParse(url))
  ) {
    return refused('url', 'is no URL for callbacks', 'http://… or https://…, without user name and fragment');
  }
  if (typeof send !== 'boolean') return refused('send', 'must be true or false', 'true, false');
  return { ok: true, value: { command: command as CallbackCommand, url, isSent: send } };
}

function readMap(input: unknown, known: readonly string[]): Result<Record<string, unknown>> {
  if (!isMap(input)) {
    return { ok: false, code: 'BAD_REQUEST', reason: 'the body must be an object', allowed: known.join(', ') };
  }
  const stray = Object.keys(input).find((name) => !known.includes(name));
  if (stray !== undefined) return refused(stray.slice(0, 100), 'is not a known field', known.join(', '));
  return { ok: true, value: input };
}

function readMoment(value: unknown): number | undefined {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0 && value < 1e11) return value * 1_000;
  if (typeof value !== 'string') return undefined;
  if (/^[0-9]{1,11}$/.test(value)) return Number(value) * 1_000;
  // Without a zone a date would be read by that of this machine.
  const ms = /(?:Z|GMT|[+-][0-9]{2}:?[0-9]{2})$/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refused(field: string, reason: string, allowed: string): Refusal {
  return { ok: false, code: 'INVALID_FIELD', field, reason, allowed };
}
