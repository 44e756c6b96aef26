import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { memoryStorage, type QalStorage } from '../../src/sdk/index.ts';
import { directoryStorage } from '../../src/sdk/node/index.ts';
import { get, openService, userSig } from '../support/sdk-service.ts';

function makeFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'qalgate-sdk-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value);

/** The contract of QalStorage, for each that we have; IndexedDB is tested in a browser. */
const storages: [name: string, open: (t: Test, maxBytes: number) => QalStorage][] = [
  ['memory', (_, maxBytes) => memoryStorage({ maxBytes })],
  ['directory', (t, maxBytes) => directoryStorage(join(makeFolder(t), 'made', 'here'), { maxBytes })],
];
for (const [name, open] of storages) {
  t.test(`${name}: what is set is there, as a whole, until it is deleted`, async (t) => {
    const storage = open(t, 1_000_000);
    t.equal(await storage.get('a'), undefined);
    t.same(await storage.keys(''), []);
    await storage.delete('a');
    await storage.set('a', bytes('1'));
    await storage.set('a', bytes('2'));
    await storage.set('ab/ä\n', bytes(''));
    t.equal(text(await storage.get('a')), '2');
    t.equal(text(await storage.get('ab/ä\n')), '');
    t.same((await storage.keys('a')).sort(), ['a', 'ab/ä\n']);
    t.same(await storage.keys('ab'), ['ab/ä\n']);
    await storage.delete('a');
    t.equal(await storage.get('a'), undefined);
    await storage.close();
  });

  t.test(`[C14] ${name}: it is bounded; what was not used goes first, what is to be kept never`, async (t) => {
    const storage = open(t, 10_000);
    await storage.set('keep/terminal', bytes('x'.repeat(500)));
    for (let i = 0; i < 30; i += 1) await storage.set(`cache/${i}`, bytes('x'.repeat(1_000)));
    const keys = await storage.keys('');
    t.ok(keys.includes('keep/terminal'));
    t.ok(keys.includes('cache/29'));
    t.notOk(keys.includes('cache/0'));
    t.ok(keys.length <= 10, `${keys.length} entries`);
    await storage.set('cache/29', bytes('x'.repeat(20_000)));
    t.equal(await storage.get('cache/29'), undefined, 'what can never fit replaces nothing by something older');
    await storage.close();
  });
}

t.test('a URL too long for a file is not stored on disk, and the storage goes on', async (t) => {
  const folder = join(makeFolder(t), 'sdk');
  const storage = directoryStorage(folder);
  const key = (chars: number): string => 'k'.repeat(chars);
  await storage.set(key(16_384), bytes('fits'));
  await storage.set(key(16_385), bytes('does not'));
  t.same(await storage.get(key(16_384)), bytes('fits'));
  t.equal(await storage.get(key(16_385)), undefined);
  t.same(await storage.keys('k'), [key(16_384)]);
  await storage.close();
});

t.test('directory: files are private, foreign ones stay, damaged ones do not exist', async (t) => {
  const folder = join(makeFolder(t), 'sdk');
  const storage = directoryStorage(folder);
  await storage.set('key', bytes('value'));
  t.equal(statSync(folder).mode & 0o777, 0o700);
  const [file = ''] = readdirSync(folder);
  t.match(file, /^[0-9a-f]{40}\.qal$/);
  const path = join(folder, file);
  t.equal(statSync(path).mode & 0o777, 0o600);
  const whole = readFileSync(path);
  writeFileSync(join(folder, 'notes.txt'), 'mine');
  writeFileSync(join(folder, `${'a'.repeat(40)}.qal`), 'not ours, by its name alone');
  const old = new Date(Date.now() - 3_600_000);
  writeFileSync(join(folder, `${'b'.repeat(40)}.${'c'.repeat(16)}.tmp`), 'left by a crash');
  utimesSync(join(folder, `${'b'.repeat(40)}.${'c'.repeat(16)}.tmp`), old, old);
  t.same(await storage.keys(''), ['key']);
  t.same(
    readdirSync(folder).filter((name) => name.endsWith('.tmp')),
    [],
  );
  t.equal(readFileSync(join(folder, 'notes.txt'), 'utf8'), 'mine');

  for (const damaged of [
    Buffer.alloc(0),
    whole.subarray(0, 5),
    whole.subarray(0, whole.length - 1),
    Buffer.concat([whole, Buffer.from('x')]),
    Buffer.from(whole).fill(0, whole.length - 2),
    Buffer.from(whole.toString('latin1').replace('QALSDK1', 'QALSDK2'), 'latin1'),
  ]) {
    writeFileSync(path, damaged);
    t.equal(await storage.get('key'), undefined, `${damaged.length} bytes`);
  }
  await storage.set('key', bytes('again'));
  t.equal(text(await storage.get('key')), 'again');
  rmSync(folder, { recursive: true });
  t.equal(await storage.get('key'), undefined);
  t.same(await storage.keys(''), []);
  await t.rejects(storage.set('key', bytes('value')), { code: 'ENOENT' });
  await storage.set('key', bytes('value'));
  t.equal(text(await storage.get('key')), 'value', 'a directory that was removed is made again');
});

