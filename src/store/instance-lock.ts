import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { chmod, link, stat, unlink } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../observe/index.ts';
import { openSocketDirectory, type SocketDirectory } from './socket-directory.ts';
import { codeOf, StoreError } from './store-error.ts';

/**
 * One process owns a data directory: the one that answers on `instance.sock` there. The socket is the lock (a dead
 * process answers no more, so nothing has to expire) and tells the command line where the running server is.
 *
 * How two processes that start at once, perhaps over the socket of a dead third, end up with exactly one owner:
 * - A process first listens on a socket of a private name and then gives it the lock's name by link(2), which fails
 *   where that name exists. So whoever has the name is listening already, and the kernel chooses between two.
 * - A dead socket under the name is removed only while holding `instance.sock.takeover-1`, a lock of the same kind,
 *   and after finding it dead once more. Nobody else removes it meanwhile, so nobody can have put his own there.
 * - A process may die holding takeover-1; that is removed holding takeover-2, and so on. Each step up needs another
 *   death within the same milliseconds.
 */
export interface InstanceLock {
  /** Says that the database is up, and how to log in there. */
  setReady(postgres: PostgresFacts): void;
  /** False when another process took this one for dead (it was silent too long) and owns the directory now. */
  isHeld(): Promise<boolean>;
  close(): Promise<void>;
}

/** What the owner of a data directory answers: one line of JSON. */
export interface InstanceFacts {
  pid: number;
  /** Release of qalgate. */
  version: string;
  /** ISO 8601. */
  startedAt: string;
  /** What it runs for: a `command` holds the directory for seconds. */
  use: InstanceUse;
  /** Where its database is; missing while it starts. */
  postgres?: PostgresFacts;
}

export type InstanceUse = 'serve' | 'command';

/** The password is in a file beside; the socket is in the directory of the cluster. */
export interface PostgresFacts {
  port: number;
  user: string;
  database: string;
}

type Answer = { state: 'alive'; facts: InstanceFacts } | { state: 'dead' | 'absent' | 'unclear' };

const lockName = 'instance.sock';
const maxTakeovers = 8;
/** A live process answers within a millisecond; one that is stopped or busy for twice this long counts as dead. */
const defaultAnswerMs = 3_000;
const acquireMs = 15_000;
const retryMs = 10;
const answerBytes = 16_384;

/** Takes the lock of that directory, or says who has it. */
export async function acquireInstanceLock(
  deps: { logger: Logger },
  options: { dataDir: string; use: InstanceUse; answerMs?: number },
): Promise<{ ok: true; lock: InstanceLock } | { ok: false; holder: InstanceFacts }> {
  const { dataDir, use, answerMs = defaultAnswerMs } = options;
  const fileOf = (name: string) => path.join(dataDir, name);
  const sockets = await openSocketDirectory(dataDir);
  const facts: InstanceFacts = {
    pid: process.pid,
    version: releaseVersion(),
    startedAt: new Date().toISOString(),
    use,
  };
  const ownName = `${lockName}.${process.pid}-${randomBytes(3).toString('hex')}`;
  const server = await listen(sockets, ownName, () => `${JSON.stringify(facts)}\n`);
  const abandon = async () => {
    await unlink(fileOf(ownName)).catch(ignoreMissing);
    await closeServer(server);
    await sockets.close();
  };

  const deadline = AbortSignal.timeout(acquireMs);
  /** Gives our socket the name of that level: undefined when it is ours, else who has it. */
  const take = async (level: number): Promise<InstanceFacts | undefined> => {
    const name = level === 0 ? lockName : `${lockName}.takeover-${level}`;
    for (;;) {
      if (await linkIfAbsent(fileOf(ownName), fileOf(name))) return undefined;
      const answer = await askSocket(sockets, name, answerMs);
      if (answer.state === 'alive') return answer.facts;
      if (answer.state === 'dead') await removeDead(level, name);
      if (deadline.aborted) {
        throw new StoreError('DATA_DIR_UNUSABLE', `cannot decide who owns ${dataDir}: remove ${fileOf(name)}`);
      }
      if (answer.state === 'unclear') await delay(retryMs);
    }
  };
  const removeDead = async (level: number, name: string): Promise<void> => {
    if (level === maxTakeovers) {
      throw new StoreError('DATA_DIR_UNUSABLE', `too many dead sockets in ${dataDir}: remove ${lockName}*`);
    }
    if ((await take(level + 1)) !== undefined) {
      await delay(retryMs);
      return;
    }
    try {
      if ((await askSocket(sockets, name, answerMs)).state !== 'dead') return;
      await unlink(fileOf(name)).catch(ignoreMissing);
      deps.logger.info({ socket: name }, 'store.instance.socket.removed');
    } finally {
      await unlink(fileOf(`${lockName}.takeover-${level + 1}`)).catch(ignoreMissing);
    }
  };

  try {
    await chmod(fileOf(ownName), 0o600);
    const holder = await take(0);
    if (holder !== undefined) {
      await abandon();
      return { ok: false, holder };
    }
    await unlink(fileOf(ownName)).catch(ignoreMissing);
  } catch (error) {
    await abandon();
    throw error;
  }

  const { ino } = await stat(fileOf(lockName));
  const isHeld = () => isInode(fileOf(lockName), ino);
  let closed: Promise<void> | undefined;
  const lock: InstanceLock = {
    setReady(postgres) {
      facts.postgres = postgres;
    },
    isHeld,
    close() {
      closed ??= (async () => {
        // The name goes first: once we stop listening it would look dead, and its remover could meet a successor.
        if (await isHeld()) await unlink(fileOf(lockName)).catch(ignoreMissing);
        await closeServer(server);
        await sockets.close();
      })();
      return closed;
    },
  };
  return { ok: true, lock };
}

