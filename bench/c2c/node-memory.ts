import { once } from 'node:events';
import http from 'node:http';
import { json } from 'node:stream/consumers';
import { rssBytesOf } from '../support/process-figures.ts';
import { openWebSocket } from './web-socket.ts';

/**
 * Resident memory of a program on Node after a garbage collection, asked for over its inspector. It was started with
 * `--inspect-port`, which costs nothing until the first question opens that port.
 */
export async function memoryBytesOfNode(pid: number, inspectPort: number): Promise<number> {
  process.kill(pid, 'SIGUSR1');
  const socket = await openWebSocket(await inspectorUrl(inspectPort));
  // Twice: what the first one finalises, the second one frees.
  for (const id of [1, 2]) {
    const answered = once(socket, 'message');
    socket.send(JSON.stringify({ id, method: 'HeapProfiler.collectGarbage' }));
    await answered;
  }
  const closed = once(socket, 'close');
  socket.close();
  await closed;
  return await rssBytesOf(pid);
}

const openMs = 5_000;

async function inspectorUrl(port: number): Promise<string> {
  const deadline = performance.now() + openMs;
  for (;;) {
    try {
      const request = http.get({ host: '127.0.0.1', port, path: '/json/list', agent: false });
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      const [target] = (await json(response)) as { webSocketDebuggerUrl: string }[];
      if (target !== undefined) return target.webSocketDebuggerUrl;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
