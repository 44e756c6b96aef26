import type { SessionClaims } from '../auth/index.ts';
import type { AppSettings } from '../store/index.ts';
import { ratGenerations } from '../wire/index.ts';

/** A printable ASCII value needs no encoding, unless a reader could take it for an encoded one or trim its ends. */
const plainValue = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/**
 * A value as a backend receives it. Printable ASCII goes as it is; anything else as `UTF-8''` and percent-encoded
 * UTF-8 (RFC 8187 §3.2.1), so no value can end a line, and none can pass for another: a plain value that happens to
 * begin with `UTF-8''` is encoded too.
 */
export function encodeHeaderValue(value: string): string {
  if (plainValue.test(value) && !/^utf-8''/i.test(value)) return value;
  // encodeURIComponent leaves !'()* alone; RFC 8187 allows only ! of these.
  const encoded = encodeURIComponent(value.toWellFormed()).replaceAll(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `UTF-8''${encoded}`;
}

/**
 * The `QAL-*` fields that a session stands for, as header lines with their ends (A3, A5–A10, A13). Pure.
 * Empty reports have no line. QAL-Req-Seq-No and X-Forwarded-For differ from request to request and are not here.
 */
export function sessionHeaderLines(claims: SessionClaims, app: AppSettings): string {
  const { device, network } = claims;
  let lines = `QAL-Identifier: @v_tls#${claims.terminalId}\r\nQAL-SDK-APP-Id: ${app.sdkAppId}\r\n`;
  const add = (name: string, value: string | number | undefined | null): void => {
    if (value !== undefined && value !== null && value !== '') {
      lines += `${name}: ${encodeHeaderValue(String(value))}\r\n`;
    }
  };
  add('QAL-Account', claims.account);
  add('QAL-SDK-Version', device.sdkVersion);
  add('QAL-APP-Version', device.appVersion);
  add('QAL-APP-Channel', device.appChannel);
  add('QAL-APN', network.apn);
  add('QAL-RAT', network.rat);
  add('QAL-RAT-Generation', network.rat === undefined ? undefined : ratGenerations[network.rat]);
  add('QAL-OS', device.os);
  add('QAL-OS-Version', device.osVersion);
  add('QAL-Device', device.device);
  add('QAL-Brand', device.brand);
  add('QAL-Screen-Width', device.screenWidth);
  add('QAL-Screen-Height', device.screenHeight);
  if (app.access.sendImei) {
    add('QAL-IMEI', device.imei);
    add('QAL-IMSI', device.imsi);
  }
  return lines;
}

/** What a request without a session carries (DESIGN §4). */
export function anonymousHeaderLines(app: AppSettings): string {
  return `QAL-SDK-APP-Id: ${app.sdkAppId}\r\n`;
}
