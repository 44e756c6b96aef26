/**
 * The floor of a fan-out: whatever a connection says goes to all, once each, by `send` of `ws`, as its manual shows it. No account, no
 * group, nothing stored. The frame is ours to the byte, but for its numbers.
 */
import { createServer } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';

export interface BareServerOptions {
  port: number;
}

export interface BareRequest {
  from: string;
  text: string;
}

const { port } = JSON.parse(process.argv[2] ?? '') as BareServerOptions;
const sockets = new Set<WebSocket>();
let seq = 0;

function eventText({ from, text }: BareRequest): string {
  seq += 1;
  return JSON.stringify({
    on: 'message',
    conversation: 'group:room0',
    seq,
    prev: seq - 1,
    from,
    time: Math.floor(Date.now() / 1_000),
    random: Math.floor(Math.random() * 2 ** 32),
    body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
    extra: { priority: 'Normal' },
  });
}

const server = createServer();
new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
  sockets.add(socket);
  socket.on('error', () => socket.terminate());
  socket.on('close', () => sockets.delete(socket));
  socket.on('message', (data) => {
    const event = eventText(JSON.parse(data.toString()) as BareRequest);
    for (const each of sockets) each.send(event);
  });
});
server.listen(port, '127.0.0.1');
