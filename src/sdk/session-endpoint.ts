import { type DeviceReport, type NetworkReport, type SdkAppId, sessionHeader } from '../wire/index.ts';
import { within } from './deadline.ts';
import { QalError, refusalError } from './error.ts';
import type { QalLimits } from './limits.ts';
import { exchange, type Fetch, readSmall } from './transport.ts';

/** The terminal's proof that it is the same as before (A3). */
export interface Terminal {
  readonly id: string;
  readonly secret: string;
}

export interface SessionQuestion {
  readonly sdkAppId: SdkAppId;
  readonly identifier: string | undefined;
  readonly userSig: string | undefined;
  readonly terminal: Terminal | undefined;
  readonly device: DeviceReport;
  readonly network: NetworkReport;
}

export interface SessionAnswer {
  readonly session: string;
  readonly qalIdentifier: string;
  readonly terminal: Terminal;
  readonly expiresInSec: number;
}

/** The three calls of docs/reference/sessions.md. They reject with a QalError. */
export interface SessionEndpoint {
  create(question: SessionQuestion, signal: AbortSignal): Promise<SessionAnswer>;
  /** @returns the session to use from now on; it ends when the other would have */
  updateNetwork(session: string, network: NetworkReport, signal: AbortSignal): Promise<string>;
  end(session: string): Promise<void>;
}

const answerBytes = 65_536;

export function createSessionEndpoint(
  fetch: Fetch,
  baseUrl: URL,
  limits: Pick<QalLimits, 'sessionTimeoutMs'>,
): SessionEndpoint {
  const url = new URL('/.qal/v1/session', baseUrl).href;

  function call(
    method: string,
    path: string,
    { session, body, signal }: { session?: string; body?: unknown; signal?: AbortSignal },
  ): Promise<Record<string, unknown>> {
    const ms = limits.sessionTimeoutMs;
    return within(ms, 'the session endpoint', signal, async (inTime) => {
      const { response, body: stream } = await exchange(
        fetch,
        url + path,
        {
          method,
          headers: {
            ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
            ...(session === undefined ? {} : { [sessionHeader]: session }),
          },
          body: JSON.stringify(body) ?? null,
          cache: 'no-store',
          credentials: 'omit',
          // Whoever answers with a redirect is not the access service, and is not to get what is in here.
          redirect: 'error',
        },
        ms,
        inTime,
      );
      const text = new TextDecoder().decode(await readSmall(stream, answerBytes));
      if (!response.ok) throw refusalError(response.status, text, response.headers.get('retry-after'));
      return parseObject(text);
    });
  }

  return {
    async create(body, signal) {
      const { session, qalIdentifier, terminal, expiresIn } = await call('POST', '', { body, signal });
      const { id, secret } = Object(terminal) as Record<string, unknown>;
      return {
        session: readText(session),
        qalIdentifier: readText(qalIdentifier),
        terminal: { id: readText(id), secret: readText(secret) },
        expiresInSec: Number.isFinite(expiresIn) ? (expiresIn as number) : refuse(),
      };
    },
    async updateNetwork(session, body, signal) {
      return readText((await call('PUT', '/network', { session, body, signal })).session);
    },
    async end(session) {
      await call('DELETE', '', { session });
    },
  };
}

function parseObject(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text || '{}')) as Record<string, unknown>;
  } catch {
    return refuse();
  }
}

/** What goes into a header or into the storage: printable ASCII. */
function readText(value: unknown): string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,8192}$/.test(value) ? value : refuse();
}

function refuse(): never {
  throw new QalError('BAD_RESPONSE', 'not an answer of the session endpoint');
}