t.test('directory: any bytes in its files read as a value or as none', async (t) => {
  const folder = makeFolder(t);
  const storage = directoryStorage(folder);
  await storage.set('key', bytes('value'));
  const path = join(folder, readdirSync(folder)[0] ?? '');
  const whole = readFileSync(path);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(whole.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.nat(whole.length),
      async (at, flip, end) => {
        const damaged = Buffer.from(whole);
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        writeFileSync(path, at < end ? damaged.subarray(0, end) : damaged);
        return (await storage.get('key')) === undefined;
      },
    ),
    { numRuns: 200 },
  );
});

t.test('directory: processes that share one do not disturb each other', async (t) => {
  const folder = makeFolder(t);
  const script = fileURLToPath(new URL('../support/storage-writer.ts', import.meta.url));
  const writers = ['a', 'b'].map((name) =>
    fork(script, [folder, name], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }),
  );
  const codes = await Promise.all(writers.map(async (writer) => (await once(writer, 'exit'))[0]));
  t.same(codes, [0, 0], 'each read whole values only');
  const storage = directoryStorage(folder);
  const keys = await storage.keys('');
  t.ok(keys.length > 0);
  for (const key of keys) t.match(text(await storage.get(key)), /^([ab])\1*$/);
});

t.test('a storage that fails, in whatever way, fails no request, and is told of', async (t) => {
  const service = await openService(t, (_, response) => {
    response.setHeader('Cache-Control', 'max-age=60');
    response.end('text');
  });
  const error = new Error('QuotaExceeded');
  const never = new Promise<never>(() => {});
  const broken = (part: Partial<QalStorage>): QalStorage => ({ ...memoryStorage(), ...part });
  const no = (): Promise<never> => Promise.reject(error);
  const throws = (): never => {
    throw error;
  };
  for (const [name, storage, degraded] of [
    ['full', broken({ set: no }), true],
    ['read-only', broken({ set: no, delete: no }), true],
    ['unreadable', broken({ get: no }), true],
    ['throwing', broken({ get: throws, set: throws, delete: throws, keys: throws }), true],
    ['silent', broken({ get: () => never, set: () => never, delete: () => never, keys: () => never }), true],
  ] satisfies [string, QalStorage, boolean][]) {
    const client = service.client({ storage, limits: { storageTimeoutMs: 50 } });
    await client.login('alice', () => userSig('alice'));
    for (const _ of [1, 2, 3]) t.equal((await get(client, '/a'))[0], 'text', name);
    const last = (await get(client, '/a'))[1];
    t.equal(last.startsWith('hit'), degraded, `${name}: ${last}`);
    const stats = client.cacheStats();
    t.equal(stats.storageDegraded, degraded, name);
    t.ok(stats.storageFailures > 0, name);
    t.ok(service.events.some((event) => event.type === 'storage-failed' && event.degraded === degraded));
    service.events.length = 0;
    await client.close();
  }
});

t.test('a directory that cannot be made leaves the client in memory', async (t) => {
  const folder = makeFolder(t);
  writeFileSync(join(folder, 'file'), '');
  const service = await openService(t, (_, response) => response.end('text'));
  const client = service.client({ storage: directoryStorage(join(folder, 'file', 'sub')) });
  t.equal((await get(client, '/a'))[0], 'text');
  t.match(client.cacheStats(), { storageDegraded: true });
});

