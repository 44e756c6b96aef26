import type { Case } from '../messages.ts';

const statuses = [
  '201 Created',
  '202 Accepted',
  '203 Non-Authoritative Information',
  '204 No Content',
  '205 Reset Content',
  '299 Strange',
  '300 Multiple Choices',
  '301 Moved Permanently',
  '302 Found',
  '303 See Other',
  '307 Temporary Redirect',
  '308 Permanent Redirect',
  '399 Strange',
  '400 Bad Request',
  '401 Unauthorized',
  '403 Forbidden',
  '404 Not Found',
  '405 Method Not Allowed',
  '410 Gone',
  '414 URI Too Long',
  '421 Misdirected Request',
  '429 Too Many Requests',
  '451 Unavailable For Legal Reasons',
  '499 Strange',
  '500 Internal Server Error',
  '501 Not Implemented',
  '502 Bad Gateway',
  '503 Service Unavailable',
  '504 Gateway Timeout',
  '599 Strange',
];

/** With an explicit lifetime the RFC lets every final status be stored (RFC 9111 §3); mode qal knows 200 alone (C2). */
export const statusCases: Case[] = statuses.map((status) => ({
  id: `status-${status.slice(0, 3)}`,
  section: 'RFC 9111 §3',
  name: `[C2] ${status} with max-age: stored by the RFC, not in mode qal`,
  steps: [
    {
      origin: {
        status,
        fields: ['Cache-Control: max-age=60', 'X-Kept: 1'],
        ...(status.startsWith('205') ? { body: '' } : {}),
      },
      from: 'origin',
      cs: 'fwd=uri-miss; stored',
      qal: { cs: '!stored' },
    },
    { after: 59, from: 'cache', age: 59, fields: { 'X-Kept': '1' }, qal: { from: 'origin' } },
    { after: 1, from: 'origin' },
  ],
}));
