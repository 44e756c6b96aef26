import type { BareEvent, BareRequest } from './bare-server.ts';
import { numberOf, type Protocol, textOf } from './terminal.ts';
import { closeWebSocket, onFrames, openWebSocket } from './web-socket.ts';

export const bareProtocol: Protocol = {
  alwaysAccepts: true,
  async connect({ port, account }, { onAccepted, onReceived, onProblem }) {
    const socket = await openWebSocket(`ws://127.0.0.1:${port}/`);
    const write = (request: BareRequest): void => socket.send(JSON.stringify(request));
    const login = Promise.withResolvers<void>();
    let isClosing = false;
    const fail = (reason: string): void => {
      login.reject(new Error(`${account}: ${reason}`));
      if (!isClosing) onProblem(`${account}: ${reason}`);
    };
    onFrames<BareEvent>(socket, (event) => {
      if (event.on === 'login') login.resolve();
      else if (event.on === 'accepted') onAccepted(event.id);
      else onReceived(numberOf(event.text));
    });
    socket.on('error', (error) => fail(error.message));
    socket.on('close', (code, reason) => fail(`closed with ${code} ${reason}`));

    write({ do: 'login', account });
    await login.promise;
    return {
      send: (to, number) => write({ do: 'send', id: number, to, text: textOf(number) }),
      close() {
        isClosing = true;
        return closeWebSocket(socket);
      },
    };
  },
};
