import t from 'tap';
import { readAnswer } from '../../src/push/apns/answers.ts';
import { apnsReasons } from '../../src/push/apns/reasons.ts';

const nowMs = Date.UTC(2026, 10, 26, 12);

function read(
  status: number,
  body: object | string,
  more: { retryAfter?: string; environment?: 'production' | 'sandbox' } = {},
) {
  const answer = {
    status,
    id: 'AAAA',
    retryAfter: more.retryAfter,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  };
  const { outcome, connection } = readAnswer(answer, more.environment ?? 'production', nowMs);
  return { ...outcome, connection };
}

type Expected = Record<string, unknown>;
const gone = (isSure: boolean, sinceMs?: number): Expected => ({ kind: 'gone', isSure, sinceMs, connection: 'good' });
const bad: Expected = { kind: 'bad', connection: 'good' };
const halt: Expected = { kind: 'halt', connection: 'spent' };
const retry = (scope: string, afterMs: number, connection = 'good', isSure = true): Expected => ({
  kind: 'retry',
  scope,
  afterMs,
  isSure,
  connection,
});

/** PUSH §1.5, line by line. */
const table: Record<keyof typeof apnsReasons, Expected> = {
  Unregistered: gone(true, 1_700_000_000_123),
  ExpiredToken: gone(true, 1_700_000_000_123),
  BadDeviceToken: gone(false),
  DeviceTokenNotForTopic: gone(false),
  PayloadTooLarge: bad,
  BadCollapseId: bad,
  BadExpirationDate: bad,
  BadMessageId: bad,
  BadPriority: bad,
  BadTopic: bad,
  DuplicateHeaders: bad,
  InvalidPushType: bad,
  MissingDeviceToken: bad,
  MissingTopic: bad,
  PayloadEmpty: bad,
  TopicDisallowed: bad,
  BadPath: bad,
  MethodNotAllowed: bad,
  IdleTimeout: retry('push', 0, 'spent'),
  ExpiredProviderToken: retry('push', 0),
  InvalidProviderToken: halt,
  MissingProviderToken: halt,
  BadCertificate: halt,
  BadCertificateEnvironment: halt,
  BadEnvironmentKeyInToken: halt,
  Forbidden: halt,
  TooManyRequests: retry('device', 30_000),
  TooManyProviderTokenUpdates: retry('push', 1_000, 'spent'),
  InternalServerError: { ...retry('push', 15_000, 'good', false), againMs: 900_000 },
  ServiceUnavailable: retry('push', 1_000, 'spent'),
  Shutdown: retry('push', 1_000, 'spent'),
};

t.test('[S7] every reason of APNs has its outcome', async (t) => {
  for (const [reason, expected] of Object.entries(table)) {
    const status = apnsReasons[reason as keyof typeof apnsReasons];
    const outcome = read(status, status === 410 ? { reason, timestamp: 1_700_000_000_123 } : { reason });
    t.match(outcome, { reason, status, ...expected }, reason);
    t.equal('sinceMs' in outcome && outcome.sinceMs, expected.kind === 'gone' && expected.sinceMs, `${reason}, since`);
  }
});

t.test('what APNs took', async (t) => {
  t.same(read(200, ''), { kind: 'ok', id: 'AAAA', status: 200, connection: 'good' });
});

t.test('[S7] a token is not given up where the time since when is none', async (t) => {
  for (const timestamp of [undefined, null, 'yesterday', 1.5, {}]) {
    t.match(read(410, { reason: 'Unregistered', timestamp }), { kind: 'gone', sinceMs: undefined });
  }
});

t.test('reasons that are not in the documents are judged by their status', async (t) => {
  t.match(read(400, { reason: 'BadSomething' }), { ...bad, reason: 'BadSomething' });
  t.match(read(403, { reason: 'UnrelatedKeyIdInToken' }), { kind: 'halt', reason: 'UnrelatedKeyIdInToken' });
  t.match(read(410, { reason: 'Vanished', timestamp: 5 }), gone(true, 5));
  t.match(read(429, { reason: 'SlowDown' }), retry('device', 30_000));
  t.match(read(500, { reason: 'Oops' }), retry('push', 15_000, 'good', false));
  t.match(read(503, { reason: 'Maintenance' }), retry('push', 1_000));
  t.match(read(418, { reason: 'Teapot' }), bad);
});

t.test(
  '[S7] what is no answer of APNs decides nothing: no token is dropped, no push given up, nothing halted',
  async (t) => {
    const pages = [
      '',
      '<html>502 Bad Gateway</html>',
      '{',
      '[]',
      'null',
      '"Unregistered"',
      '{"reason":7}',
      '{"reason":"no such"}',
    ];
    for (const body of pages) {
      for (const status of [302, 400, 403, 404, 410, 413, 429]) {
        t.match(read(status, body), { ...retry('push', 15_000), reason: `http-${status}` }, `${status} ${body}`);
      }
      for (const status of [204, 500, 502, 504]) {
        t.match(
          read(status, body),
          { ...retry('push', 15_000, 'good', false), reason: `http-${status}` },
          `${status} ${body}`,
        );
      }
      t.match(read(503, body), retry('push', 15_000, 'spent'));
    }
    t.match(read(400, { reason: 'x'.repeat(65) }), { kind: 'retry', reason: 'http-400' });
  },
);

t.test('[S7] `retry-after` in seconds and as a date, an hour at most; it concerns everybody', async (t) => {
  const after = (retryAfter: string) => read(503, { reason: 'ServiceUnavailable' }, { retryAfter });
  t.match(after('30'), retry('channel', 30_000, 'spent'));
  t.match(after('0'), retry('channel', 1_000, 'spent'), 'never sooner than without');
  t.match(after('99999999'), retry('channel', 3_600_000, 'spent'));
  t.match(after('Thu, 26 Nov 2026 12:02:00 GMT'), retry('channel', 120_000, 'spent'));
  t.match(after('Thu, 26 Nov 2026 11:02:00 GMT'), retry('channel', 1_000, 'spent'), 'a date that is over');
  for (const wrong of ['soon', '', '-5', '1.5', '1e3']) {
    t.match(after(wrong), retry('push', 1_000, 'spent'), `${wrong}: none that can be read`);
  }
  t.match(read(429, { reason: 'TooManyRequests' }, { retryAfter: '90' }), retry('device', 90_000));
  t.match(read(502, 'page', { retryAfter: '60' }), retry('channel', 60_000, 'good', false));
});

t.test("what concerns developers' phones alone holds up nobody else", async (t) => {
  const environment = 'sandbox';
  t.match(read(403, { reason: 'BadCertificateEnvironment' }, { environment }), { kind: 'bad', connection: 'spent' });
  t.match(read(403, { reason: 'BadEnvironmentKeyInToken' }, { environment }), { kind: 'bad', connection: 'spent' });
  t.match(read(403, { reason: 'InvalidProviderToken' }, { environment }), halt);
  t.match(read(503, { reason: 'Shutdown' }, { environment, retryAfter: '30' }), retry('push', 30_000, 'spent'));
  t.match(read(503, 'page', { environment, retryAfter: '30' }), retry('push', 30_000, 'spent'));
});
