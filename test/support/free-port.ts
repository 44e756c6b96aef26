import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below those that systems give away by themselves. */
const firstPort = 20_000;
const ports = 12_000;

/**
 * A port of loopback on which nobody listens, and that the system gives to nobody: for what is to be there later, or not at all, or again
 * after it was killed. One of those for which `listen(0)` asks may be another program's by then, or a connection's; and whoever knocks at
 * it again and again while nobody is there reaches himself some day, and holds it.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = firstPort + Math.floor(Math.random() * ports);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
