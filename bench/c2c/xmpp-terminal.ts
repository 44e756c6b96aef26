import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { numberOf, type Protocol, textOf } from './terminal.ts';

/**
 * XMPP over TCP, as little of it as a chat client needs (RFC 6120, 6121): plain login, bind, presence, messages. XML is
 * looked through, not parsed: what our server and our own texts send holds no surprises.
 *
 * XMPP tells a sender nothing about a message that is delivered. For one to somebody who is away, XEP-0198 (stream
 * management) does: the server answers `<r/>` once it has handled what came before, which here is to store it.
 */

export const domain = 'localhost';
export const xmppPassword = 'says-qal';

const streamStart =
  `<?xml version='1.0'?><stream:stream to='${domain}' version='1.0' xmlns='jabber:client' ` +
  "xmlns:stream='http://etherx.jabber.org/streams'>";
const streamEnd = '</stream:stream>';
const features = '</stream:features>';
const streamManagement = 'urn:xmpp:sm:3';
const messageEnd = '</message>';
const bodyStart = '<body>';
/** For each answer at login. */
const answerMs = 20_000;

export const xmppProtocol: Protocol = {
  alwaysAccepts: false,
  async connect({ port, account, needsAccept }, { onAccepted, onReceived, onProblem }) {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    socket.setEncoding('utf8');
    await once(socket, 'connect');
    let isClosing = false;
    const fail = (reason: string): void => {
      if (!isClosing) onProblem(`${account}: ${reason}`);
    };
    socket.on('error', (error) => fail(error.message));
    socket.on('close', () => fail('the connection was closed'));
    await login(socket, account, needsAccept).catch((error: unknown) => {
      isClosing = true;
      socket.destroy();
      throw error;
    });

    const unanswered: number[] = [];
    readStream(socket, {
      onReceived,
      onProblem: fail,
      onTag(tag) {
        const number = tag.startsWith('<a ') ? unanswered.shift() : undefined;
        if (number !== undefined) onAccepted(number);
      },
    });
    return {
      send(to, number) {
        const message = `<message to='${to}@${domain}' type='chat' id='m${number}'><body>${textOf(number)}</body></message>`;
        if (!needsAccept) {
          socket.write(message);
          return;
        }
        unanswered.push(number);
        socket.write(`${message}<r xmlns='${streamManagement}'/>`);
      },
      async close() {
        isClosing = true;
        const closed = once(socket, 'close');
        socket.end(streamEnd);
        await closed;
      },
    };
  },
};

/** Reads what comes after the login: the numbers of messages, and other tags. */
export function readStream(
  socket: Socket,
  events: { onReceived(number: number): void; onProblem(reason: string): void; onTag?: (tag: string) => void },
): void {
  let pending = '';
  socket.on('data', (data) => {
    pending += data;
    for (;;) {
      const end = pending.indexOf('>');
      if (end < 0) return;
      if (pending.startsWith('<message')) {
        const messageAt = pending.indexOf(messageEnd);
        if (messageAt < 0) return;
        const stanza = pending.slice(0, messageAt);
        pending = pending.slice(messageAt + messageEnd.length);
        const bodyAt = stanza.indexOf(bodyStart);
        if (bodyAt < 0 || stanza.includes(" type='error'")) events.onProblem(`not a message of ours: ${stanza}`);
        else events.onReceived(numberOf(stanza.slice(bodyAt + bodyStart.length, bodyAt + 30)));
        continue;
      }
      const tag = pending.slice(0, end);
      pending = pending.slice(end + 1);
      if (tag.startsWith('<stream:error') || tag === '</stream:stream') {
        events.onProblem(`the stream ends: ${tag}${pending}`);
      } else events.onTag?.(tag);
    }
  });
}

/** Why nobody can log in yet; undefined: somebody did. */
export async function xmppProblem(port: number, account: string): Promise<string | undefined> {
  try {
    const events = { onAccepted() {}, onReceived() {}, onProblem() {} };
    const terminal = await xmppProtocol.connect({ port, account, needsAccept: false }, events);
    await terminal.close();
    return undefined;
  } catch (error) {
    return String(error);
  }
}

/** Until the server has sent the presence back: from then on messages are delivered here. */
export async function login(socket: Socket, account: string, needsAccept: boolean): Promise<void> {
  const steps = [
    [streamStart, features],
    [
      `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${base64(`\0${account}\0${xmppPassword}`)}</auth>`,
      '<success',
    ],
    [streamStart, features],
    [
      "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>",
      '</iq>',
    ],
    ['<presence/>', '<presence'],
    ...(needsAccept ? [[`<enable xmlns='${streamManagement}'/>`, '<enabled']] : []),
  ];
  for (const [request, answer] of steps) {
    socket.write(request ?? '');
    await answered(socket, answer ?? '');
  }
}

/** Until one of these texts has come. */
export async function answered(socket: Socket, ...wanted: string[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let text = '';
  const read = (data: string): void => {
    text += data;
    if (wanted.some((one) => text.includes(one))) resolve();
    else if (/<(failure|stream:error)|type='error'/.test(text)) reject(new Error(`refused at ${wanted}: ${text}`));
  };
  const end = (): void => reject(new Error(`closed at ${wanted}: ${text}`));
  const timer = setTimeout(() => reject(new Error(`no ${wanted} in ${answerMs} ms: ${text}`)), answerMs);
  socket.on('data', read).on('close', end);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    socket.off('data', read).off('close', end);
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
