/**
 * Generated bodies of any length: byte n is always the same, so a reader can check each piece by its position, and a
 * lost, doubled or misplaced piece is found. The period is prime, so no piece of a round length fits elsewhere.
 */
const periodBytes = 65_521;
const largestPieceBytes = 262_144;

const pattern = Buffer.allocUnsafe(periodBytes + largestPieceBytes);
for (let i = 0, x = 1; i < pattern.length; i += 1) {
  // Lehmer generator, restarted each period.
  x = i % periodBytes === 0 ? 1 : (x * 48_271) % 2_147_483_647;
  pattern[i] = x >>> 16;
}

/** The bytes from a position on; `bytes` up to 256 KiB. */
export function patternAt(position: number, bytes: number): Buffer {
  const start = position % periodBytes;
  return pattern.subarray(start, start + bytes);
}

/** Counts and checks what comes of a generated body. */
export class PatternCheck {
  bytes = 0;
  /** Position of the first piece that is not what it should be. */
  wrongAt: number | undefined;

  take(piece: Buffer): void {
    for (let at = 0; at < piece.length; at += largestPieceBytes) {
      const part = piece.subarray(at, at + largestPieceBytes);
      if (this.wrongAt === undefined && !part.equals(patternAt(this.bytes, part.length))) this.wrongAt = this.bytes;
      this.bytes += part.length;
    }
  }
}