t.test('[C0] what is stored outlasts the process, for the account alone that it was stored for', async (t) => {
  let count = 0;
  const service = await openService(t, (_, response) => {
    count += 1;
    response.setHeader('Cache-Control', 'max-age=60');
    response.end(`v${count}`);
  });
  const folder = makeFolder(t);
  const as = (identifier: string) =>
    service.client({
      storage: directoryStorage(folder),
      account: { identifier, getUserSig: () => userSig(identifier) },
    });
  const first = as('alice');
  t.equal((await get(first, '/me'))[0], 'v1');
  await first.close();
  const second = as('alice');
  t.match(await get(second, '/me'), ['v1', /^hit/]);
  t.same(await service.sessions(), { created: 1 }, 'a hit needs no session');
  await second.close();
  const anonymous = service.client({ storage: directoryStorage(folder) });
  t.equal((await get(anonymous, '/me'))[0], 'v2');
  await anonymous.login('alice', () => userSig('alice'));
  t.match(await get(anonymous, '/me'), ['v1', /^hit/], 'who starts anonymously and logs in finds his own');
  await anonymous.close();
  const bob = as('bob');
  t.equal((await get(bob, '/me'))[0], 'v3');
  await bob.close();
  const again = as('alice');
  t.equal((await get(again, '/me'))[0], 'v4', 'another account’s start dropped it');
});

t.test('records that are damaged, foreign or of another version do not exist', async (t) => {
  const service = await openService(t, (_, response) => {
    response.setHeader('Cache-Control', 'max-age=600');
    response.end('text');
  });
  const storage = memoryStorage();
  const client = service.client({ storage });
  await get(client, '/a');
  const [key = ''] = await storage.keys('cache/');
  const [terminalKey = ''] = await storage.keys('keep/');
  const record = (await storage.get(key)) ?? new Uint8Array();
  t.match((await get(client, '/a'))[1], /^hit/);
  const head = new TextDecoder('latin1').decode(record);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.uint8Array({ maxLength: 100 }),
        fc.nat(record.length - 1).map((end) => record.slice(0, end)),
        fc
          .constantFrom(
            head.replace('[1,', '[2,'),
            head.replace('/a"', '/b"'),
            head.replace(',200,', ',"200",'),
            head.replace(',["', ',[1,"'),
            head.replace(',[[', ',[{},['),
            `${head}x`,
          )
          .map((text) => Uint8Array.from(text, (c) => c.charCodeAt(0))),
      ),
      async (damaged) => {
        await storage.set(key, damaged);
        const [body, status] = await get(client, '/a', { cache: 'default' });
        return body === 'text' && status.startsWith('fwd=uri-miss');
      },
    ),
    { numRuns: 60 },
  );
  for (const damaged of ['', '{', '{"v":2,"id":"a","secret":"b"}', '{"v":1,"id":1}']) {
    await storage.set(terminalKey, bytes(damaged));
    t.match(await service.client({ storage }).session(), { qalIdentifier: /^@v_tls#/ }, damaged);
  }
});

t.test('any bytes in any caching field never throw, and never store what must not be stored', async (t) => {
  let fields: [string, string][] = [];
  const service = await openService(t, (_, response) => {
    for (const [name, value] of fields) response.appendHeader(name, value);
    response.end('text');
  });
  const names = [
    'Cache-Control',
    'QAL-Cache-Control',
    'QAL-Stale-Expires',
    'Expires',
    'ETag',
    'Last-Modified',
    'Vary',
    'Age',
    'Pragma',
    'Cache-Status',
  ];
  const words = [
    'max-age=',
    'no-store',
    'private',
    '"',
    '\\',
    ',',
    '=',
    '-1',
    '99999999999',
    'stale-while-revalidate=9',
    '*',
    'Tue, 03 Nov 2026 10:00:00 GMT',
    'ä',
    '\t',
  ];
  const value = fc
    .array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 6 })), { maxLength: 5 })
    .map((parts) => parts.join('').replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, ''));
  const client = service.client();
  let n = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 5 }), async (given) => {
      fields = given;
      n += 1;
      const path = `/${n}`;
      for (const _ of [1, 2]) {
        const [body] = await get(client, path);
        if (body !== 'text') return false;
      }
      const forbids = given.some(([name, text]) => name === 'Cache-Control' && /^no-store$/i.test(text.trim()));
      return !forbids || (await client.fetch(path, { cache: 'only-if-cached' })).status === 504;
    }),
    { numRuns: 150 },
  );
});
