import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, type ErrorDetail, errorBody, errorCatalogue } from '../wire/index.ts';

const reasonPhrases: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

interface Rendered {
  status: number;
  reason: string;
  body: string;
  headers: string[];
}

function render(code: ErrorCode, detail: ErrorDetail): Rendered {
  const { status, retryable } = errorCatalogue[code];
  const body = JSON.stringify(errorBody(code, detail));
  const headers = [
    'Content-Type',
    'application/json; charset=utf-8',
    'Content-Length',
    String(Buffer.byteLength(body)),
    'Cache-Control',
    'no-store',
  ];
  // RFC 9110 §11.6.1: a 401 names how to authenticate.
  if (status === 401) headers.push('WWW-Authenticate', 'QAL-Session');
  if (retryable && (status === 503 || status === 429)) headers.push('Retry-After', '1');
  return { status, reason: reasonPhrases[status] ?? '', body, headers };
}

/** Is the fault on the upstream's side? */
export function isUpstreamError(code: ErrorCode): boolean {
  return code.startsWith('UPSTREAM_');
}

/** Answers an error of ours as JSON. The head must not have been sent. */
export function sendError(res: ServerResponse, code: ErrorCode, detail: ErrorDetail): void {
  const { status, reason, body, headers } = render(code, detail);
  res.writeHead(status, reason, headers);
  res.end(body);
}

/** Answers an error on a bare socket and closes it; for requests that never became one, and for upgrades. */
export function sendRawError(socket: Socket, code: ErrorCode, detail: ErrorDetail): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const { status, reason, body, headers } = render(code, detail);
  let head = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`;
  socket.end(`${head}Date: ${new Date().toUTCString()}\r\nConnection: close\r\n\r\n${body}`);
  closeLater(socket);
}

/** Ends a connection in a way that its reader cannot take for the end of a message. */
export function cut(socket: Socket): void {
  if ('encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}

/** Time for a client to read the answer before its unread bytes make the kernel reset the connection. */
const lingerMs = 1_000;

/** Discards what still comes for a moment, then closes. */
export function closeLater(socket: Socket): void {
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  socket.once('close', () => clearTimeout(timer));
}
