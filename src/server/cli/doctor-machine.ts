import { access, constants, readFile, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Config, clusterFolder, masterKeyFile, readMasterKeys } from '../config/index.ts';
import { explain } from './cli-error.ts';
import type { Check } from './doctor-check.ts';

const gibibyte = 1_073_741_824;
const leastDiskBytes = gibibyte / 4;
const goodDiskBytes = 2 * gibibyte;

export function checkNode(version: string): Check {
  const good = Number.parseInt(version, 10) >= 24;
  if (good) return { name: 'node', state: 'ok', detail: version };
  return { name: 'node', state: 'fail', detail: `${version} is too old`, remedy: 'run on Node 24 or newer' };
}

/** The data folder: there, or can be made; ours to write; not open to others. */
export async function checkData({ data, database }: Config): Promise<Check> {
  const name = 'data folder';
  if (database !== 'embedded') return { name, state: 'ok', detail: 'not needed with an external database' };
  const remedy = `run as the account that owns it, or set \`data\` to a folder of ${accountName()}`;
  const found = await stat(data).catch(() => undefined);
  if (found === undefined) {
    const parent = await nearestFolder(data);
    if (await isWritable(parent)) return { name, state: 'ok', detail: `${data} will be made at the first start` };
    return { name, state: 'fail', detail: `${data} is missing, and ${parent} may not be written`, remedy };
  }
  if (!found.isDirectory())
    return { name, state: 'fail', detail: `${data} is not a folder`, remedy: 'set `data` to a folder' };
  if (!(await isWritable(data))) return { name, state: 'fail', detail: `${data} may not be written`, remedy };
  if ((found.mode & 0o022) !== 0) {
    return { name, state: 'warn', detail: `${data} may be written by others`, remedy: `chmod go-w ${data}` };
  }
  return { name, state: 'ok', detail: data };
}

/** The master key: configured, or in a file that only its owner reads. */
export async function checkMasterKey(config: Config): Promise<Check> {
  const name = 'master key';
  if (config.masterKeys.length > 0) {
    return {
      name,
      state: 'ok',
      detail: config.masterKeys.length > 1 ? 'configured, two of them: rotating' : 'configured',
    };
  }
  const file = masterKeyFile(config.data);
  const found = await stat(file).catch(() => undefined);
  if ((await isMissing(file)) && (await isMissing(clusterFolder(config.data)))) {
    return { name, state: 'ok', detail: `${file} will be made at the first start` };
  }
  try {
    await readMasterKeys(config);
  } catch (error) {
    return { name, state: 'fail', detail: explain(error) };
  }
  if (found !== undefined && (found.mode & 0o077) !== 0) {
    return { name, state: 'warn', detail: `${file} is open to others`, remedy: `chmod 600 ${file}` };
  }
  return { name, state: 'ok', detail: file };
}

export async function checkDisk({ data, database }: Config): Promise<Check[]> {
  if (database !== 'embedded') return [];
  const name = 'disk';
  const { bavail, bsize } = await statfs(await nearestFolder(data));
  const freeBytes = bavail * bsize;
  const detail = `${(freeBytes / gibibyte).toFixed(1)} GiB free for ${data}`;
  const remedy = 'make room, or move the data folder to a larger disk';
  if (freeBytes < leastDiskBytes) return [{ name, state: 'fail', detail, remedy }];
  return [freeBytes < goodDiskBytes ? { name, state: 'warn', detail, remedy } : { name, state: 'ok', detail }];
}

/** A proxied connection takes two descriptors: the client's and the upstream's. Linux only. */
export async function checkOpenFiles({ limits }: Config): Promise<Check[]> {
  const name = 'open files';
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const soft = Number(/^Max open files\s+(\d+)/m.exec(text)?.[1]);
  if (Number.isNaN(soft)) return [];
  const needed = 2 * limits.connections + 200;
  const detail = `at most ${soft}, and limits.connections ${limits.connections} may take ${needed}`;
  if (soft >= needed) return [{ name, state: 'ok', detail }];
  return [
    {
      name,
      state: 'warn',
      detail,
      remedy: `raise it (\`ulimit -n ${needed}\`, LimitNOFILE), or lower limits.connections`,
    },
  ];
}

async function nearestFolder(path: string): Promise<string> {
  let folder = path;
  while ((await isMissing(folder)) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

async function isMissing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}

async function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
}

function accountName(): string {
  const uid = process.getuid?.();
  return uid === 0 ? 'root' : uid === undefined ? 'this account' : `the account with uid ${uid}`;
}
