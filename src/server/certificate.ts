import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';

/** Where a listener's certificate (with its chain) and its private key lie, both PEM. */
export interface CertificateFiles {
  certFile: string;
  keyFile: string;
}

/** A certificate and the key that belongs to it, fit to be served. */
export interface Certificate {
  /** For `https.createServer` and `setSecureContext`: TLS 1.2 or later. */
  context: SecureContextOptions & { cert: Buffer; key: Buffer };
  /** When the leaf certificate expires. */
  notAfter: Date;
}

export type CertificateResult = { ok: true; value: Certificate } | { ok: false; reason: string };

export interface CertificateWatch {
  /** Stops watching, at once: a look that still waits for a file system comes to nothing. */
  close(): Promise<void>;
}

export interface CertificateWatchOptions {
  intervalMs: number;
  /** Gets each new sound pair. */
  onChange(certificate: Certificate): void;
  /** Is told why a changed pair is not taken: once, and not before a second look found the same. */
  onBad(reason: string): void;
}

/** No chain comes near this; it keeps a wrong path (a log file, /dev/zero) out of memory. */
const maxFileBytes = 1_048_576;

/** Reads both files and checks that they parse and belong together. Never throws; the reason names the file at fault. */
export async function readCertificate(files: CertificateFiles): Promise<CertificateResult> {
  const cert = await readBounded(files.certFile);
  if (typeof cert === 'string') return { ok: false, reason: `certFile ${files.certFile}: ${cert}` };
  const key = await readBounded(files.keyFile);
  if (typeof key === 'string') return { ok: false, reason: `keyFile ${files.keyFile}: ${key}` };

  const leaf = attempt(() => new X509Certificate(cert));
  if (!leaf.ok) return { ok: false, reason: `certFile ${files.certFile}: is no PEM certificate (${leaf.reason})` };
  const privateKey = attempt((): KeyObject => createPrivateKey(key));
  if (!privateKey.ok) {
    return { ok: false, reason: `keyFile ${files.keyFile}: is no unencrypted PEM private key (${privateKey.reason})` };
  }
  if (!leaf.value.checkPrivateKey(privateKey.value)) {
    return { ok: false, reason: `keyFile ${files.keyFile}: does not belong to the certificate in ${files.certFile}` };
  }
  const context = { cert, key, minVersion: 'TLSv1.2' as const };
  // What OpenSSL refuses beyond that: keys too short, a chain that does not parse.
  const usable = attempt(() => createSecureContext(context));
  if (!usable.ok) return { ok: false, reason: `certFile ${files.certFile}: cannot be used (${usable.reason})` };
  return { ok: true, value: { context, notAfter: leaf.value.validToDate } };
}

/**
 * Looks at both files every `intervalMs` and hands over each new pair that is sound. A look is two stats; they follow
 * symbolic links, so the way in which Kubernetes swaps a secret (`..data` points elsewhere) is seen like any other change.
 * By polling, because not every file system sends events and because two files are never replaced in one step: what
 * does not match yet is simply read again at the next look, and nobody is alarmed about it before.
 */
export function watchCertificate(
  files: CertificateFiles,
  first: Certificate,
  options: CertificateWatchOptions,
): CertificateWatch {
  let current = first;
  let currentMark: string | undefined;
  let bad: { mark: string | undefined; reason: string; settled: boolean } | undefined;
  let looking = false;
  let closed = false;

  const look = async () => {
    // Taken before the files are read: what changes in between is seen at the next look.
    const mark = await changeMark(files);
    if (mark !== undefined && mark === currentMark) return;
    const found = await readCertificate(files);
    if (closed) return;
    if (!found.ok) {
      const { reason } = found;
      const settled = bad?.reason === reason && bad.mark === mark;
      if (settled && bad?.settled === false) options.onBad(reason);
      bad = { mark, reason, settled };
      return;
    }
    if (!sameBytes(found.value, current)) options.onChange(found.value);
    current = found.value;
    currentMark = mark;
    bad = undefined;
  };

  const timer = setInterval(() => {
    // A look that hangs (a dead network file system) has no others piling up behind it.
    if (looking) return;
    looking = true;
    look()
      .catch((error: unknown) => options.onBad(reasonOf(error)))
      .finally(() => {
        looking = false;
      });
  }, options.intervalMs);
  timer.unref();

  return {
    async close() {
      closed = true;
      clearInterval(timer);
    },
  };
}

/** Size, times and inode of both files as one string; undefined when either cannot be seen. */
async function changeMark({ certFile, keyFile }: CertificateFiles): Promise<string | undefined> {
  try {
    const both = await Promise.all([stat(certFile, { bigint: true }), stat(keyFile, { bigint: true })]);
    return both.map((file) => [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs].join(':')).join(' ');
  } catch {
    return undefined;
  }
}

function sameBytes(a: Certificate, b: Certificate): boolean {
  return a.context.cert.equals(b.context.cert) && a.context.key.equals(b.context.key);
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

function attempt<T>(make: () => T): { ok: true; value: T } | { ok: false; reason: string } {
  try {
    return { ok: true, value: make() };
  } catch (error) {
    return { ok: false, reason: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
