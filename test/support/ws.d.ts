/** The part of npm's `ws` that the tests use: the package brings no types of its own. */
declare module 'ws' {
  import type { EventEmitter } from 'node:events';
  import type { IncomingMessage, Server } from 'node:http';

  export class WebSocket extends EventEmitter<{
    open: [];
    message: [data: Buffer, isBinary: boolean];
    close: [code: number, reason: Buffer];
    error: [error: Error];
  }> {
    constructor(url: string, protocols?: string[], options?: { headers?: Record<string, string> });
    readonly protocol: string;
    readonly extensions: string;
    send(data: string | Buffer, options?: { binary: boolean }): void;
    close(code?: number, reason?: string): void;
    terminate(): void;
  }

  export class WebSocketServer extends EventEmitter<{ connection: [socket: WebSocket, request: IncomingMessage] }> {
    constructor(options: {
      server: Server;
      handleProtocols?: (offered: Set<string>) => string | false;
      perMessageDeflate?: boolean;
      maxPayload?: number;
    });
    close(): void;
  }
}
