/** Programs that are not Node's: found where they are installed, run in the foreground, measured from outside. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { cpuMicrosOf } from './process-figures.ts';

export interface ProgramOptions {
  /** Where it is, from {@link findProgram}. */
  file: string;
  /** Such that it stays in the foreground. */
  args: string[];
  /** Answered with 200 once it is ready: for peers that cache, that also fills the cache. */
  urls?: readonly string[];
  /** What else keeps it from being ready; undefined: nothing. */
  problem?: () => Promise<string | undefined>;
  /** Its own, removed at the end. */
  folders: readonly string[];
  /** What the command line of the child matches that does the work, where the program itself does not. */
  worker?: RegExp;
  /** Lines on its standard error that say nothing; the others are shown. */
  quiet?: RegExp;
  /** Where and as whom it runs; absent: as this process does. */
  place?: { cwd?: string; env?: NodeJS.ProcessEnv; uid?: number; gid?: number };
  /** Ends it in order. */
  stopSignal?: 'SIGTERM' | 'SIGINT';
}

export interface Program {
  /** Of the process that does the work. */
  pid: number;
  /** CPU time so far, of all its threads. */
  cpuMicros(): Promise<number>;
  close(): Promise<void>;
}

/** Where the program is, if it is installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
}

const startTimeoutMs = 20_000;
const endTimeoutMs = 5_000;

/**
 * Starts it and waits until it answers. It ends with this process at the latest, if that can still say so.
 * @throws Error when it ends early or does not answer in time
 */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const { file, args, urls = [], problem, folders, worker, quiet, place = {}, stopSignal = 'SIGTERM' } = options;
  const name = path.basename(file);
  const child = spawn(file, args, { ...place, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit');
  let closing = false;
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (!closing && !quiet?.test(line)) console.error(line);
  });
  const remove = (): void => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  };
  // Unlike Node's children it has no channel whose end it would notice.
  const abandon = (): void => {
    child.kill(stopSignal);
    // What still runs may write while its folders are removed.
    for (let waitedMs = 0; waitedMs < endTimeoutMs && isRunning(child.pid); waitedMs += 10) sleepSync(10);
    child.kill('SIGKILL');
    remove();
  };
  process.once('exit', abandon);
  const close = async (): Promise<void> => {
    closing = true;
    process.off('exit', abandon);
    child.kill(stopSignal);
    const timer = setTimeout(() => child.kill('SIGKILL'), endTimeoutMs);
    await ended;
    clearTimeout(timer);
    remove();
  };
  try {
    const failed = ended.then(([code]) => {
      throw new Error(`${name} ended with ${code} at its start`);
    });
    const problems = [...urls.map((url) => () => urlProblem(url)), ...(problem === undefined ? [] : [problem])];
    await Promise.race([Promise.all(problems.map((each) => becomesReady(name, each))), failed]);
    const pid = worker === undefined ? child.pid : await childMatching(child.pid ?? 0, worker);
    if (pid === undefined) throw new Error(`${name} has no child like ${worker}`);
    return { pid, cpuMicros: () => cpuMicrosOf(pid), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @param pattern its first group is the version */
export async function versionOf(file: string, arg: string, pattern: RegExp): Promise<string> {
  const child = spawn(file, [arg], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      text += String(chunk);
    });
  }
  await once(child, 'close');
  return pattern.exec(text)?.[1] ?? 'of unknown version';
}

/** Asked of the system, for a time when Node hears of no events any more. */
function isRunning(pid: number | undefined): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** @param problem what is not well yet; undefined: it is ready */
async function becomesReady(name: string, problem: () => Promise<number | string | undefined>): Promise<void> {
  const deadline = performance.now() + startTimeoutMs;
  for (;;) {
    const found = await problem();
    if (found === undefined) return;
    if (performance.now() > deadline) throw new Error(`${name} does not answer after ${startTimeoutMs} ms: ${found}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Why nobody answers at that port of this machine; undefined: somebody does. */
export function portProblem(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 5_000 });
    const done = (problem?: string) => {
      socket.destroy();
      resolve(problem);
    };
    socket.on('connect', () => done());
    socket.on('timeout', () => done('time-out'));
    socket.on('error', (error) => done(error.message));
  });
}

function urlProblem(url: string): Promise<number | string | undefined> {
  return new Promise((resolve) => {
    const request = http.get(url, { agent: false, timeout: 5_000 }, (response) => {
      response.on('error', (error) => resolve(error.message));
      response.on('end', () => resolve(response.statusCode === 200 ? undefined : response.statusCode)).resume();
    });
    request.on('timeout', () => request.destroy(new Error('time-out')));
    request.on('error', (error) => resolve(error.message));
  });
}

async function childMatching(parent: number, commandLine: RegExp): Promise<number | undefined> {
  const children = await readFile(`/proc/${parent}/task/${parent}/children`, 'utf8');
  for (const pid of children.trim().split(' ')) {
    if (commandLine.test(await readFile(`/proc/${pid}/cmdline`, 'utf8'))) return Number(pid);
  }
  return undefined;
}
