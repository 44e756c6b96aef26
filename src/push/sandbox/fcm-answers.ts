/** What Google says when it does not take a message, in its own form (FCM HTTP v1, google.rpc.Status). Pure. */

/** An answer as it goes out. */
export interface SandboxAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What of the service's answers can be asked for by its word; {@link fcmRefusal}. */
export const fcmRefusals = [
  'UNREGISTERED',
  /** Of the token: it never was one. */
  'INVALID_ARGUMENT:token',
  /** Of the message. */
  'INVALID_ARGUMENT',
  'SENDER_ID_MISMATCH',
  /** Of the project, as the quota of Google's platform says it, and as FCM itself does; of one device. */
  'QUOTA_EXCEEDED',
  'QUOTA_EXCEEDED:fcm',
  'QUOTA_EXCEEDED:device',
  'UNAVAILABLE',
  'INTERNAL',
  'THIRD_PARTY_AUTH_ERROR',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'UNSPECIFIED_ERROR',
  /** The project, or the path, is not there. */
  'NOT_FOUND',
  /** Of the machines in front of it: a page. */
  '429',
  '502',
  '504',
] as const;
export type FcmRefusal = (typeof fcmRefusals)[number];

const json = { 'content-type': 'application/json; charset=UTF-8' };
const html = { 'content-type': 'text/html; charset=UTF-8' };
const type = (name: string) => `type.googleapis.com/${name}`;

/** The code that FCM adds to Google's own. */
const fcmError = (errorCode: string) => ({ '@type': type('google.firebase.fcm.v1.FcmError'), errorCode });

function errorInfo(reason: string, metadata: Record<string, string> = {}) {
  const domain = 'googleapis.com';
  return {
    '@type': type('google.rpc.ErrorInfo'),
    reason,
    domain,
    metadata: { service: 'fcm.googleapis.com', ...metadata },
  };
}

const quotaFailure = (subject: string, description: string) => ({
  '@type': type('google.rpc.QuotaFailure'),
  violations: [{ subject, description }],
});

/** Any refusal, with its details. */
export function googleError(code: number, status: string, message: string, ...details: object[]): SandboxAnswer {
  const error = { code, message, status, ...(details.length === 0 ? {} : { details }) };
  return { status: code, headers: json, body: JSON.stringify({ error }, undefined, 2) };
}

/** 400 for a field of the message. `isFcm`: FCM's own word on it, not that of the layer which reads the JSON. */
export function badField(field: string, description: string, isFcm = true): SandboxAnswer {
  const violations = { '@type': type('google.rpc.BadRequest'), fieldViolations: [{ field, description }] };
  const details = isFcm ? [fcmError('INVALID_ARGUMENT'), violations] : [violations];
  return googleError(400, 'INVALID_ARGUMENT', description, ...details);
}

/** What it says by that word. `retryAfterSec`: its `Retry-After`. */
export function fcmRefusal(word: FcmRefusal, project: string, retryAfterSec?: number): SandboxAnswer {
  const answer = refusals[word](project);
  if (retryAfterSec === undefined) return answer;
  return { ...answer, headers: { ...answer.headers, 'retry-after': String(retryAfterSec) } };
}

const refusals: Record<FcmRefusal, (project: string) => SandboxAnswer> = {
  UNREGISTERED: () => googleError(404, 'NOT_FOUND', 'Requested entity was not found.', fcmError('UNREGISTERED')),
  'INVALID_ARGUMENT:token': () =>
    badField('message.token', 'The registration token is not a valid FCM registration token'),
  INVALID_ARGUMENT: () => badField('message.android.ttl', 'Invalid value at "message.android.ttl"'),
  SENDER_ID_MISMATCH: () => googleError(403, 'PERMISSION_DENIED', 'SenderId mismatch', fcmError('SENDER_ID_MISMATCH')),
  QUOTA_EXCEEDED: (project) =>
    googleError(
      429,
      'RESOURCE_EXHAUSTED',
      "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute' of service " +
        `'fcm.googleapis.com' for consumer 'projects/${project}'.`,
      errorInfo('RATE_LIMIT_EXCEEDED', {
        consumer: `projects/${project}`,
        quota_metric: 'fcm.googleapis.com/send_requests',
        quota_limit: 'SendsPerMinutePerProject',
        quota_unit: '1/min/{project}',
      }),
    ),
  'QUOTA_EXCEEDED:fcm': (project) =>
    googleError(
      429,
      'RESOURCE_EXHAUSTED',
      'Message rate exceeded.',
      fcmError('QUOTA_EXCEEDED'),
      quotaFailure(`project:${project}`, 'Message rate exceeded'),
    ),
  'QUOTA_EXCEEDED:device': () =>
    googleError(
      429,
      'RESOURCE_EXHAUSTED',
      'Sending limit exceeded for the message target.',
      fcmError('QUOTA_EXCEEDED'),
      quotaFailure('device', 'Device message rate exceeded'),
    ),
  UNAVAILABLE: () => googleError(503, 'UNAVAILABLE', 'The service is currently unavailable.', fcmError('UNAVAILABLE')),
  INTERNAL: () => googleError(500, 'INTERNAL', 'Internal error encountered.', fcmError('INTERNAL')),
  THIRD_PARTY_AUTH_ERROR: () =>
    googleError(401, 'UNAUTHENTICATED', 'Auth error from APNS or Web Push Service', fcmError('THIRD_PARTY_AUTH_ERROR')),
  UNAUTHENTICATED: () => {
    const answer = googleError(
      401,
      'UNAUTHENTICATED',
      'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid ' +
        'authentication credential.',
      errorInfo('ACCESS_TOKEN_EXPIRED'),
    );
    const challenge = 'Bearer realm="https://accounts.google.com/", error="invalid_token"';
    return { ...answer, headers: { ...answer.headers, 'www-authenticate': challenge } };
  },
  PERMISSION_DENIED: (project) =>
    googleError(
      403,
      'PERMISSION_DENIED',
      `Permission 'cloudmessaging.messages.create' denied on resource '//cloudresourcemanager.googleapis.com/projects/${project}' ` +
        '(or it may not exist).',
      errorInfo('IAM_PERMISSION_DENIED', { permission: 'cloudmessaging.messages.create' }),
    ),
  UNSPECIFIED_ERROR: () => googleError(500, 'UNKNOWN', 'Unknown error.', fcmError('UNSPECIFIED_ERROR')),
  NOT_FOUND: () => googleError(404, 'NOT_FOUND', 'Requested entity was not found.'),
  '429': () => page(429, 'Too Many Requests', 'Too many requests came from here.'),
  '502': () =>
    page(502, 'Bad Gateway', 'The server encountered a temporary error and could not complete your request.'),
  '504': () => page(504, 'Gateway Timeout', 'The server did not answer in time.'),
};

function page(status: number, title: string, text: string): SandboxAnswer {
  const body =
    `<!DOCTYPE html>\n<html lang=en>\n  <title>Error ${status} (${title})!!1</title>\n` +
    `  <p><b>${status}.</b> <ins>That’s an error.</ins>\n  <p>${text}<p>Please try again in 30 seconds.\n`;
  return { status, headers: html, body };
}
