/**
 * `/cache/`: a page that uses QalClient, the answers that it asks for, and the SDK itself.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { serveSdkSource } from './sdk-sources.ts';

/** What each answer says to caches. The page shows it, and what became of it. */
const kinds = {
  fresh: { 'Cache-Control': 'max-age=10' },
  swr: { 'Cache-Control': 'max-age=5, stale-while-revalidate=30' },
  'max-stale-age': { 'Cache-Control': 'max-age=5', 'QAL-Cache-Control': 'max-stale-age=60' },
  etag: { ETag: '"the-same-all-day"' },
  'no-store': { 'Cache-Control': 'no-store' },
} satisfies Record<string, Record<string, string>>;

/** How often each answer was asked of this process. */
const asked = new Map<string, number>();

/** @param path what follows `/cache/` */
export async function serveCacheDemo(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
  if (path === '') return sendPage(request, response);
  if (path.startsWith('src/')) return serveSdkSource(request, response, path.slice('src/'.length));
  const kind = path.startsWith('answer/') ? path.slice('answer/'.length) : '';
  if (!Object.hasOwn(kinds, kind)) {
    response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('no such page\n');
    return;
  }
  const headers: Record<string, string> = kinds[kind as keyof typeof kinds];
  const times = (asked.get(kind) ?? 0) + 1;
  asked.set(kind, times);
  // The page counts what arrived here, by what came back.
  const shown = { ...headers, 'X-Asked': String(times) };
  if (headers.ETag !== undefined && request.headers['if-none-match']?.includes(headers.ETag) === true) {
    response.writeHead(304, shown).end();
    return;
  }
  response.writeHead(200, { ...shown, 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ answer: times, at: new Date().toISOString() }));
}

function sendPage(request: IncomingMessage, response: ServerResponse): void {
  const sdkAppId = /^\d{1,10}$/.exec(String(request.headers['qal-sdk-app-id'] ?? ''))?.[0] ?? '';
  const rows = Object.entries(kinds).map(
    ([kind, headers]) =>
      `<tr data-kind="${kind}"><td>${Object.entries(headers)
        .map(([name, value]) => `<code>${name}: ${value.replaceAll('"', '&quot;')}</code>`)
        .join('<br>')}<td><button>Fetch</button><td class="answer"><td class="from"><td class="status">`,
  );
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy':
      "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src data:",
    'Cache-Control': 'no-store',
  });
  response.end(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The SDK’s cache at work</title>
<link rel="stylesheet" href="/files/style.css">
<link rel="icon" href="data:,">
<body data-app="${sdkAppId}">
<h1>The SDK’s cache at work</h1>
<p>Each row is an answer of the backend with other words for caches. Fetch one several times, wait, reload the page: <code>QalClient</code>
keeps its answers in IndexedDB. <a href="/">What the backend sees</a></p>
<p><label><input type="checkbox" id="repeat"> Fetch all of them every second</label>
<button id="all">Fetch all</button> <button id="purge">Empty the cache</button></p>
<table>
<thead><tr><th>The backend says<th><th>Answer<th>From<th><code>Cache-Status</code> of the SDK</tr></thead>
<tbody>${rows.join('\n')}</tbody>
</table>
<p id="session">No session yet.</p>
<h2>What happened</h2>
<ol id="log" reversed></ol>
<script type="module" src="/files/cache-demo.js"></script>
</html>
`);
}
