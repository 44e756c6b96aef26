/**
 * The floor: the least that a program on `ws` and PostgreSQL does to commit a message before it delivers it. No check, no
 * account, no conversation, no history that could be read; what is missing is what the others' features cost.
 */
import { createServer } from 'node:http';
import pg from 'pg';
import { type WebSocket, WebSocketServer } from 'ws';

export interface BareServerOptions {
  port: number;
  database: pg.ClientConfig;
}

export type BareRequest = { do: 'login'; account: string } | { do: 'send'; id: number; to: string; text: string };
export type BareEvent =
  | { on: 'login' }
  | { on: 'accepted'; id: number }
  | { on: 'message'; from: string; text: string };

interface Waiting {
  id: number;
  from: string;
  to: string;
  text: string;
  sender: WebSocket;
}

const { port, database } = JSON.parse(process.argv[2] ?? '') as BareServerOptions;
const client = new pg.Client(database);
await client.connect();
await client.query(`
  create table if not exists message (
    id bigint generated always as identity primary key,
    sender text not null,
    receiver text not null,
    body text not null
  )`);

const links = new Map<string, WebSocket>();
let waiting: Waiting[] = [];
let isCommitting = false;

const tell = (socket: WebSocket, event: BareEvent): void => socket.send(JSON.stringify(event));

/** Natural batches: whatever comes during a commit is the next one. */
async function commit(): Promise<void> {
  isCommitting = true;
  while (waiting.length > 0) {
    const batch = waiting;
    waiting = [];
    await client.query({
      name: 'store',
      text: 'insert into message (sender, receiver, body) select * from unnest($1::text[], $2::text[], $3::text[])',
      values: [batch.map(({ from }) => from), batch.map(({ to }) => to), batch.map(({ text }) => text)],
    });
    for (const { id, from, to, text, sender } of batch) {
      tell(sender, { on: 'accepted', id });
      const receiver = links.get(to);
      if (receiver !== undefined) tell(receiver, { on: 'message', from, text });
    }
  }
  isCommitting = false;
}

const server = createServer();
new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
  let account = '';
  socket.on('error', () => socket.terminate());
  socket.on('close', () => {
    if (links.get(account) === socket) links.delete(account);
  });
  socket.on('message', (data) => {
    const request = JSON.parse(data.toString()) as BareRequest;
    if (request.do === 'login') {
      account = request.account;
      links.set(account, socket);
      tell(socket, { on: 'login' });
      return;
    }
    waiting.push({ id: request.id, from: account, to: request.to, text: request.text, sender: socket });
    if (!isCommitting) void commit();
  });
});
server.listen(port, '127.0.0.1');
