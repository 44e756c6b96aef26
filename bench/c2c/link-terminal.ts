import { signUserSig } from '../../src/auth/index.ts';
import type { LinkApp } from '../support/chat-load.ts';
import { numberOf, type Protocol, textOf } from './terminal.ts';
import { closeWebSocket, onFrames, openWebSocket } from './web-socket.ts';

/** The link of qalgate (docs/reference/link.md) as a plain client speaks it. */

/** What counts here of the service's frames. */
interface Frame {
  id?: number;
  error?: { name: string; reason: string };
  on?: string;
  conversation?: string;
  seq?: number;
  body?: { MsgContent: { Text: string } }[];
  name?: string;
}

/** Ids of messages are below; that of the login is the first, acknowledgements have the next ones. */
const loginId = 2 ** 52;
/** As our SDK: collected for so long, and answered. */
const ackAfterMs = 200;

/** A UserSig that lasts as long as a benchmark. */
export function signFor({ sdkAppId, secret }: LinkApp, identifier: string): string {
  return signUserSig({ sdkAppId, identifier, secret, expireSec: 3_600, issuedAtSec: Math.floor(Date.now() / 1_000) });
}

/** The first request of a connection. */
export function loginOf(app: LinkApp, account: string): object {
  const { sdkAppId } = app;
  return { do: 'login', sdkAppId, identifier: account, userSig: signFor(app, account), platform: 'Web' };
}

export function createLinkProtocol(app: LinkApp): Protocol {
  return {
    alwaysAccepts: true,
    async connect({ port, account }, { onAccepted, onReceived, onProblem }) {
      const socket = await openWebSocket(`ws://127.0.0.1:${port}/im/v1/link`);
      const write = (frame: object): void => socket.send(JSON.stringify(frame));
      const login = Promise.withResolvers<void>();
      const unacknowledged = new Map<string, number>();
      let acknowledging: NodeJS.Timeout | undefined;
      let lastId = loginId;
      let isClosing = false;

      const fail = (reason: string): void => {
        clearTimeout(acknowledging);
        login.reject(new Error(`${account}: ${reason}`));
        if (!isClosing) onProblem(`${account}: ${reason}`);
      };
      const acknowledge = (): void => {
        acknowledging = undefined;
        lastId += 1;
        write({ id: lastId, do: 'ack', items: [...unacknowledged] });
        unacknowledged.clear();
      };
      onFrames<Frame>(socket, ({ id, error, on, conversation, seq, body, name }) => {
        if (error !== undefined) fail(`${error.name}: ${error.reason}`);
        else if (id === loginId) login.resolve();
        else if (id !== undefined && id < loginId) onAccepted(id);
        else if (on === 'bye') fail(`the service says bye: ${name}`);
        else if (on === 'resync') fail('the service has lost an event');
        else if (on === 'message' && conversation !== undefined) {
          onReceived(numberOf(body?.[0]?.MsgContent.Text ?? ''));
          if (seq === undefined) return;
          unacknowledged.set(conversation, seq);
          acknowledging ??= setTimeout(acknowledge, ackAfterMs);
        }
      });
      socket.on('error', (error) => fail(error.message));
      socket.on('close', (code, reason) => fail(`closed with ${code} ${reason}`));

      write({ id: loginId, ...loginOf(app, account) });
      await login.promise;
      return {
        send(to, number) {
          const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: textOf(number) } }];
          write({ id: number, do: 'send', conversation: `c2c:${to}`, clientId: `m${number}`, body });
        },
        close() {
          isClosing = true;
          clearTimeout(acknowledging);
          return closeWebSocket(socket);
        },
      };
    },
  };
}