/** Asks who owns that directory; undefined: nobody does. */
export async function askInstance(dataDir: string): Promise<InstanceFacts | undefined> {
  const sockets = await openSocketDirectory(dataDir);
  try {
    const answer = await askSocket(sockets, lockName, defaultAnswerMs);
    return answer.state === 'alive' ? answer.facts : undefined;
  } finally {
    await sockets.close();
  }
}

function listen(sockets: SocketDirectory, name: string, answer: () => string): Promise<net.Server> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.setTimeout(defaultAnswerMs, () => socket.destroy());
    socket.end(answer());
  });
  server.maxConnections = 64;
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(unusable(sockets, error)));
    server.listen(path.join(sockets.shortPath, name), () => resolve(server));
  });
}

function closeServer(server: net.Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function askSocket(sockets: SocketDirectory, name: string, answerMs: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(path.join(sockets.shortPath, name));
    const finish = (answer: Answer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish({ state: 'dead' }), answerMs);
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end >= 0) finish(readFacts(text.slice(0, end)));
      else if (text.length > answerBytes) finish({ state: 'unclear' });
    });
    // It accepted and then closed without a word: it is about to let go.
    socket.on('end', () => finish({ state: 'unclear' }));
    socket.on('error', (error) => {
      const code = codeOf(error);
      if (code === 'ENOENT') finish({ state: 'absent' });
      else if (code === 'ECONNREFUSED') finish({ state: 'dead' });
      else if (code === 'EACCES' || code === 'EPERM') {
        clearTimeout(timer);
        reject(unusable(sockets, error));
      } else finish({ state: 'unclear' });
    });
  });
}

function readFacts(line: string): Answer {
  try {
    const facts: unknown = JSON.parse(line);
    if (typeof facts === 'object' && facts !== null && 'pid' in facts && 'use' in facts) {
      return { state: 'alive', facts: facts as InstanceFacts };
    }
  } catch {
    // Not ours: falls through.
  }
  return { state: 'unclear' };
}

async function linkIfAbsent(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw new StoreError('DATA_DIR_UNUSABLE', `cannot lock the data directory: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

async function isInode(file: string, ino: number): Promise<boolean> {
  try {
    return (await stat(file)).ino === ino;
  } catch {
    return false;
  }
}

function ignoreMissing(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error;
}

function unusable(sockets: SocketDirectory, error: Error): StoreError {
  const remedy = 'run as the account that owns it, or choose another `data` directory on a local file system';
  return new StoreError(
    'DATA_DIR_UNUSABLE',
    `cannot use sockets in ${sockets.shortPath}: ${error.message}; ${remedy}`,
    {
      cause: error,
    },
  );
}

function releaseVersion(): string {
  const file = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(file) as { version?: unknown }).version);
}
