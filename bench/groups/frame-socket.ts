import { once } from 'node:events';
import { connect } from 'node:net';

/**
 * A WebSocket client that costs next to nothing, so that a thousand of them keep up with what is measured: frames are handed on where
 * the kernel put them. It knows whole frames of text from a server that is trusted, and no more (RFC 6455).
 */
export interface FrameSocket {
  write(text: string): void;
  close(): void;
}

export interface FrameEvents {
  /** The bytes are good until it returns. */
  onFrame(payload: Buffer): void;
  /** Not after `close`. */
  onProblem(reason: string): void;
}

/** All connections read into the same memory, one after another. */
const readBytes = 262_144;
const shared = Buffer.alloc(readBytes);
const headEnd = '\r\n\r\n';
const textFrame = 0x81;
const closeFrame = 0x88;

/** Resolves when it is open; rejects when the service does not let it in. */
export async function openFrameSocket(port: number, path: string, events: FrameEvents): Promise<FrameSocket> {
  const opened = Promise.withResolvers<void>();
  let isOpen = false;
  let isClosing = false;
  let rest: Buffer | undefined;
  const fail = (reason: string): void => {
    opened.reject(new Error(reason));
    if (!isClosing) events.onProblem(reason);
  };

  function readHead(bytes: Buffer): Buffer | undefined {
    const end = bytes.indexOf(headEnd);
    if (end < 0) return undefined;
    if (bytes.toString('latin1', 0, 12) !== 'HTTP/1.1 101') fail(`refused: ${bytes.toString('latin1', 0, end)}`);
    isOpen = true;
    opened.resolve();
    return bytes.subarray(end + headEnd.length);
  }

  function read(chunk: Buffer): void {
    let bytes: Buffer | undefined = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    rest = undefined;
    if (!isOpen) {
      const behind = readHead(bytes);
      if (behind === undefined) {
        rest = Buffer.from(bytes);
        return;
      }
      bytes = behind;
    }
    let at = 0;
    while (at < bytes.length) {
      const place = payloadIn(bytes, at);
      if (place === undefined) break;
      const opcode = bytes[at];
      if (opcode === textFrame) events.onFrame(bytes.subarray(place.from, place.to));
      else if (opcode === closeFrame) fail(`the service closes with ${bytes.readUInt16BE(place.from)}`);
      else fail(`a frame of kind ${opcode}`);
      at = place.to;
    }
    if (at < bytes.length) rest = Buffer.from(bytes.subarray(at));
  }

  const socket = connect({
    host: '127.0.0.1',
    port,
    noDelay: true,
    onread: {
      buffer: shared,
      callback(count) {
        read(shared.subarray(0, count));
        return true;
      },
    },
  });
  socket.on('error', (error) => fail(error.message));
  socket.on('close', () => fail('the connection was closed'));
  await once(socket, 'connect');
  const fields = ['Host: localhost', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
  socket.write([`GET ${path} HTTP/1.1`, ...fields, 'Sec-WebSocket-Key: c2F5cyBxYWwuIHNheXMgcQ==', '', ''].join('\r\n'));
  await opened.promise;
  return {
    write: (text) => void socket.write(maskedFrame(text)),
    close() {
      isClosing = true;
      socket.destroy();
    },
  };
}

/** Where the payload of the frame at that place is; undefined: it is not all there. */
function payloadIn(bytes: Buffer, at: number): { from: number; to: number } | undefined {
  if (bytes.length < at + 10 && bytes.length < at + 2 + headBytes(bytes[at + 1])) return undefined;
  const short = bytes[at + 1] ?? 0;
  const from = at + 2 + headBytes(short);
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : bytes.readUIntBE(at + 4, 6);
  return from + length > bytes.length ? undefined : { from, to: from + length };
}

/** Of the longer forms of a length. */
const headBytes = (short = 127): number => (short < 126 ? 0 : short === 126 ? 2 : 8);

/** Clients have to mask; a key of zeros changes nothing. */
function maskedFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const head = length < 126 ? 6 : 8;
  const frame = Buffer.alloc(head + length);
  frame[0] = textFrame;
  frame[1] = 0x80 | Math.min(length, 126);
  if (length >= 126) frame.writeUInt16BE(length, 2);
  frame.write(text, head);
  return frame;
}
