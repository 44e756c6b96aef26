/** What processes use, read from the system: they need not help. */
import { readdir, readFile } from 'node:fs/promises';

/** CPU time is told in these of processes that have ended. */
const microsPerTick = 10_000;

/** Of its threads that still live. In nanoseconds on a CPU, so that a short round is measured as exactly as the others. */
export async function cpuMicrosOf(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const nanos = await Promise.all(
    threads.map(async (thread) => {
      const [spent] = (await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')).split(' ');
      return Number(spent);
    }),
  );
  return nanos.reduce((sum, each) => sum + each, 0) / 1_000;
}

/** Of the process and its children: those that live, and those that have ended since its start. */
export async function familyCpuMicros(pid: number): Promise<number> {
  const [children, stat, own] = await Promise.all([
    readFile(`/proc/${pid}/task/${pid}/children`, 'utf8'),
    readFile(`/proc/${pid}/stat`, 'utf8'),
    cpuMicrosOf(pid),
  ]);
  const living = await Promise.all(
    children
      .split(' ')
      .filter((child) => child !== '')
      // One that ends just now is left out of both, once.
      .map((child) => cpuMicrosOf(Number(child)).catch(() => 0)),
  );
  // Behind the name, which may hold anything: the fields from the third on.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ended = (Number(fields[13]) + Number(fields[14])) * microsPerTick;
  return living.reduce((sum, each) => sum + each, own + ended);
}

/** Resident memory. */
export async function rssBytesOf(pid: number): Promise<number> {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) * 1_024;
}
