/** Files of one folder, with the validators that a cache needs (ETag, Last-Modified). No ranges, no listings. */
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';

const contentTypes: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/**
 * Path of a file inside the folder for a percent-encoded URL path, or undefined where none may be read: outside of the
 * folder (dots, encoded slashes, symbolic links), hidden, or not there.
 */
export async function resolveFile(folder: string, urlPath: string): Promise<string | undefined> {
  let path: string;
  try {
    path = decodeURIComponent(urlPath);
  } catch {
    return undefined;
  }
  if (path.includes('\0') || path.includes('\\')) return undefined;
  if (path.split('/').some((segment) => segment.startsWith('.'))) return undefined;
  try {
    const root = await realpath(folder);
    const real = await realpath(resolve(root, join('.', path)));
    return real.startsWith(root + sep) ? real : undefined;
  } catch {
    return undefined;
  }
}

/** Answers GET and HEAD for a file: 200, 304 where the client's copy is current, 404, 405. */
export async function serveFile(
  request: IncomingMessage,
  response: ServerResponse,
  folder: string,
  urlPath: string,
  cacheControl = 'public, max-age=60',
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { Allow: 'GET, HEAD' }).end();
    return;
  }
  const path = await resolveFile(folder, urlPath);
  const file = path === undefined ? undefined : await open(path).catch(() => undefined);
  if (path === undefined || file === undefined) {
    response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('no such file\n');
    return;
  }
  try {
    const contentType = contentTypes[extname(path)] ?? 'application/octet-stream';
    await sendFile(request, response, file, { contentType, cacheControl });
  } finally {
    await file.close();
  }
}

async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: FileHandle,
  { contentType, cacheControl }: { contentType: string; cacheControl: string },
): Promise<void> {
  const stats = await file.stat();
  if (!stats.isFile()) {
    response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('no such file\n');
    return;
  }
  const etag = etagOf(stats);
  const headers = { ETag: etag, 'Last-Modified': stats.mtime.toUTCString(), 'Cache-Control': cacheControl };
  if (isCurrent(request, etag, stats)) {
    response.writeHead(304, headers).end();
    return;
  }
  response.writeHead(200, { ...headers, 'Content-Type': contentType, 'Content-Length': stats.size });
  if (request.method === 'HEAD' || stats.size === 0) {
    response.end();
    return;
  }
  // `end`: a file that grows while it is sent must not go past its Content-Length.
  await pipeline(file.createReadStream({ autoClose: false, end: stats.size - 1 }), response);
}

function etagOf(stats: Stats): string {
  return `"${createHash('sha256').update(`${stats.ino}-${stats.size}-${stats.mtimeMs}`).digest('base64url').slice(0, 22)}"`;
}

/** RFC 9110 §13.2.2: If-None-Match decides where it stands, else If-Modified-Since. */
function isCurrent(request: IncomingMessage, etag: string, stats: Stats): boolean {
  const tags = request.headers['if-none-match'];
  if (tags !== undefined) {
    return tags.split(',').some((tag) => ['*', etag].includes(tag.trim().replace(/^W\//, '')));
  }
  const since = Date.parse(request.headers['if-modified-since'] ?? '');
  return Number.isFinite(since) && Math.floor(stats.mtimeMs / 1_000) <= since / 1_000;
}
