import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { sdkVersion } from '../../src/sdk/version.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const esbuild = join(root, 'node_modules', '@esbuild', `${process.platform}-${process.arch}`, 'bin', 'esbuild');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string;
  exports: Record<string, { types: string; default: string }>;
};

interface Bundle {
  text: string;
  gzipBytes: number;
  inputs: string[];
}

/** Bundles a module for browsers, minified. */
function bundle(t: Test, source: string): Bundle {
  const folder = mkdtempSync(join(tmpdir(), 'qalgate-bundle-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const entry = join(folder, 'entry.ts');
  writeFileSync(entry, source.replaceAll('SDK', join(root, 'src/sdk')));
  const outfile = join(folder, 'out.js');
  const metafile = join(folder, 'meta.json');
  execFileSync(
    esbuild,
    [
      entry,
      '--bundle',
      '--minify',
      '--format=esm',
      '--platform=browser',
      '--target=es2024',
      `--outfile=${outfile}`,
      `--metafile=${metafile}`,
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const meta = JSON.parse(readFileSync(metafile, 'utf8')) as {
    outputs: Record<string, { inputs: Record<string, { bytesInOutput: number }> }>;
  };
  const inputs = Object.values(meta.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs)
      .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
      .map(([path]) => path),
  );
  const text = readFileSync(outfile, 'utf8');
  return { text, gzipBytes: gzipSync(text, { level: 9 }).byteLength, inputs };
}

t.test('all of the SDK, minified and gzipped, is under 15 kB, and is nothing of Node', async (t) => {
  const { text, gzipBytes, inputs } = bundle(t, `export * from 'SDK/index.ts';`);
  t.comment(`${text.length} bytes minified, ${gzipBytes} gzipped`);
  t.ok(gzipBytes < 15_000, `${gzipBytes} bytes`);
  t.notMatch(text, /node:|\brequire\(|\bBuffer\b|\bprocess\b/);
  t.ok(
    inputs.some((path) => path.includes('cache/core')),
    'the cache is the one of the access service',
  );
  t.same(
    inputs.filter((path) => !/src\/(?:sdk|wire|cache\/core)\//.test(path) || path.includes('sdk/node/')),
    [],
  );
  t.notMatch(inputs.join(' '), /explain/, 'what the SDK does not use of the core stays out');
});

t.test(
  'all of ImClient, minified and gzipped, is under 16 kB, is nothing of Node, and of QalClient its storages alone',
  async (t) => {
    const { text, gzipBytes, inputs } = bundle(t, `export * from 'SDK/im/index.ts';`);
    t.comment(`${text.length} bytes minified, ${gzipBytes} gzipped`);
    t.ok(gzipBytes < 16_000, `${gzipBytes} bytes`);
    t.notMatch(text, /node:|\brequire\(|\bBuffer\b|\bprocess\b/);
    t.same(
      inputs.filter((path) => !/src\/(?:sdk\/im|sdk|wire)\/[a-z-]+\.ts$/.test(path)),
      [],
    );
    t.same(
      inputs
        .filter((path) => /src\/sdk\/[a-z-]+\.ts$/.test(path))
        .map((path) => path.replace(/.*\//, ''))
        .sort(),
      ['indexed-db-storage.ts', 'memory-storage.ts', 'storage.ts'],
    );
    t.equal(bundle(t, `import 'SDK/im/index.ts';`).text.trim(), '', 'no module does anything by being imported');
  },
);

t.test(
  'groups are a part of their own, under 3 kB, their cache under 2 kB more; ImClient does without them',
  async (t) => {
    const client = `import { createImClient } from 'SDK/im/index.ts'; globalThis.x = createImClient;`;
    const groups = `${client} import { createGroups } from 'SDK/im/groups/index.ts'; globalThis.y = createGroups;`;
    const cache = `${groups} import { createGroupCache } from 'SDK/im/groups/index.ts'; globalThis.z = createGroupCache;`;
    const [alone, both, all] = [client, groups, cache].map((source) => bundle(t, source)) as [Bundle, Bundle, Bundle];
    t.notMatch(alone.inputs.join(' '), /groups/);
    t.notMatch(both.inputs.join(' '), /groups\/cache/);
    const [ofGroups, ofCache] = [both.gzipBytes - alone.gzipBytes, all.gzipBytes - both.gzipBytes];
    t.comment(`groups ${ofGroups} bytes gzipped, their cache ${ofCache}`);
    t.ok(ofGroups < 3_000, `${ofGroups} bytes`);
    t.ok(ofCache < 2_000, `${ofCache} bytes`);
    t.notMatch(all.text, /node:|\brequire\(|\bBuffer\b|\bprocess\b/);
    t.equal(bundle(t, `import 'SDK/im/groups/index.ts';`).text.trim(), '', 'no module does anything by being imported');
  },
);

t.test('pushes are a part of their own, under 1,200 bytes; ImClient does without them', async (t) => {
  const client = `import { createImClient } from 'SDK/im/index.ts'; globalThis.x = createImClient;`;
  const push = `${client} import { createPush } from 'SDK/im/push/index.ts'; globalThis.y = createPush;`;
  const [alone, both] = [bundle(t, client), bundle(t, push)];
  t.notMatch(alone.inputs.join(' '), /im\/push/);
  t.notMatch(both.inputs.join(' '), /im\/groups/);
  const gzipBytes = both.gzipBytes - alone.gzipBytes;
  t.comment(`${gzipBytes} bytes gzipped`);
  t.ok(gzipBytes < 1_200, `${gzipBytes} bytes`);
  t.notMatch(both.text, /node:|\brequire\(|\bBuffer\b|\bprocess\b/);
  t.equal(bundle(t, `import 'SDK/im/push/index.ts';`).text.trim(), '', 'no module does anything by being imported');
});

t.test('what a page does not import is not in its bundle', async (t) => {
  const small = bundle(t, `import { memoryStorage } from 'SDK/index.ts'; globalThis.x = memoryStorage();`);
  t.ok(small.gzipBytes < 700, `${small.gzipBytes} bytes`);
  t.same(
    small.inputs.filter((path) => !/entry\.ts$|sdk\/(?:memory-)?storage\.ts$/.test(path)),
    [],
  );
  const nothing = bundle(t, `import 'SDK/index.ts';`);
  t.equal(nothing.text.trim(), '', 'no module does anything by being imported');
  const client = bundle(t, `import { createQalClient } from 'SDK/index.ts'; globalThis.x = createQalClient;`);
  t.notOk(
    client.inputs.some((path) => path.includes('indexed-db')),
    'a client without IndexedDB',
  );
});

t.test('the package exports it, and says the right version', async (t) => {
  t.equal(sdkVersion, manifest.version);
  for (const name of ['./sdk', './sdk/node', './sdk/im', './sdk/im/groups', './sdk/im/push', './sdk/im/node']) {
    const source = manifest.exports[name]?.default.replace('dist', 'src').replace(/\.js$/, '.ts') ?? '';
    t.type(readFileSync(join(root, source), 'utf8'), 'string');
    t.equal(manifest.exports[name]?.types, manifest.exports[name]?.default.replace(/\.js$/, '.d.ts'));
  }
});

t.test('it type-checks where there is no Node but a browser', async (t) => {
  const tsc = join(root, 'node_modules', 'typescript', 'lib', 'tsc.js');
  execFileSync(process.execPath, [tsc, '-p', join(root, 'test/sdk/tsconfig.browser.json')], { stdio: 'inherit' });
  t.pass('tsc -p test/sdk/tsconfig.browser.json');
});
