import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path/posix';
import { fileURLToPath } from 'node:url';
import t from 'tap';

/**
 * Which folder of src may import which (DESIGN §2). `server` puts everything together; nothing imports `server`.
 * A folder that is not here fails the test: its place has to be decided first. A folder inside of another that has a line
 * of its own is one like the others.
 */
const allowedFolders: Record<string, readonly string[]> = {
  wire: [],
  observe: ['wire'],
  store: ['observe', 'wire'],
  auth: ['store', 'observe', 'wire'],
  'cache/core': [],
  cache: ['cache/core', 'auth', 'store', 'observe', 'wire'],
  proxy: ['cache', 'auth', 'store', 'observe', 'wire'],
  callbacks: ['auth', 'store', 'observe', 'wire'],
  push: ['auth', 'store', 'observe', 'wire'],
  im: ['auth', 'store', 'observe', 'wire'],
  ops: ['callbacks', 'push', 'im', 'cache', 'auth', 'store', 'observe', 'wire'],
  sdk: ['cache/core', 'wire'],
  'sdk/node': ['sdk'],
  'sdk/backend': ['wire'],
  'sdk/im': ['sdk', 'wire'],
  'sdk/im/node': ['sdk/im', 'sdk/node'],
};
const compositionRoot = 'server';

/** Folders that also run in a browser: no package and no module of Node. */
const selfContainedFolders = ['wire', 'cache/core', 'sdk', 'sdk/im'];

interface SourceTree {
  /** Text of each file by its path from the project's root, `src/…`. READMEs too. */
  files: ReadonlyMap<string, string>;
  /** What package.json names under `dependencies`. */
  dependencies: ReadonlySet<string>;
}

