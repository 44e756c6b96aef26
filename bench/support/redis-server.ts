import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { familyCpuMicros } from './process-figures.ts';
import { freePorts, portProblem, startProgram } from './program.ts';

export interface BenchRedis {
  port: number;
  /** CPU time so far, of the server and of children that rewrite its file. */
  cpuMicros(): Promise<number>;
  close(): Promise<void>;
}

/** A redis-server of its own, set up as we ask operators to: append-only file, nothing evicted. */
export async function startRedisServer(file: string): Promise<BenchRedis> {
  const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  const [port = 0] = await freePorts(1);
  const settings = {
    bind: '127.0.0.1',
    port: String(port),
    dir: folder,
    save: '',
    appendonly: 'yes',
    appendfsync: 'everysec',
    'maxmemory-policy': 'noeviction',
  };
  const { pid, close } = await startProgram({
    file,
    args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    problem: () => portProblem(port),
    folders: [folder],
  });
  return { port, cpuMicros: () => familyCpuMicros(pid), close };
}
