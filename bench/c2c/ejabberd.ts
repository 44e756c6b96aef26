import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchDatabase, startDatabase } from '../support/database.ts';
import { rssBytesOf } from '../support/process-figures.ts';
import { findProgram, freePorts, startProgram } from '../support/program.ts';
import { accountNames, type ChatEntrant, type ChatPeer, mostAccounts } from './peer.ts';
import { xmppPassword, xmppProblem } from './xmpp-terminal.ts';

/**
 * ejabberd as Debian's packages `ejabberd` and `erlang-p1-pgsql` install it. With its message archive (XEP-0313) in
 * PostgreSQL it, too, commits a message before it delivers it.
 */
export interface Ejabberd {
  version: string;
  erl: string;
  /** Where it is installed. */
  libraries: string;
}

const schemaFile = '/usr/share/ejabberd/sql/pg.sql';
const librariesFolder = '/usr/lib';
const erlangLibrariesFolder = '/usr/lib/erlang/lib';

/** What is installed; else what of it is missing. */
export function findEjabberd(): Ejabberd | { missing: string } {
  const erl = findProgram('erl');
  for (const folder of erl === undefined ? [] : namesIn(librariesFolder)) {
    const libraries = path.join(librariesFolder, folder);
    const version = namesIn(libraries).flatMap((name) => /^ejabberd-([\d.]+)$/.exec(name)?.[1] ?? [])[0];
    if (version === undefined || erl === undefined) continue;
    const hasDriver = namesIn(erlangLibrariesFolder).some((name) => name.startsWith('p1_pgsql-'));
    return hasDriver ? { version, erl, libraries } : { missing: 'erlang-p1-pgsql' };
  }
  return { missing: 'ejabberd' };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/**
 * How it is started. As installed, it runs a scheduler a core, which spin for a while when there is nothing to do: quick to wake, but that
 * costs CPU. One that sleeps at once was the cheapest of those tried.
 */
export const ejabberdSettings: Record<string, readonly string[]> = {
  'as installed': [],
  'one sleepy scheduler': ['+S', '1:1', '+sbwt', 'none', '+sbwtdcpu', 'none', '+sbwtdio', 'none'],
};

export const ejabberdName = ({ version }: Ejabberd, setting: string): string => `ejabberd ${version}, ${setting}`;

export function ejabberdEntrant(ejabberd: Ejabberd, setting: string): ChatEntrant {
  const sets = accountNames.map((prefix): AccountSet => ({ prefix, count: mostAccounts }));
  return {
    name: ejabberdName(ejabberd, setting),
    async start(stack) {
      const { pid, port, cpuMicros } = await startEjabberd(stack, ejabberd, { setting, accounts: sets });
      return { load: { protocol: 'xmpp', port }, cpuMicros, memoryBytes: () => settled(pid) };
    },
  };
}

/** Accounts with a number behind their prefix, from 0 on. */
export interface AccountSet {
  prefix: string;
  count: number;
}

export interface EjabberdOptions {
  /** One of {@link ejabberdSettings}. */
  setting: string;
  accounts: readonly AccountSet[];
  /** Lines of `modules` besides those of one-to-one messages. */
  modules?: string;
}

export interface StartedEjabberd extends Pick<ChatPeer, 'cpuMicros'> {
  pid: number;
  port: number;
}

/** @param stack ends what was started */
export async function startEjabberd(
  stack: AsyncDisposableStack,
  { erl, libraries }: Ejabberd,
  { setting, accounts, modules = '' }: EjabberdOptions,
): Promise<StartedEjabberd> {
  const database = await startDatabase();
  stack.defer(database.close);
  await database.execute(await readFile(schemaFile, 'utf8'));
  for (const set of accounts) await database.execute(insertAccounts(set));
  const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  const [port = 0] = await freePorts(1);
  const configuration = path.join(folder, 'ejabberd.yml');
  await writeFile(configuration, configurationText(port, database, modules), { mode: 0o600 });
  const environment = {
    ERL_LIBS: libraries,
    EJABBERD_CONFIG_PATH: configuration,
    EJABBERD_LOG_PATH: path.join(folder, 'ejabberd.log'),
    ERL_CRASH_DUMP_BYTES: '0',
  };
  const { pid, cpuMicros, close } = await startProgram({
    file: erl,
    // As ejabberdctl starts it, but without a name: then nothing of Erlang's distribution (epmd) is started.
    args: [
      ...['-noinput', '+P', '250000', ...(ejabberdSettings[setting] ?? [])],
      ...['-mnesia', 'dir', JSON.stringify(path.join(folder, 'mnesia')), '-s', 'ejabberd'],
    ],
    // It takes connections before its own to the database stand.
    problem: () => xmppProblem(port, `${accounts[0]?.prefix}0`),
    folders: [folder],
    place: { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, ...environment } },
  });
  stack.defer(close);
  return {
    pid,
    port,
    cpuMicros: async () => ({ service: await cpuMicros(), database: await database.cpuMicros() }),
  };
}

const insertAccounts = ({ prefix, count }: AccountSet): string =>
  `insert into users (username, password) select '${prefix}' || n, '${xmppPassword}' from generate_series(0, ${count - 1}) as n`;

/** What our own has: history, offline messages, contacts, last activity, the other terminals, profiles, resumption. */
function configurationText(port: number, { target, tcpHost }: BenchDatabase, modules: string): string {
  return `
hosts: [localhost]
loglevel: error
listen:
  - { port: ${port}, ip: 127.0.0.1, module: ejabberd_c2s, starttls: false, shaper: none, access: all, backlog: 1024 }
s2s_access: none
auth_method: [sql]
auth_password_format: plain
default_db: sql
sql_type: pgsql
sql_server: ${tcpHost}
sql_port: ${target.port}
sql_database: ${target.database}
sql_username: ${target.user}
sql_password: ${JSON.stringify(target.password)}
shaper_rules:
  max_user_sessions: 10
  offline_messages: { infinity: all }
modules:
  mod_mam: { default: always }
  mod_offline: { access_max_user_messages: offline_messages }
  mod_roster: {}
  mod_last: {}
  mod_carboncopy: {}
  mod_client_state: {}
  mod_stream_mgmt: {}
  mod_vcard: { search: false }
  mod_disco: {}
  mod_ping: {}
${modules}`;
}

const settlePollMs = 500;
/** As often unchanged, by the share below, it counts as settled. */
const settlePolls = 4;
const settleShare = 0.005;
const settleMs = 30_000;

/** Resident memory once its processes have tidied up by themselves: nobody can ask them to. */
async function settled(pid: number): Promise<number> {
  const deadline = performance.now() + settleMs;
  let last = await rssBytesOf(pid);
  for (let unchanged = 0; unchanged < settlePolls && performance.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, settlePollMs));
    const bytes = await rssBytesOf(pid);
    unchanged = Math.abs(bytes - last) < last * settleShare ? unchanged + 1 : 0;
    last = bytes;
  }
  return last;
}
