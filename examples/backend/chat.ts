/**
 * `/chat/`: the chat page of examples/chat, the SDK that it uses, and the login that it needs. What a backend tells qalgate by
 * REST is here, too: that its accounts exist.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { type ChatSettings, createLoginRate, linkUrl, serveChatLogin } from './chat-login.ts';
import { serveSdkSource } from './sdk-sources.ts';
import { serveFile } from './static-files.ts';
import { signUserSig } from './user-sig.ts';

const pageFolder = fileURLToPath(new URL('../chat', import.meta.url));
/** What a new visitor may write to before anybody has logged in by that name. */
const firstAccounts = ['alice', 'bob'];
const importMs = 5_000;

export interface Chat {
  /** Called when it is known where the im listener is; until then nobody can log in. */
  configure(settings: ChatSettings): Promise<void>;
  /** @param path what follows `/chat/` */
  serve(request: IncomingMessage, response: ServerResponse, path: string): Promise<void>;
}

export function createChat(): Chat {
  const rate = createLoginRate();
  let settings: ChatSettings | undefined;
  return {
    configure(given) {
      settings = given;
      return importAccounts(given);
    },
    async serve(request, response, path) {
      if (path === 'login') return serveChatLogin(request, response, { settings, rate });
      if (path.startsWith('src/')) return serveSdkSource(request, response, path.slice('src/'.length));
      const isPage = path === '' || /^[a-z-]+\.(?:js|css|svg)$/.test(path);
      if (!isPage) {
        response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('no such page\n');
        return;
      }
      response.setHeader('X-Content-Type-Options', 'nosniff');
      if (path === '') {
        response.setHeader('Content-Security-Policy', policy(settings, request.headers.host));
        response.setHeader('Referrer-Policy', 'no-referrer');
      }
      // Never an old page with a new script, nor with the policy of another day.
      const [file, cacheControl] = path === '' ? ['index.html', 'no-store'] : [path, 'no-cache'];
      return serveFile(request, response, pageFolder, file, cacheControl);
    },
  };
}

/** Scripts and styles of this origin alone, nothing inline, no HTML out of texts, and connections to here and the im listener. */
function policy(settings: ChatSettings | undefined, host: string | undefined): string {
  const link = settings === undefined ? '' : ` ${new URL(linkUrl(settings.imUrl, host)).origin}`;
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self'${link}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
}

/** Tells qalgate of accounts that have not logged in yet, as a backend does when somebody signs up (`multiaccount_import`). */
async function importAccounts({ sdkAppId, secret, administrators, imUrl }: ChatSettings): Promise<void> {
  const [identifier] = administrators;
  if (identifier === undefined) return;
  const url = new URL('/v4/im_open_login_svc/multiaccount_import', imUrl);
  if (['0.0.0.0', '[::]'].includes(url.hostname)) url.hostname = 'localhost';
  const issuedAtSec = Math.floor(Date.now() / 1_000);
  const userSig = signUserSig({ sdkAppId, identifier, secret, expireSec: 300, issuedAtSec });
  const random = String(Math.floor(Math.random() * 2 ** 32));
  url.search = String(
    new URLSearchParams({ sdkappid: String(sdkAppId), identifier, usersig: userSig, random, contenttype: 'json' }),
  );
  const response = await fetch(url, {
    method: 'POST',
    body: JSON.stringify({ Accounts: firstAccounts }),
    signal: AbortSignal.timeout(importMs),
  });
  const answer = (await response.json()) as { ErrorCode?: number; ErrorInfo?: string };
  if (answer.ErrorCode !== 0) throw new Error(`multiaccount_import: ${answer.ErrorCode} ${answer.ErrorInfo}`);
}
