import { createPrivateKey } from 'node:crypto';
import type { AppSettings } from './app-settings.ts';
import type { PushSettings } from './push-settings.ts';
import type { Refusal } from './result.ts';

/** What of an app's push settings is a secret: stored sealed, never shown. Pure. */
export interface PushKeys {
  apnsKey?: string | undefined;
  apnsCertificate?: string | undefined;
  apnsCertificateKey?: string | undefined;
  fcmServiceAccount?: string | undefined;
}

/** Takes the secrets out. */
export function splitPushKeys({ apns, fcm, ...rest }: PushSettings): { open: PushSettings; keys: PushKeys } {
  const { key, certificate, certificateKey, ...openApns } = apns ?? ({} as NonNullable<PushSettings['apns']>);
  const { serviceAccount, ...openFcm } = fcm ?? ({} as NonNullable<PushSettings['fcm']>);
  return {
    open: {
      ...rest,
      ...(apns === undefined ? {} : { apns: openApns }),
      ...(fcm === undefined ? {} : { fcm: openFcm }),
    },
    keys: {
      apnsKey: key,
      apnsCertificate: certificate,
      apnsCertificateKey: certificateKey,
      fcmServiceAccount: serviceAccount,
    },
  };
}

/** Puts them back. */
export function joinPushKeys({ apns, fcm, ...rest }: PushSettings, keys: PushKeys): PushSettings {
  const given = <T extends object>(values: T) =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
      [name in keyof T]?: string;
    };
  const { apnsKey: key, apnsCertificate: certificate, apnsCertificateKey: certificateKey } = keys;
  return {
    ...rest,
    ...(apns === undefined ? {} : { apns: { ...apns, ...given({ key, certificate, certificateKey }) } }),
    ...(fcm === undefined ? {} : { fcm: { ...fcm, ...given({ serviceAccount: keys.fcmServiceAccount }) } }),
  };
}

/** The service account as far as it is needed; undefined: the text is none. */
export function parseServiceAccount(
  text: string,
): { projectId: string; clientEmail: string; privateKey: string; tokenUri: string } | undefined {
  try {
    const {
      project_id: projectId,
      client_email: clientEmail,
      private_key: privateKey,
      token_uri: tokenUri = 'https://oauth2.googleapis.com/token',
    } = JSON.parse(text) as Record<string, unknown>;
    const found = { projectId, clientEmail, privateKey, tokenUri };
    if (Object.values(found).some((value) => typeof value !== 'string' || value === '')) return undefined;
    return new URL(tokenUri as string).protocol === 'https:' && isKey(privateKey as string)
      ? (found as Record<keyof typeof found, string>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** The refusal of push credentials that lack what they need; undefined: none. */
export function findPushGap({ push: { apns, fcm } }: AppSettings): Refusal | undefined {
  const refuse = (field: string, reason: string, allowed: string): Refusal => ({
    ok: false,
    code: 'INVALID_FIELD',
    field: `push.${field}`,
    reason,
    allowed,
  });
  if (apns !== undefined) {
    const { key, keyId, teamId, certificate, certificateKey } = apns;
    const either = 'key, keyId and teamId; or certificate and certificateKey';
    if (key !== undefined && certificate !== undefined) {
      return refuse('apns.certificate', 'excludes key: give one of the two', either);
    }
    const needed = certificate === undefined ? { key, keyId, teamId } : { certificateKey };
    for (const [name, value] of Object.entries(needed)) {
      if (value === undefined) return refuse(`apns.${name}`, 'is missing', either);
    }
    if (key !== undefined && !isKey(key, 'ec')) {
      return refuse('apns.key', 'is no key that signs provider tokens', 'a P-256 private key in PEM, the .p8 file');
    }
    if (certificateKey !== undefined && !isKey(certificateKey)) {
      return refuse('apns.certificateKey', 'is no private key', 'a private key in PEM, without a passphrase');
    }
  }
  if (fcm !== undefined) {
    const allowed = 'the JSON file of a service account: project_id, client_email, private_key, an https token_uri';
    if (fcm.serviceAccount === undefined) return refuse('fcm.serviceAccount', 'is missing', allowed);
    if (parseServiceAccount(fcm.serviceAccount) === undefined) {
      return refuse('fcm.serviceAccount', 'is no service account', allowed);
    }
  }
  return undefined;
}

function isKey(pem: string, type?: 'ec'): boolean {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(pem);
    return type === undefined || (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1');
  } catch {
    return false;
  }
}
