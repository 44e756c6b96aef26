import { numberOf, textOf } from '../c2c/terminal.ts';
import type { BareRequest } from './bare-server.ts';
import { openFrameSocket } from './frame-socket.ts';
import type { RoomProtocol } from './room-terminal.ts';

/** The one group of bare-server.ts. */
export const bareRooms: RoomProtocol = {
  echoes: true,
  async connect({ port, account }, events) {
    const socket = await openFrameSocket(port, '/', events);
    const write = (request: BareRequest): void => socket.write(JSON.stringify(request));
    return { send: (number) => write({ from: account, text: textOf(number) }), beat() {} };
  },
  async gather() {},
  decode(payload) {
    const { body } = JSON.parse(payload.toString()) as { body: [{ MsgContent: { Text: string } }] };
    return { received: [numberOf(body[0].MsgContent.Text)], accepted: [] };
  },
};