/** What a file imports, in whatever form: the specifiers, or null for an import() whose argument is computed. */
function importsOf(source: string): (string | null)[] {
  const found: (string | null)[] = [];
  // A statement begins a line, as the formatter writes it; between `import` and its specifier stands no other quote.
  for (const match of source.matchAll(/^[ \t]*import\s[^;'"()]*(['"])(?<from>[^'"\n]+)\1/gm)) {
    found.push(match.groups?.from ?? null);
  }
  for (const match of source.matchAll(
    /^[ \t]*export\s+(?:type\s+)?[*{][^;'"()]*?\sfrom\s+(['"])(?<from>[^'"\n]+)\1/gm,
  )) {
    found.push(match.groups?.from ?? null);
  }
  // import('…') is both the dynamic import and the type of a module.
  for (const match of source.matchAll(/\b(?:import|require)\(\s*(?:(['"])(?<from>[^'"\n]+)\1|(?<computed>[^)\s]))/g)) {
    if (!isInComment(source, match.index)) found.push(match.groups?.from ?? null);
  }
  return found;
}

function isInComment(source: string, index: number): boolean {
  const line = source.slice(source.lastIndexOf('\n', index) + 1, index);
  return /^\s*(\*|\/\*|\/\/)/.test(line);
}

/** The innermost folder with a line of its own. */
function folderOf(path: string): string {
  const names = path.split('/').slice(1);
  const folders = names.map((_, i) => names.slice(0, i + 1).join('/'));
  return folders.findLast((folder) => Object.hasOwn(allowedFolders, folder)) ?? folders[0] ?? '';
}

/** Everything in the tree that breaks the rules, a line each; empty when it keeps them. Pure. */
function findViolations({ files, dependencies }: SourceTree): string[] {
  const sources = [...files.keys()].filter((path) => path.endsWith('.ts'));
  const violations: string[] = [];
  const graph = new Map<string, string[]>();

  for (const folder of new Set(sources.map((path) => path.split('/')[1] ?? ''))) {
    if (folder !== compositionRoot && !Object.hasOwn(allowedFolders, folder)) {
      violations.push(`src/${folder}: has no line in the table of allowed imports`);
    }
    for (const name of ['index.ts', 'README.md']) {
      if (!files.has(`src/${folder}/${name}`)) violations.push(`src/${folder}: has no ${name}`);
    }
  }

  for (const path of sources) {
    const targets: string[] = [];
    graph.set(path, targets);
    for (const specifier of importsOf(files.get(path) ?? '')) {
      if (specifier === null) {
        violations.push(`${path}: imports something that is only known when it runs`);
      } else if (specifier.startsWith('.')) {
        const target = normalize(join(dirname(path), specifier));
        const problem = problemOfFile(path, target, files);
        if (problem === undefined) targets.push(target);
        else violations.push(`${path}: imports ${specifier}, ${problem}`);
      } else {
        const problem = problemOfPackage(path, specifier, dependencies);
        if (problem !== undefined) violations.push(`${path}: imports ${specifier}, ${problem}`);
      }
    }
  }
  return [...violations, ...findCycles(graph).map((cycle) => `cycle: ${cycle.join(' → ')}`)];
}

function problemOfFile(path: string, target: string, files: ReadonlyMap<string, string>): string | undefined {
  if (!target.startsWith('src/')) return 'which is outside of src';
  if (!files.has(target)) return 'which does not exist';
  const [from, to] = [folderOf(path), folderOf(target)];
  if (from === to) return undefined;
  if (target !== `src/${to}/index.ts`) return `past the index.ts of ${to}`;
  if (from === compositionRoot || (allowedFolders[from] ?? []).includes(to)) return undefined;
  return `but ${from} may not import ${to}`;
}

function problemOfPackage(path: string, specifier: string, dependencies: ReadonlySet<string>): string | undefined {
  if (selfContainedFolders.includes(folderOf(path))) return `but ${folderOf(path)} also runs in browsers`;
  if (specifier.startsWith('node:')) return undefined;
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  return dependencies.has(name) ? undefined : 'which is not among the dependencies of package.json';
}

/** One cycle for each group of files that import one another. */
function findCycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (path: string): void => {
    const at = way.indexOf(path);
    if (at >= 0) cycles.push([...way.slice(at), path]);
    if (at >= 0 || done.has(path)) return;
    way.push(path);
    for (const target of graph.get(path) ?? []) visit(target);
    way.pop();
    done.add(path);
  };
  for (const path of graph.keys()) visit(path);
  return cycles;
}

t.test('src keeps the import directions, its folders have an index and a README, and nothing goes round', async (t) => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object };
  const files = new Map<string, string>();
  for (const name of readdirSync(join(root, 'src'), { recursive: true }) as string[]) {
    if (name.endsWith('.ts') || name.endsWith('README.md')) {
      files.set(`src/${name}`, readFileSync(join(root, 'src', name), 'utf8'));
    }
  }
  t.ok(files.has('src/server/main.ts'), 'the sources are found');
  t.same(findViolations({ files, dependencies: new Set(Object.keys(manifest.dependencies)) }), []);
});

t.test('every way to import is seen', async (t) => {
  const source = `
import a from './a.ts';
import type { B } from './b.ts';
import * as c from "./c.ts";
import './d.ts';
import {
  e, // the fifth
  type E,
} from './e.ts';
import json from './f.json' with { type: 'json' };
export * from './g.ts';
export * as h from './h.ts';
export { type I, i } from './i.ts';
export type { J } from './j.ts';
const k = await import('./k.ts');
export type L = import('./l.ts').L;
const m = require('./m.ts');
const n = await import(name);
export const from = { x: 'not-this.ts' };
/** Not import('./comment.ts'). */
// import x from './comment.ts';
`;
  const letters = [...'abcde', 'f', ...'ghijklm'].map((letter) => (letter === 'f' ? './f.json' : `./${letter}.ts`));
  t.same(importsOf(source).sort(), [...letters, null].sort());
});

t.test('each breach of the rules is found', async (t) => {
  /** A tree that keeps the rules, with some files changed. */
  const tree = (changes: Record<string, string>): SourceTree => {
    const files = new Map<string, string>();
    for (const folder of ['wire', 'store', 'proxy', 'ops', 'server']) {
      files.set(`src/${folder}/index.ts`, '');
      files.set(`src/${folder}/README.md`, '');
    }
    files.set('src/store/pool.ts', `import pg from 'pg';\nimport { join } from 'node:path';`);
    files.set('src/store/index.ts', `export { pool } from './pool.ts';`);
    files.set('src/proxy/index.ts', `import type { Pool } from '../store/index.ts';`);
    files.set('src/server/main.ts', `import '../proxy/index.ts';\nimport '../ops/index.ts';`);
    for (const [path, text] of Object.entries(changes)) files.set(path, text);
    return { files, dependencies: new Set(['pg', '@scope/name']) };
  };
  const cases: [name: string, changes: Record<string, string>, found: string[]][] = [
    ['nothing', {}, []],
    ['a package with a path', { 'src/store/x.ts': `import a from '@scope/name/deep/file.js';` }, []],
    [
      'a direction that is not allowed, by type only',
      { 'src/store/x.ts': `import type { P } from '../proxy/index.ts';` },
      ['src/store/x.ts: imports ../proxy/index.ts, but store may not import proxy'],
    ],
    [
      'neighbours',
      { 'src/ops/x.ts': `export * from '../proxy/index.ts';` },
      ['src/ops/x.ts: imports ../proxy/index.ts, but ops may not import proxy'],
    ],
    [
      'server',
      { 'src/proxy/x.ts': `import('../server/index.ts');` },
      ['src/proxy/x.ts: imports ../server/index.ts, but proxy may not import server'],
    ],
    [
      'past an index',
      { 'src/server/x.ts': `import { p } from '../store/pool.ts';` },
      ['src/server/x.ts: imports ../store/pool.ts, past the index.ts of store'],
    ],
    [
      'Node in wire',
      { 'src/wire/x.ts': `import fs from 'node:fs';` },
      ['src/wire/x.ts: imports node:fs, but wire also runs in browsers'],
    ],
    [
      'a package in sdk',
      { 'src/store/x.ts': '', 'src/sdk/x.ts': `import pg from 'pg';`, 'src/sdk/index.ts': '', 'src/sdk/README.md': '' },
      ['src/sdk/x.ts: imports pg, but sdk also runs in browsers'],
    ],
    [
      'what is inside of another folder, by its index only',
      {
        'src/cache/index.ts': '',
        'src/cache/README.md': '',
        'src/cache/core/index.ts': `import './x.ts';`,
        'src/cache/core/x.ts': '',
        'src/cache/y.ts': `import './core/index.ts';`,
        'src/proxy/x.ts': `import '../cache/index.ts';`,
        'src/proxy/z.ts': `import '../cache/core/index.ts';`,
        'src/cache/z.ts': `import './core/x.ts';`,
      },
      [
        'src/proxy/z.ts: imports ../cache/core/index.ts, but proxy may not import cache/core',
        'src/cache/z.ts: imports ./core/x.ts, past the index.ts of cache/core',
      ],
    ],
    [
      'what is inside of what is inside',
      {
        'src/store/x.ts': '',
        'src/sdk/index.ts': '',
        'src/sdk/README.md': '',
        'src/sdk/x.ts': `import './im/index.ts';`,
        'src/sdk/im/index.ts': `import './x.ts';`,
        'src/sdk/im/x.ts': `import '../index.ts';\nimport 'node:fs';`,
        'src/sdk/im/y.ts': `import '../x.ts';`,
        'src/sdk/im/node/index.ts': `import '../index.ts';\nimport 'node:fs';`,
        'src/sdk/im/node/x.ts': `import '../../index.ts';`,
      },
      [
        'src/sdk/x.ts: imports ./im/index.ts, but sdk may not import sdk/im',
        'src/sdk/im/x.ts: imports node:fs, but sdk/im also runs in browsers',
        'src/sdk/im/y.ts: imports ../x.ts, past the index.ts of sdk',
        'src/sdk/im/node/x.ts: imports ../../index.ts, but sdk/im/node may not import sdk',
      ],
    ],
    [
      'a package that is none of ours',
      { 'src/store/x.ts': `import t from 'tap';` },
      ['src/store/x.ts: imports tap, which is not among the dependencies of package.json'],
    ],
    [
      'outside of src',
      { 'src/server/x.ts': `import '../../test/support/x.ts';` },
      ['src/server/x.ts: imports ../../test/support/x.ts, which is outside of src'],
    ],
    [
      'a missing file',
      { 'src/server/x.ts': `import './y.ts';` },
      ['src/server/x.ts: imports ./y.ts, which does not exist'],
    ],
    [
      'a computed import',
      { 'src/server/x.ts': 'await import(name);' },
      ['src/server/x.ts: imports something that is only known when it runs'],
    ],
    [
      'a cycle of types',
      { 'src/ops/a.ts': `import type { B } from './b.ts';`, 'src/ops/b.ts': `import type { A } from './a.ts';` },
      ['cycle: src/ops/a.ts → src/ops/b.ts → src/ops/a.ts'],
    ],
    [
      'a folder without a place',
      { 'src/misc/x.ts': '' },
      [
        'src/misc: has no line in the table of allowed imports',
        'src/misc: has no index.ts',
        'src/misc: has no README.md',
      ],
    ],
  ];
  for (const [name, changes, found] of cases) t.same(findViolations(tree(changes)), found, name);
});
