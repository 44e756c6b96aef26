import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { until } from './database.ts';
import type { AccountView, GroupNotices, GroupView, Op, Question } from './group-ops.ts';

/** The process was killed before it answered. */
export class Killed extends Error {}

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

interface Running {
  readonly child: ChildProcess;
  readonly backends: Set<number>;
  readonly waiting: Map<number, Waiting>;
  readonly ended: Promise<unknown>;
}

/** Groups that a process serves, and after its death another one, on the database that the test has open. */
export interface GroupServer {
  nowMs: number;
  /** `groupId`: of a group that was made. */
  perform(groupId: string, op: Op): Promise<{ result: string; groupId?: string; told: string[] }>;
  /** What was told of the group since it was asked for. */
  toldOf(groupId: string): Promise<string[]>;
  look(groupId: string, isWhole: boolean): Promise<{ view: GroupView | 'GROUP_UNKNOWN'; notices: GroupNotices }>;
  lookAtAccount(account: string): Promise<AccountView>;
  maintain(): Promise<void>;
  /** Kills the process that serves; resolves when nothing of it runs on any more, in the database either, and another one serves. */
  kill(): Promise<void>;
}

/** `query`: of the test's database. */
export async function openGroupServer(
  t: Test,
  { dataDir, accounts, db }: { dataDir: string; accounts: readonly string[]; db: Pool },
): Promise<GroupServer> {
  async function start(): Promise<Running> {
    const script = fileURLToPath(new URL('group-process.ts', import.meta.url));
    const child = fork(script, [JSON.stringify({ dataDir, accounts })], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const running: Running = { child, backends: new Set(), waiting: new Map(), ended: once(child, 'exit') };
    await new Promise<void>((resolve, reject) => {
      child.on('message', (message: Message) => {
        if ('ready' in message) resolve();
        else if ('backend' in message) running.backends.add(message.backend);
        else if ('failure' in message) running.waiting.get(message.id)?.reject(new Error(message.failure));
        else running.waiting.get(message.id)?.resolve(message.answer);
        if ('id' in message) running.waiting.delete(message.id);
      });
      child.on('exit', (code) => {
        reject(new Error(`the process ended with ${code} before it served`));
        for (const { reject: fail } of running.waiting.values()) fail(new Killed());
        running.waiting.clear();
      });
    });
    return running;
  }

  let nextId = 1;
  let current = start();
  /** Starts in time, so that little of it is waited for. */
  let next = current.then(start);
  next.catch(() => {});
  await current;

  async function ask<T>(question: Question): Promise<T> {
    const { child, waiting } = await current;
    return new Promise<T>((resolve, reject) => {
      const id = nextId++;
      waiting.set(id, { resolve: resolve as Waiting['resolve'], reject });
      if (child.exitCode !== null || child.signalCode !== null) return reject(new Killed());
      child.send({ id, nowMs: server.nowMs, question }, (error) => {
        if (error !== null) reject(new Killed());
      });
    });
  }

  /** Asks again whoever serves next. */
  async function look<T>(question: Question): Promise<T> {
    for (;;) {
      const asked = current;
      try {
        return await ask<T>(question);
      } catch (error) {
        if (!(error instanceof Killed) || current === asked) throw error;
      }
    }
  }

  const server: GroupServer = {
    nowMs: Date.now(),
    perform: (groupId, op) => ask({ groupId, op }),
    toldOf: (groupId) => look({ toldOf: groupId }),
    look: (groupId, isWhole) => look({ groupId, isWhole }),
    lookAtAccount: (account) => look({ account }),
    maintain: () => look('maintain'),
    kill() {
      const [old, standby] = [current, next];
      const replace = async (): Promise<Running> => {
        const { child, ended, backends } = await old;
        child.kill('SIGKILL');
        await ended;
        await until(async () => {
          const { rows } = await db.query('select from pg_stat_activity where pid = any ($1)', [[...backends]]);
          return rows.length === 0;
        });
        return standby;
      };
      current = replace();
      next = current.then(start);
      next.catch(() => {});
      return current.then(() => {});
    },
  };
  return server;
}

type Message =
  | { ready: true }
  | { backend: number }
  | { id: number; answer: unknown }
  | { id: number; failure: string };
type Pool = { query(text: string, values: unknown[]): Promise<{ rows: unknown[] }> };
