import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { createLogger } from '../../src/observe/index.ts';
import { findAccount } from '../../src/store/postgres-account.ts';
import { findPostgresBinaries, reachableBinaries } from '../../src/store/postgres-binaries.ts';
import { clusterDirOf, openCluster, serverPlace } from '../../src/store/postgres-cluster.ts';
import { familyCpuMicros } from './process-figures.ts';
import { freePorts, startProgram } from './program.ts';

/** The PostgreSQL that ours brings, for another: the same program, as durable, a server of its own. */
export interface BenchDatabase {
  /** How to connect over its unix socket, as ours does. */
  target: { host: string; port: number; user: string; password: string; database: string };
  /** Over TCP, for drivers that know no unix sockets. */
  tcpHost: string;
  /** CPU time so far, of all its processes. */
  cpuMicros(): Promise<number>;
  /** Runs statements. */
  execute(sql: string): Promise<void>;
  close(): Promise<void>;
}

export async function startDatabase(): Promise<BenchDatabase> {
  const deps = { logger: createLogger({ level: 'warn' }) };
  const dataDir = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  const account = await findAccount(clusterDirOf(dataDir), deps);
  const found = await findPostgresBinaries();
  const binaries = account === undefined ? found : await reachableBinaries(found, account, deps);
  const { directory, user, password } = await openCluster(deps, { dataDir, binaries, account });
  const [port = 0] = await freePorts(1);
  const target = { host: directory, port, user, password, database: 'postgres' };
  const execute = async (sql: string): Promise<void> => {
    const client = new pg.Client(target);
    await client.connect();
    await client.query(sql).finally(() => client.end());
  };
  const { dataDirArgument, ...place } = serverPlace(directory, account);
  const settings = [
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    'unix_socket_directories=.',
    'timezone=UTC',
    // Errors of statements are told to whoever sent them.
    'log_min_messages=log',
  ];
  const { pid, close } = await startProgram({
    file: binaries.postgres,
    args: ['-D', dataDirArgument, ...settings.flatMap((setting) => ['-c', setting])],
    problem: () => execute('select').then(() => undefined, String),
    folders: [dataDir],
    place,
    quiet: / LOG: |HINT: |the database system is starting up/,
    stopSignal: 'SIGINT',
  });
  return { target, tcpHost: '127.0.0.1', cpuMicros: () => familyCpuMicros(pid), execute, close };
}
