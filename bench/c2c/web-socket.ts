import { once } from 'node:events';
import { WebSocket } from 'ws';

/** Resolves when it is open; rejects when the service does not let it in. */
export async function openWebSocket(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url, [], { perMessageDeflate: false });
  await once(socket, 'open');
  return socket;
}

/** Resolves when both sides have closed it. */
export async function closeWebSocket(socket: WebSocket): Promise<void> {
  if (socket.readyState === WebSocket.CLOSED) return;
  const closed = once(socket, 'close');
  socket.close(1000);
  await closed;
}

/** Ours write one JSON object a frame; the service may write an array of them. */
export function onFrames<F extends object>(socket: WebSocket, receive: (frame: F) => void): void {
  socket.on('message', (data) => {
    const frames = JSON.parse(data.toString()) as F | F[];
    if (Array.isArray(frames)) frames.forEach(receive);
    else receive(frames);
  });
}
