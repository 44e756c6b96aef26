import { once } from 'node:events';
import { connect } from 'node:net';
import { numberOf, textOf } from '../c2c/terminal.ts';
import { answered, domain, login } from '../c2c/xmpp-terminal.ts';
import type { RoomProtocol } from './room-terminal.ts';

/** Rooms of XMPP (XEP-0045), as little of them as a member needs: it enters, sends, and gets everything back, its own too. */

export const roomHost = `conference.${domain}`;
const messageEnd = '</message>';
const bodyStart = '<body>';

export const xmppRooms: RoomProtocol = {
  echoes: true,
  async connect({ port, account, room }, { onReceived, onProblem }) {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    socket.setEncoding('utf8');
    await once(socket, 'connect');
    const fail = (reason: string): void => onProblem(`${account}: ${reason}`);
    socket.on('error', (error) => fail(error.message));
    socket.on('close', () => fail('the connection was closed'));
    await login(socket, account, false);
    const to = `${room}@${roomHost}`;
    socket.write(
      `<presence to='${to}/${account}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>`,
    );
    // Sent last to whoever enters.
    await answered(socket, '</subject>', '<subject/>');

    let pending = '';
    socket.on('data', (data) => {
      pending += data;
      for (;;) {
        const end = pending.indexOf('>');
        if (end < 0) return;
        if (pending.startsWith('<message')) {
          const messageAt = pending.indexOf(messageEnd);
          if (messageAt < 0) return;
          const bodyAt = pending.indexOf(bodyStart);
          if (bodyAt < 0 || bodyAt > messageAt) fail(`not a message of ours: ${pending.slice(0, messageAt)}`);
          else onReceived(numberOf(pending.slice(bodyAt + bodyStart.length, bodyAt + 30)));
          pending = pending.slice(messageAt + messageEnd.length);
          continue;
        }
        const tag = pending.slice(0, end);
        pending = pending.slice(end + 1);
        if (tag.startsWith('<stream:error') || tag === '</stream:stream') fail(`the stream ends: ${tag}${pending}`);
      }
    });
    return {
      send(number) {
        socket.write(`<message to='${to}' type='groupchat' id='m${number}'><body>${textOf(number)}</body></message>`);
      },
      beat() {},
    };
  },
  async gather() {},
  decode: () => ({ received: [], accepted: [] }),
};
