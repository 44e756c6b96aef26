/** Where two byte strings begin to differ. */
export interface Difference {
  /** Bytes before it; both agree on them. */
  readonly offset: number;
  /** The byte there, as two hexadecimal digits; absent: that side ends before it. */
  readonly sent?: string;
  readonly received?: string;
  /** What stands around it, as JSON texts; at most 40 bytes. */
  readonly sentExcerpt: string;
  readonly receivedExcerpt: string;
}

const aroundBytes = 20;

/** Undefined: they are equal. Pure. */
export function firstDifference(sent: Buffer, received: Buffer): Difference | undefined {
  if (sent.equals(received)) return undefined;
  const shorter = Math.min(sent.length, received.length);
  let offset = 0;
  while (offset < shorter && sent[offset] === received[offset]) offset += 1;
  const hex = (bytes: Buffer) => bytes[offset]?.toString(16).padStart(2, '0');
  const [sentByte, receivedByte] = [hex(sent), hex(received)];
  return {
    offset,
    ...(sentByte === undefined ? {} : { sent: sentByte }),
    ...(receivedByte === undefined ? {} : { received: receivedByte }),
    sentExcerpt: excerpt(sent, offset),
    receivedExcerpt: excerpt(received, offset),
  };
}

export function describeDifference({ offset, sent, received, sentExcerpt, receivedExcerpt }: Difference): string {
  const byte = (hex: string | undefined) => (hex === undefined ? 'nothing more' : `0x${hex}`);
  return (
    `the first byte that differs is at offset ${offset}: ${byte(sent)} was sent, ${byte(received)} came; ` +
    `sent ${sentExcerpt}, received ${receivedExcerpt}`
  );
}

/** Bytes that are no whole character show as U+FFFD. */
function excerpt(bytes: Buffer, offset: number): string {
  const text = bytes.subarray(Math.max(0, offset - aroundBytes), offset + aroundBytes).toString('utf8');
  return JSON.stringify(text.replace(/^\ufffd+|\ufffd+$/g, (lost) => (bytes.length > aroundBytes ? '' : lost)));
}
