import { headersOf } from './request.ts';
import { joined } from './transport.ts';
import type { VariantParts } from './variant.ts';

/**
 * How the stored responses of one URL are written down: length of the head in 4 bytes (big-endian), the head as JSON in
 * UTF-8, then the bodies one after the other. What does not read as that, or is of another version, does not exist.
 */
const version = 1;

/** Version, URL, and what is known of each response, the length of its body last. */
type Head = [
  v: number,
  url: string,
  variants: [
    id: string,
    status: number,
    statusText: string,
    age: string,
    requestedMs: number,
    receivedMs: number,
    raw: readonly string[],
    bytes: number,
  ][],
];

export function encodeRecord(url: string, variants: readonly VariantParts[]): Uint8Array {
  const head: Head = [
    version,
    url,
    variants.map(({ id, status, statusText, raw, age, times, body }) => [
      id,
      status,
      statusText,
      age,
      times.requestedMs,
      times.receivedMs,
      raw,
      body.byteLength,
    ]),
  ];
  const text = new TextEncoder().encode(JSON.stringify(head));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.byteLength);
  return joined([length, text, ...variants.map(({ body }) => body)]);
}

/** @returns an empty list for anything that is no record of this URL */
export function decodeRecord(record: Uint8Array, url: string): VariantParts[] {
  try {
    let at = 4 + new DataView(record.buffer, record.byteOffset).getUint32(0);
    const [v, of, list] = JSON.parse(new TextDecoder().decode(record.subarray(4, at))) as Head;
    const variants = list.map(([id, status, statusText, age, requestedMs, receivedMs, raw, bytes]) => {
      const isSound =
        [status, requestedMs, receivedMs, bytes].every(Number.isFinite) &&
        [id, statusText, age, ...raw].every((text) => typeof text === 'string');
      const body = record.subarray(at, isSound ? at + bytes : Number.NaN);
      at += bytes;
      return { id, status, statusText, age, times: { requestedMs, receivedMs }, raw, body, isSound };
    });
    const isSound = v === version && of === url && at === record.byteLength && variants.every((each) => each.isSound);
    // Throws for what no answer could be made of.
    for (const { status, statusText, raw } of variants)
      new Response(null, { status, statusText, headers: headersOf(raw) });
    return isSound ? variants : [];
  } catch {
    return [];
  }
}
