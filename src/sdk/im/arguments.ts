import { linkPath } from '../../wire/index.ts';
import { ImError } from './error.ts';

export function invalid(field: string, reason: string): ImError {
  return new ImError('INVALID_ARGUMENT', `${field}: ${reason}`, { field });
}

export function assertText(field: string, value: unknown): void {
  if (typeof value !== 'string' || value === '') throw invalid(field, 'must be a text');
}

export function readUrl(given: string | URL): string {
  const url = URL.parse(String(given));
  if (url === null || !/^(?:http|ws)s?:$/.test(url.protocol))
    throw invalid('url', 'must be an http, https, ws or wss URL');
  if (url.pathname === '/') url.pathname = linkPath;
  url.protocol = url.protocol.replace('http', 'ws');
  url.hash = '';
  return url.href;
}
