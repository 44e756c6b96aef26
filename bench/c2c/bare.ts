import { fileURLToPath } from 'node:url';
import { startDatabase } from '../support/database.ts';
import { freePorts, portProblem, startProgram } from '../support/program.ts';
import type { BareServerOptions } from './bare-server.ts';
import { memoryBytesOfNode } from './node-memory.ts';
import type { ChatEntrant } from './peer.ts';

/** See bare-server.ts. */
export const bare: ChatEntrant = {
  name: 'bare ws + PostgreSQL',
  async start(stack) {
    const database = await startDatabase();
    stack.defer(database.close);
    const [port = 0, inspectPort = 0] = await freePorts(2);
    const options: BareServerOptions = { port, database: database.target };
    const script = fileURLToPath(new URL('bare-server.ts', import.meta.url));
    const { pid, cpuMicros, close } = await startProgram({
      file: process.execPath,
      args: [`--inspect-port=${inspectPort}`, script, JSON.stringify(options)],
      problem: () => portProblem(port),
      folders: [],
      quiet: /ebugger|For help, see/,
    });
    stack.defer(close);
    return {
      load: { protocol: 'bare', port },
      cpuMicros: async () => ({ service: await cpuMicros(), database: await database.cpuMicros() }),
      memoryBytes: () => memoryBytesOfNode(pid, inspectPort),
    };
  },
};
