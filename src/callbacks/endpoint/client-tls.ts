import { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Endpoint } from './endpoint.ts';

export type ClientTlsFiles = Pick<Endpoint, 'caFile' | 'clientCertFile' | 'clientKeyFile'>;

export type ClientTlsResult =
  | { readonly ok: true; readonly context: SecureContext; readonly version: number }
  /** `reason` names the file. */
  | { readonly ok: false; readonly reason: string };

/** What one endpoint shows and trusts in TLS. */
export interface ClientTls {
  /**
   * The context to connect with; the files are looked at again when the last look is a few seconds old. What was good is used on
   * while the files are not: certificate and key are never replaced in one step.
   */
  context(): Promise<ClientTlsResult>;
  /** Looks at the files in the background when it is time; for connections that last. */
  refresh(): void;
  /** Counts the contexts: a connection of an earlier one is not used again. */
  readonly version: number;
}

export interface ClientTlsOptions {
  readonly lookIntervalMs: number;
  /** Milliseconds that never go back. */
  now(): number;
  /** Is told once of each state of files that cannot be used while an earlier one is. */
  onBad(reason: string): void;
}

/** No chain comes near this; it keeps a wrong path (a log file, /dev/zero) out of memory. */
const maxFileBytes = 1_048_576;

export function createClientTls(files: ClientTlsFiles, { lookIntervalMs, now, onBad }: ClientTlsOptions): ClientTls {
  const paths = [files.caFile, files.clientCertFile, files.clientKeyFile];
  let current: ClientTlsResult | undefined;
  let version = 0;
  let mark = '';
  let toldMark = '';
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let looking: Promise<ClientTlsResult> | undefined;

  const look = async (): Promise<ClientTlsResult> => {
    // Taken before the files are read: what changes in between is seen at the next look.
    const newMark = await changeMark(paths);
    if (current?.ok === true && newMark === mark) return current;
    const found = await readContext(files);
    if (found.ok) {
      version += 1;
      current = { ...found, version };
      mark = newMark;
    } else if (current?.ok !== true) {
      current = found;
    } else if (toldMark !== newMark) {
      toldMark = newMark;
      onBad(found.reason);
    }
    return current;
  };

  const lookNow = (): Promise<ClientTlsResult> => {
    looking ??= look().finally(() => {
      looking = undefined;
      lookedAtMs = now();
    });
    return looking;
  };
  const isDue = (): boolean => now() - lookedAtMs >= lookIntervalMs;

  return {
    async context() {
      if (current === undefined || isDue()) return lookNow();
      return current;
    },
    refresh() {
      if (looking === undefined && isDue()) void lookNow();
    },
    get version() {
      return version;
    },
  };
}

/** Never rejects. */
async function readContext({
  caFile,
  clientCertFile,
  clientKeyFile,
}: ClientTlsFiles): Promise<{ ok: true; context: SecureContext } | { ok: false; reason: string }> {
  const texts: Record<'ca' | 'cert' | 'key', Buffer | undefined> = { ca: undefined, cert: undefined, key: undefined };
  const wanted = [
    ['ca', 'caFile', caFile],
    ['cert', 'clientCertFile', clientCertFile],
    ['key', 'clientKeyFile', clientKeyFile],
  ] as const;
  for (const [name, field, path] of wanted) {
    if (path === undefined) continue;
    const text = await readBounded(path);
    if (typeof text === 'string') return { ok: false, reason: `${field} ${path}: ${text}` };
    texts[name] = text;
  }
  const { ca, cert, key } = texts;
  try {
    // OpenSSL takes a file without any certificate for an empty list.
    if (ca !== undefined) new X509Certificate(ca);
    const context = createSecureContext({
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? undefined : { ca }),
      ...(cert === undefined ? undefined : { cert }),
      ...(key === undefined ? undefined : { key }),
    });
    return { ok: true, context };
  } catch (error) {
    const fields = wanted.filter(([, , path]) => path !== undefined).map(([, field, path]) => `${field} ${path}`);
    return { ok: false, reason: `${fields.join(', ')}: cannot be used (${reasonOf(error)})` };
  }
}

/** Size, times and inode of the files as one string; a file that cannot be seen is `-`. */
async function changeMark(paths: readonly (string | undefined)[]): Promise<string> {
  const marks = paths.map(async (path) => {
    if (path === undefined) return '';
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join(':');
    } catch {
      return '-';
    }
  });
  return (await Promise.all(marks)).join(' ');
}

/** The file's bytes, or why they cannot be had. */
async function readBounded(path: string): Promise<Buffer | string> {
  try {
    const file = await stat(path);
    if (!file.isFile()) return 'is not a file';
    if (file.size > maxFileBytes) return `is larger than ${maxFileBytes} bytes`;
    return await readFile(path);
  } catch (error) {
    return reasonOf(error);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
