/**
 * As much of RFC 6455 as an echo needs: handshake, masked frames, fragments, ping, close; no extensions.
 * An example can be read in one sitting, and a production install brings no WebSocket package. Use one in real work.
 */
import { createHash } from 'node:crypto';
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';

export interface WebSocketOptions {
  /** Sent as the first text message. */
  greeting: string;
  /** A longer message ends the connection with code 1009. */
  maxMessageBytes: number;
  /** A connection that brings nothing for this long is cut. */
  idleMs: number;
}

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const closeCodes = { normal: 1000, protocolError: 1002, notUtf8: 1007, tooBig: 1009 } as const;

/** A peer that does not end the connection after our close frame is cut. */
const closeTimeoutMs = 5_000;

interface Frame {
  final: boolean;
  opcode: number;
  payload: Buffer;
}

/** A frame that must not be answered by an echo: the connection ends with the code. */
class FrameError extends Error {
  readonly closeCode: number;
  constructor(closeCode: number, reason: string) {
    super(reason);
    this.closeCode = closeCode;
  }
}

/** Answers an upgrade request and echoes every message until either side closes. `head`: bytes read past the request. */
export function acceptWebSocketEcho(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  options: WebSocketOptions,
): void {
  socket.on('error', () => socket.destroy());
  const key = request.headers['sec-websocket-key'] ?? '';
  if (request.method !== 'GET' || request.headers.upgrade?.toLowerCase() !== 'websocket') {
    refuse(socket, 400, 'only GET with Upgrade: websocket');
    return;
  }
  if (request.headers['sec-websocket-version'] !== '13') {
    refuse(socket, 426, 'only WebSocket version 13', 'Sec-WebSocket-Version: 13\r\n');
    return;
  }
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) {
    refuse(socket, 400, 'Sec-WebSocket-Key is not 16 bytes of base64');
    return;
  }
  // RFC 6455 §1.3: proves that the key was read.
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.write(frameBytes(opcodes.text, Buffer.from(options.greeting)));
  echo(socket, head, options);
}

function echo(socket: Duplex, head: Buffer, { maxMessageBytes, idleMs }: WebSocketOptions): void {
  let unread: Buffer = Buffer.alloc(0);
  let message: { opcode: number; parts: Buffer[]; bytes: number } | undefined;
  let ended = false;

  const end = (code: number, reason = ''): void => {
    ended = true;
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    socket.end(frameBytes(opcodes.close, payload));
    setTimeout(() => socket.destroy(), closeTimeoutMs).unref();
  };

  const take = (frame: Frame): void => {
    if (frame.opcode === opcodes.ping) socket.write(frameBytes(opcodes.pong, frame.payload));
    else if (frame.opcode === opcodes.close) end(closeCodes.normal);
    else if (frame.opcode !== opcodes.pong) takePart(frame);
  };

  const takePart = (frame: Frame): void => {
    if ((frame.opcode === opcodes.continuation) !== (message !== undefined)) {
      throw new FrameError(closeCodes.protocolError, 'fragments out of order');
    }
    message ??= { opcode: frame.opcode, parts: [], bytes: 0 };
    message.parts.push(frame.payload);
    message.bytes += frame.payload.length;
    // An empty fragment costs memory too, so their number is bounded with the bytes.
    if (message.bytes > maxMessageBytes || message.parts.length > 1_000) {
      throw new FrameError(closeCodes.tooBig, `message over ${maxMessageBytes} bytes`);
    }
    if (!frame.final) return;
    const whole = Buffer.concat(message.parts);
    if (message.opcode === opcodes.text && !isUtf8(whole)) throw new FrameError(closeCodes.notUtf8, 'not UTF-8');
    socket.write(frameBytes(message.opcode, whole));
    message = undefined;
  };

  const onData = (chunk: Buffer): void => {
    if (ended) return;
    unread = unread.length === 0 ? chunk : Buffer.concat([unread, chunk]);
    try {
      for (;;) {
        const read = readFrame(unread, maxMessageBytes);
        if (read === undefined) break;
        unread = unread.subarray(read.length);
        take(read.frame);
        if (ended) return;
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      end(error.closeCode, error.message);
      return;
    }
    // A peer that sends but does not read must not fill our memory.
    if (socket.writableNeedDrain) {
      socket.pause();
      socket.once('drain', () => socket.resume());
    }
  };

  if ('setTimeout' in socket && typeof socket.setTimeout === 'function') {
    socket.setTimeout(idleMs, () => socket.destroy());
  }
  socket.on('end', () => socket.end());
  socket.on('data', onData);
  if (head.length > 0) onData(head);
}

/** Reads the first frame of the buffer; undefined while it is not complete. RFC 6455 §5.2. */
function readFrame(bytes: Buffer, maxBytes: number): { frame: Frame; length: number } | undefined {
  if (bytes.length < 2) return undefined;
  const first = bytes.readUInt8(0);
  const second = bytes.readUInt8(1);
  const opcode = first & 0x0f;
  const final = (first & 0x80) !== 0;
  const control = opcode >= 8;
  if ((first & 0x70) !== 0) throw new FrameError(closeCodes.protocolError, 'reserved bits are set');
  if (!Object.values<number>(opcodes).includes(opcode))
    throw new FrameError(closeCodes.protocolError, 'unknown opcode');
  if ((second & 0x80) === 0) throw new FrameError(closeCodes.protocolError, 'a client must mask its frames');

  let offset = 2;
  let payloadBytes = second & 0x7f;
  if (control && (!final || payloadBytes > 125)) throw new FrameError(closeCodes.protocolError, 'bad control frame');
  if (payloadBytes === 126) {
    if (bytes.length < 4) return undefined;
    payloadBytes = bytes.readUInt16BE(2);
    offset = 4;
  } else if (payloadBytes === 127) {
    if (bytes.length < 10) return undefined;
    payloadBytes = Number(bytes.readBigUInt64BE(2));
    offset = 10;
  }
  if (payloadBytes > maxBytes) throw new FrameError(closeCodes.tooBig, `message over ${maxBytes} bytes`);
  const length = offset + 4 + payloadBytes;
  if (bytes.length < length) return undefined;
  const mask = bytes.subarray(offset, offset + 4);
  const payload = Buffer.from(bytes.subarray(offset + 4, length));
  for (let i = 0; i < payload.length; i += 1) payload[i] = (payload[i] ?? 0) ^ (mask[i & 3] ?? 0);
  return { frame: { final, opcode, payload }, length };
}

/** A whole, unmasked frame, as servers send them. */
function frameBytes(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : payload.length < 65_536 ? 4 : 10);
  head.writeUInt8(0x80 | opcode, 0);
  if (head.length === 2) head.writeUInt8(payload.length, 1);
  else if (head.length === 4) {
    head.writeUInt8(126, 1);
    head.writeUInt16BE(payload.length, 2);
  } else {
    head.writeUInt8(127, 1);
    head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([head, payload]);
}

function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Answers an upgrade that is not accepted by an ordinary HTTP response and ends the connection. */
export function refuse(socket: Duplex, status: number, reason: string, extraLines = ''): void {
  const body = `${reason}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n${extraLines}Connection: close\r\n\r\n${body}`,
  );
}
