import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import type { LinkEndName } from '../../wire/index.ts';
import type { ByeFacts } from './outgoing.ts';
import type { ReadyFrame } from './waiting-frames.ts';

/** Close codes by which `ws` itself answers what it cannot read. */
const tooBig = 1009;

/** As much of a link as its socket needs. */
interface EndableLink {
  end(name: LinkEndName, facts: ByeFacts): void;
}

/**
 * The WebSocket of a link. It knows its link, so that all links share their listeners, and it ends the link where the
 * library would close by a code of its own: a frame that is too big or breaks the WebSocket protocol.
 */
export class LinkSocket<L extends EndableLink = EndableLink> extends WebSocket {
  link: L | undefined;

  /** Like `send`, which would make a frame of it for each link. Nothing is compressed here, so that none waits in the library before it. */
  sendReady({ bytes }: ReadyFrame): void {
    if (this.readyState === WebSocket.OPEN) streamOf(this)?.write(bytes);
  }

  override close(code?: number, reason?: string | Buffer): void {
    // The library gives a reason when it echoes the other side's close frame, and none for what it refuses.
    if (code !== undefined && reason === undefined && this.link !== undefined) {
      this.link.end(code === tooBig ? 'FRAME_TOO_BIG' : 'PROTOCOL', {});
    } else super.close(code, reason);
  }
}

/** What tells whether a slow reader takes anything: bytes that wait here, and bytes that the kernel has not taken yet. */
export function waitingBytes(socket: LinkSocket): { buffered: number; unsent: number } {
  // A write in progress counts whole in bufferedAmount until its last byte is gone; libuv knows how far it is. Node's own
  // socket time-out looks at the same number.
  const handle = streamOf(socket)?._handle as { writeQueueSize?: number } | null | undefined;
  return { buffered: socket.bufferedAmount, unsent: handle?.writeQueueSize ?? 0 };
}

/** Its connection; undefined: it is closed. */
function streamOf(socket: LinkSocket): ((Duplex | Socket) & { _handle?: unknown }) | undefined {
  return (socket as unknown as { _socket?: (Duplex | Socket) & { _handle?: unknown } })._socket;
}
