/** The SDK as modules, from the sources with their types stripped. A real page would bundle `qalgate/sdk`. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { resolveFile } from './static-files.ts';

const sources = fileURLToPath(new URL('../../src', import.meta.url));
/** The parts of the sources that a page may have: what runs in browsers. */
const servedSource = /^(?:sdk|sdk\/im(?:\/groups)?|wire|cache\/core)\/[a-z0-9-]+\.ts$/;

interface Module {
  mtimeMs: number;
  etag: string;
  text: string;
}

/** Those that were asked for; there are no more of them than there are sources. */
const modules = new Map<string, Module>();

/** @param path of a module within `src/` */
export async function serveSdkSource(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
  const file = servedSource.test(path) ? await resolveFile(sources, path) : undefined;
  if (file === undefined) {
    response.writeHead(404).end();
    return;
  }
  const { etag, text } = await readModule(file);
  // There are dozens of them: a page that is loaded again asks for each, and gets none.
  const headers = { ETag: etag, 'Cache-Control': 'no-cache', 'X-Content-Type-Options': 'nosniff' };
  if (request.headers['if-none-match']?.includes(etag) === true) {
    response.writeHead(304, headers).end();
    return;
  }
  response.writeHead(200, { ...headers, 'Content-Type': 'text/javascript; charset=utf-8' });
  response.end(request.method === 'HEAD' ? undefined : text);
}

async function readModule(file: string): Promise<Module> {
  const { mtimeMs } = await stat(file);
  const known = modules.get(file);
  if (known?.mtimeMs === mtimeMs) return known;
  const text = stripTypeScriptTypes(await readFile(file, 'utf8'));
  const etag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"`;
  const module = { mtimeMs, etag, text };
  modules.set(file, module);
  return module;
}
