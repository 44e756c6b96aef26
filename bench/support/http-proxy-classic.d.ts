/** npm http-proxy 1.18.1 brings no types: what the benchmark uses of it. */
declare module 'http-proxy-classic' {
  import type { EventEmitter } from 'node:events';
  import type { Agent, IncomingMessage, ServerResponse } from 'node:http';

  const httpProxy: {
    createProxyServer(options: { target: string; agent: Agent }): EventEmitter & {
      web(req: IncomingMessage, res: ServerResponse): void;
    };
  };
  export default httpProxy;
}
