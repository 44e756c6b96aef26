import { loginOf } from '../c2c/link-terminal.ts';
import { numberOf, textOf } from '../c2c/terminal.ts';
import type { LinkApp } from '../support/chat-load.ts';
import { openFrameSocket } from './frame-socket.ts';
import { callRest } from './rest-call.ts';
import type { RoomProtocol } from './room-terminal.ts';

/** What counts here of the service's frames. */
interface Frame {
  id?: number;
  ok?: { seq?: number };
  error?: { name: string; reason: string };
  on?: string;
  body?: { MsgContent: { Text?: string } }[];
  name?: string;
}

/** Ids of messages are below. */
const loginId = 2 ** 52;
/** Members that one call takes in. */
const perCall = 500;

/** Groups of qalgate over its link (docs/reference/link.md). */
export function createLinkRooms(app: LinkApp): RoomProtocol {
  return {
    echoes: false,
    async connect({ port, account, room }, { onFrame, onProblem }) {
      const login = Promise.withResolvers<void>();
      let isIn = false;
      const fail = (reason: string): void => {
        login.reject(new Error(`${account}: ${reason}`));
        onProblem(`${account}: ${reason}`);
      };
      const socket = await openFrameSocket(port, '/im/v1/link', {
        onFrame(payload) {
          if (isIn) return onFrame(payload);
          const { id, error } = JSON.parse(payload.toString()) as Frame;
          if (id !== loginId || error !== undefined) return fail(`is not let in: ${payload}`);
          isIn = true;
          login.resolve();
        },
        onProblem: fail,
      });
      const write = (frame: object): void => socket.write(JSON.stringify(frame));
      write({ id: loginId, ...loginOf(app, account) });
      await login.promise;
      const conversation = `group:${room}`;
      return {
        send(number) {
          const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: textOf(number) } }];
          write({ id: number, do: 'send', conversation, clientId: `m${number}`, body });
        },
        // Without an id it is not answered.
        beat: () => write({ do: 'beat' }),
      };
    },
    async gather(port, room, accounts) {
      const call = (command: string, body: object) =>
        callRest({ port, app }, `group_open_http_svc/${command}`, { GroupId: room, ...body });
      await call('create_group', { Type: 'Public', Name: room, Owner_Account: accounts[0] });
      for (let from = 1; from < accounts.length; from += perCall) {
        const some = accounts.slice(from, from + perCall);
        await call('add_group_member', { Silence: 1, MemberList: some.map((name) => ({ Member_Account: name })) });
      }
    },
    decode(payload) {
      const frames = JSON.parse(payload.toString()) as Frame | Frame[];
      const received: number[] = [];
      const accepted: number[] = [];
      for (const { id, ok, error, on, body, name } of Array.isArray(frames) ? frames : [frames]) {
        if (error !== undefined) throw new Error(`${error.name}: ${error.reason}`);
        if (on === 'bye' || on === 'resync') throw new Error(`the service says ${on} ${name ?? ''}`);
        if (on === 'message') received.push(numberOf(body?.[0]?.MsgContent.Text ?? ''));
        else if (id !== undefined) {
          if (ok?.seq === undefined) throw new Error(`message ${id} was dropped`);
          accepted.push(id);
        }
      }
      return { received, accepted };
    },
  };
}
