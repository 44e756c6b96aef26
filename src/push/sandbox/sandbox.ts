import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { type ApnsArrival, openApnsSandbox } from './apns.ts';
import { createCertificate, localNames } from './certificate.ts';
import { createFaultRules, type FaultRule } from './fault-rules.ts';
import { type FcmArrival, openFcmSandbox } from './fcm.ts';
import { reachedAt } from './listener.ts';

/** A push as one of the services got it. */
export interface SandboxPush {
  readonly service: 'apns' | 'fcm';
  readonly atMs: number;
  readonly token: string;
  /** Of APNs, those that are the push's; without who sent it. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** 0: there was no answer. */
  readonly status: number;
  /** `ok`, or in a word why not. */
  readonly answered: string;
}

export interface PushSandboxOptions {
  /** Where certificates and credentials lie; what is not there yet is made. */
  readonly folder: string;
  readonly host: string;
  /** 0: any free one. */
  readonly apnsPort: number;
  readonly fcmPort: number;
  /** Bundle id of the pushes to iOS. */
  readonly topic: string;
  readonly faults: readonly FaultRule[];
  readonly onPush: (push: SandboxPush) => void;
}

/** What an app has to be told to push here. */
export interface SandboxSettings {
  readonly apns: {
    readonly keyFile: string;
    readonly keyId: string;
    readonly teamId: string;
    readonly topic: string;
    readonly endpoint: string;
    readonly sandboxEndpoint: string;
    readonly caFile: string;
  };
  readonly fcm: { readonly serviceAccountFile: string; readonly endpoint: string; readonly caFile: string };
}

/** Apple's and Google's services on this machine, for trying out without accounts. */
export interface PushSandbox {
  readonly settings: SandboxSettings;
  close(): Promise<void>;
}

const ids = { keyId: 'SANDBOXKEY', teamId: 'SANDBOXTEA' };
/** The header by which senders show who they are. */
const hidden = new Set(['authorization', ':method', ':path', ':scheme', ':authority', 'content-length']);

/**
 * Opens both. Rejects when it cannot listen there, or cannot use the folder. The same folder gives the same credentials again, so that an app
 * which was set up once needs no second time, as long as the ports stay.
 */
export async function openPushSandbox(options: PushSandboxOptions): Promise<PushSandbox> {
  const { host, apnsPort, fcmPort, topic, faults, onPush } = options;
  const folder = resolve(options.folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const files = {
    ca: join(folder, 'ca.pem'),
    caKey: join(folder, 'ca.key'),
    apnsKey: join(folder, 'apns.p8'),
    serviceAccount: join(folder, 'service-account.json'),
  };
  const tls = await certificateOf(files.ca, files.caKey, reachedAt(host));
  const apnsKey = (await keyOf(files.apnsKey)) ?? (await write(files.apnsKey, makeApnsKey()));
  const rules = createFaultRules(faults);
  const apns = await openApnsSandbox({
    tls,
    host,
    port: apnsPort,
    credentials: { key: apnsKey, ...ids },
    topics: [topic],
    fault: ({ token }) => rules.take('apns', token),
    onArrival: (arrival) => onPush(ofApns(arrival)),
  });
  try {
    const privateKey = await accountKeyOf(files.serviceAccount);
    const fcm = await openFcmSandbox({
      tls,
      host,
      port: fcmPort,
      ...(privateKey === undefined ? {} : { privateKey }),
      fault: (token) => rules.take('fcm', token),
      onArrival: (arrival) => onPush(ofFcm(arrival)),
    });
    // Its address is in it, which may be another one now.
    await write(files.serviceAccount, `${fcm.serviceAccount}\n`);
    return {
      settings: {
        apns: {
          keyFile: files.apnsKey,
          ...ids,
          topic,
          endpoint: apns.url,
          sandboxEndpoint: apns.url,
          caFile: files.ca,
        },
        fcm: { serviceAccountFile: files.serviceAccount, endpoint: fcm.url, caFile: files.ca },
      },
      async close() {
        await Promise.all([apns.close(), fcm.close()]);
      },
    };
  } catch (error) {
    await apns.close();
    throw error;
  }
}

function ofApns({ atMs, token, headers, body, status, answered }: ApnsArrival): SandboxPush {
  const shown = Object.fromEntries(Object.entries(headers).filter(([name]) => !hidden.has(name)));
  return { service: 'apns', atMs, token, headers: shown, body, status, answered };
}

function ofFcm({ atMs, token = '', body, status, answered }: FcmArrival): SandboxPush {
  return { service: 'fcm', atMs, token, headers: {}, body, status, answered };
}

/** The certificate of both services for that name, which is its own authority; made where there is none, or none that fits. */
async function certificateOf(certFile: string, keyFile: string, name: string): Promise<{ cert: string; key: string }> {
  const [cert, key] = await Promise.all([read(certFile), read(keyFile)]);
  try {
    const known = new X509Certificate(cert);
    const isFor = (isIP(name) === 0 ? known.checkHost(name) : known.checkIP(name)) !== undefined;
    if (isFor && known.checkPrivateKey(createPrivateKey(key))) return { cert, key };
  } catch {
    // Then another.
  }
  const names = [...new Set([...localNames, name])];
  const made = createCertificate('qalgate push sandbox', undefined, names);
  await write(certFile, made.cert);
  await write(keyFile, made.key);
  return made;
}

async function keyOf(file: string): Promise<string | undefined> {
  const pem = await read(file);
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'ec' ? pem : undefined;
  } catch {
    return undefined;
  }
}

async function accountKeyOf(file: string): Promise<string | undefined> {
  try {
    const { private_key: pem } = JSON.parse(await read(file)) as { private_key?: unknown };
    return createPrivateKey(String(pem)).asymmetricKeyType === 'rsa' ? String(pem) : undefined;
  } catch {
    return undefined;
  }
}

function makeApnsKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** `''`: it is not there. */
async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Keys are the owner's alone. */
async function write(file: string, text: string): Promise<string> {
  await writeFile(file, text, { mode: 0o600 });
  return text;
}
