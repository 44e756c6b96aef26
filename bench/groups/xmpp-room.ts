import { once } from 'node:events';
import { connect } from 'node:net';
import { textOf } from '../c2c/terminal.ts';
import { answered, domain, login, readStream } from '../c2c/xmpp-terminal.ts';
import type { RoomProtocol } from './room-terminal.ts';

/** Rooms of XMPP (XEP-0045), as little of them as a member needs: it enters, sends, and gets everything back, its own too. */

export const roomHost = `conference.${domain}`;

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

    readStream(socket, { onReceived, onProblem: fail });
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
