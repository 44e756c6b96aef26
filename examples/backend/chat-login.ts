/**
 * `POST /chat/login`: the place in an app's backend where a user becomes an account. Here whoever comes is who he says he is, since
 * it is a demo; a real backend checks its own login first and signs for that user alone.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fieldOf, isJson, isSameOrigin, readBody, sendJson } from './requests.ts';
import { signUserSig } from './user-sig.ts';

/** What a backend knows of its app at qalgate. */
export interface ChatSettings {
  sdkAppId: number;
  secret: string;
  /** Accounts that may do everything over REST: never handed to a page. */
  administrators: readonly string[];
  /** The im listener: `http://127.0.0.1:8081`. */
  imUrl: string;
}

const userSigSec = 86_400;
const maxBodyBytes = 1_024;
const windowMs = 60_000;
const maxLogins = 600;
const maxLoginsPerAddress = 60;

/** So many logins a minute; it counts in windows and forgets with each. */
export interface LoginRate {
  /** Whether one more from this address is welcome. */
  take(address: string, nowMs: number): boolean;
}

export function createLoginRate(): LoginRate {
  let window = 0;
  let total = 0;
  const perAddress = new Map<string, number>();
  return {
    take(address, nowMs) {
      const current = Math.floor(nowMs / windowMs);
      if (current !== window) {
        window = current;
        total = 0;
        perAddress.clear();
      }
      const count = perAddress.get(address) ?? 0;
      if (total >= maxLogins || count >= maxLoginsPerAddress) return false;
      total += 1;
      perAddress.set(address, count + 1);
      return true;
    },
  };
}

/** Where the page opens its link: the im listener, or where that listens on all addresses the host that the page came from. */
export function linkUrl(imUrl: string, host: string | undefined): string {
  const url = new URL('/im/v1/link', imUrl);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const named = /^([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i.exec(host ?? '')?.[1];
  if (named !== undefined && ['0.0.0.0', '[::]'].includes(url.hostname)) url.hostname = named;
  return url.href;
}

/** The account that a name stands for, or why it stands for none. */
export function readName(value: unknown, administrators: readonly string[]): { name: string } | { refused: string } {
  if (typeof value !== 'string' || !value.isWellFormed()) return { refused: 'The name must be a text.' };
  const name = value.trim().normalize('NFC');
  if (name === '') return { refused: 'A name is needed.' };
  if (Buffer.byteLength(name) > 32) return { refused: 'The name is too long: at most 32 bytes in UTF-8.' };
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return { refused: 'The name must hold no control characters.' };
  if (administrators.includes(name)) return { refused: `“${name}” is an administrator of the app: take another name.` };
  return { name };
}

export async function serveChatLogin(
  request: IncomingMessage,
  response: ServerResponse,
  { settings, rate }: { settings: ChatSettings | undefined; rate: LoginRate },
): Promise<void> {
  const refuse = (status: number, error: string, headers: Record<string, string> = {}): void => {
    sendJson(response, status, { error }, headers);
  };
  if (request.method !== 'POST') return refuse(405, 'Only POST works here.', { Allow: 'POST' });
  // Another site's page must not fetch logins. It can say neither of these two without asking first, which is not answered.
  if (!isSameOrigin(request)) return refuse(403, 'Only the chat page itself may log in.');
  if (!isJson(request)) return refuse(415, 'The body must be JSON.');
  if (settings === undefined) return refuse(503, 'The messaging service is not there yet.', { 'Retry-After': '1' });
  const now = Date.now();
  if (!rate.take(addressOf(request), now))
    return refuse(429, 'Too many logins: wait a minute.', { 'Retry-After': '60' });
  const body = await readBody(request, maxBodyBytes);
  if (body === undefined) return refuse(413, `The body has at most ${maxBodyBytes} bytes.`, { Connection: 'close' });
  const result = readName(fieldOf(body, 'name'), settings.administrators);
  if ('refused' in result) return refuse(400, result.refused);

  const issuedAtSec = Math.floor(now / 1_000);
  const { sdkAppId, secret, imUrl } = settings;
  const identifier = result.name;
  sendJson(response, 200, {
    sdkAppId,
    identifier,
    userSig: signUserSig({ sdkAppId, identifier, secret, expireSec: userSigSec, issuedAtSec }),
    url: linkUrl(imUrl, request.headers.host),
    expires: issuedAtSec + userSigSec,
  });
}

/** Behind qalgate there is exactly one address in X-Forwarded-For. */
function addressOf({ headers, socket }: IncomingMessage): string {
  return String(headers['x-forwarded-for'] ?? socket.remoteAddress).slice(0, 64);
}
