import { generateKeyPairSync } from 'node:crypto';
import { createCertificate } from './certificates.ts';

/** A key as Apple gives it out: the text of a .p8 file. */
export function makeApnsKey(namedCurve = 'P-256'): string {
  return generateKeyPairSync('ec', { namedCurve }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** A service account as Google gives it out, with some of its fields changed. */
export function makeServiceAccount(change: Record<string, unknown> = {}): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  return JSON.stringify({
    type: 'service_account',
    project_id: 'chat-1',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    client_email: 'push@chat-1.iam.gserviceaccount.com',
    token_uri: 'https://oauth2.googleapis.com/token',
    ...change,
  });
}

/** The line of a PEM text by which it is found wherever it should not be. */
export function traceOf(pem: string): string {
  return pem.split('\n')[1] ?? '';
}

export const apnsKey = makeApnsKey();
export const apnsIds = { keyId: 'ABCDEFGHIJ', teamId: '0123456789', topic: 'com.example.chat' };
export const apnsCertificate = createCertificate('apns');
export const serviceAccount = makeServiceAccount();
