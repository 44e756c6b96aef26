import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { runInProcess } from '../support/cli.ts';
import { makeDataDir, until } from '../support/database.ts';
import { runCommand, spawnService } from '../support/service.ts';

const folder = t.testdir();

const date = 'Wed, 04 Nov 2015 08:00:00 GMT';

/** What `cache explain` says: the facts above the table, and its rows. */
async function explained(response: string, ...more: string[]) {
  const { code, stdout, stderr } = await runInProcess(['cache', 'explain', '--response', response, ...more]);
  if (code !== 0) throw new Error(stderr);
  const [facts = '', table = ''] = stdout.trimEnd().split(/\n\n(?=AGE|Each)/);
  const rows = table.split('\n').map((row) => row.split(/ {2,}/));
  return { stdout, facts, rows: rows.slice(1) };
}

const fresh = 'answered from the store';
const stale = 'answered from the store, refreshed behind that';
const asked = 'answered after asking the origin';
const error = 'the client gets the error';

t.test(
  '[C5,C6,C7,C8,C9,C10] explain: the timeline of each row of the table, by the directive as it was written',
  async (t) => {
    const cases: [name: string, head: string, rows: string[][]][] = [
      [
        'C5 max-age',
        'Cache-Control: max-age=60',
        [
          ['0 to 60 s', fresh, 'Cache-Control: max-age=60', 'it is not asked'],
          ['60 s on', asked, 'after Cache-Control: max-age=60', error],
        ],
      ],
      [
        's-maxage before max-age',
        'cache-control: max-age=5, S-MaxAge=60',
        [
          ['0 to 60 s', fresh, 'cache-control: S-MaxAge=60', 'it is not asked'],
          ['60 s on', asked, 'after cache-control: S-MaxAge=60', error],
        ],
      ],
      [
        'C6 Expires',
        `Date: ${date}\nExpires: Wed, 04 Nov 2015 08:13:44 GMT`,
        [
          ['0 to 824 s', fresh, 'Expires: Wed, 04 Nov 2015 08:13:44 GMT', 'it is not asked'],
          ['824 s on', asked, 'after Expires: Wed, 04 Nov 2015 08:13:44 GMT', error],
        ],
      ],
      [
        'C7 stale-while-revalidate, by RFC 5861 and not by the wording of the seed',
        'Cache-Control: max-age=60, stale-while-revalidate=15',
        [
          ['0 to 60 s', fresh, 'Cache-Control: max-age=60', 'it is not asked'],
          ['60 to 75 s', stale, 'Cache-Control: stale-while-revalidate=15', 'nothing changes'],
          ['75 s on', asked, 'after Cache-Control: stale-while-revalidate=15', error],
        ],
      ],
      [
        'C8 max-stale-age alone',
        'QAL-Cache-Control: max-stale-age=15',
        [
          ['0 to 15 s', stale, 'QAL-Cache-Control: max-stale-age=15', 'nothing changes'],
          ['15 s on', asked, 'no lifetime given', error],
        ],
      ],
      [
        'C9 max-stale-age beside max-age',
        'Cache-Control: max-age=15\nqal-cache-control: "x", Max-Stale-Age="60"\nQAL-Cache-Control: max-stale-age=20',
        [
          ['0 to 15 s', fresh, 'Cache-Control: max-age=15', 'it is not asked'],
          ['15 to 60 s', stale, 'qal-cache-control: Max-Stale-Age="60"', 'nothing changes'],
          ['60 s on', asked, 'after qal-cache-control: Max-Stale-Age="60"', error],
        ],
      ],
      [
        'C9 max-stale-age below max-age adds nothing',
        'Cache-Control: max-age=60\nQAL-Cache-Control: max-stale-age=15',
        [
          ['0 to 60 s', fresh, 'Cache-Control: max-age=60', 'it is not asked'],
          ['60 s on', asked, 'after Cache-Control: max-age=60', error],
        ],
      ],
      [
        'C10 QAL-Stale-Expires',
        `Date: ${date}\nCache-Control: max-age=15\nQAL-Stale-Expires: Wed, 04 Nov 2015 08:01:00 GMT`,
        [
          ['0 to 15 s', fresh, 'Cache-Control: max-age=15', 'it is not asked'],
          ['15 to 60 s', stale, 'QAL-Stale-Expires: Wed, 04 Nov 2015 08:01:00 GMT', 'nothing changes'],
          ['60 s on', asked, 'after QAL-Stale-Expires: Wed, 04 Nov 2015 08:01:00 GMT', error],
        ],
      ],
      [
        'of several bounds the latest',
        `Date: ${date}\nCache-Control: max-age=10, stale-while-revalidate=20\nQAL-Cache-Control: max-stale-age=25\nQAL-Stale-Expires: Wed, 04 Nov 2015 08:00:20 GMT`,
        [
          ['0 to 10 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
          ['10 to 30 s', stale, 'Cache-Control: stale-while-revalidate=20', 'nothing changes'],
          ['30 s on', asked, 'after Cache-Control: stale-while-revalidate=20', error],
        ],
      ],
      [
        'stale-if-error',
        'Cache-Control: max-age=10, stale-if-error=60\nETag: "x"',
        [
          ['0 to 10 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
          [
            '10 to 70 s',
            asked,
            'after Cache-Control: max-age=10',
            'the stored answer, by Cache-Control: stale-if-error=60',
          ],
          ['70 s on', asked, 'after Cache-Control: max-age=10', error],
        ],
      ],
      ['C3 a validator alone', 'ETag: "568ddc6e-253"', [['0 s on', asked, 'no lifetime given', error]]],
      [
        'an age that it came with',
        'Cache-Control: max-age=60\nAge: 20',
        [
          ['20 to 60 s', fresh, 'Cache-Control: max-age=60', 'it is not asked'],
          ['60 s on', asked, 'after Cache-Control: max-age=60', error],
        ],
      ],
    ];
    for (const [name, head, rows] of cases) t.same((await explained(head)).rows, rows, name);
  },
);

t.test('[C12] explain: for whom, and why', async (t) => {
  const cases: [head: string, options: string[], stored: string][] = [
    [
      'Cache-Control: max-age=9',
      [],
      'for requests without session, cookie and Authorization: this request shows no user',
    ],
    ['Cache-Control: max-age=9', ['--session'], 'for its own terminal and account alone: the request has a session'],
    ['Cache-Control: max-age=9', ['--request', 'QAL-Session: g1.x'], 'for its own terminal and account alone'],
    ['Cache-Control: Public, max-age=9', ['--session'], 'for everybody: Cache-Control: Public'],
    [
      'Cache-Control: s-maxage=9',
      ['--session', '--request', 'Cookie: a=b'],
      'for everybody: Cache-Control: s-maxage=9',
    ],
    ['Cache-Control: max-age=9', ['--session', '--shared-route'], 'for everybody: the route says cacheScope: shared'],
    ['Cache-Control: private, max-age=9', [], 'no: Cache-Control: private'],
    ['Cache-Control: private, max-age=9', ['--private'], 'for its own terminal and account alone: a private cache'],
    [
      'Cache-Control: max-age=9',
      ['--request', 'Authorization: x'],
      'no: the request has Authorization, and the answer',
    ],
    [
      'Cache-Control: max-age=9',
      ['--request', 'Cookie: a=b'],
      'no: the request has Cookie, and the answer says neither',
    ],
    ['Cache-Control: max-age=9\nSet-Cookie: a=b', [], 'no: the answer has Set-Cookie, and the answer says neither'],
    ['Cache-Control: max-age=9\nVary: QAL-Req-Seq-No', [], 'no: Vary: QAL-Req-Seq-No: no other request can match'],
    [
      'Cache-Control: max-age=9, must-revalidate',
      ['--mode', 'rfc9111', '--request', 'Authorization: x'],
      'for everybody: Cache-Control: must-revalidate',
    ],
  ];
  for (const [head, options, stored] of cases) {
    t.match((await explained(head, ...options)).facts, `\nstored        ${stored}`, `${head} ${options.join(' ')}`);
  }
});

t.test('[C2] explain: why an answer is not stored', async (t) => {
  const cases: [head: string, options: string[], why: string][] = [
    ['HTTP/1.1 404 Not Found\nCache-Control: max-age=9', [], 'the status is 404; mode qal stores 200 only'],
    ['HTTP/2 206\nCache-Control: max-age=9', ['--mode', 'rfc9111'], 'status 206 cannot be stored'],
    ['Cache-Control: no-store', [], 'Cache-Control: no-store'],
    ['Cache-Control: max-age=9, No-Cache', [], 'Cache-Control: No-Cache'],
    ['Cache-Control: max-age=9, must-revalidate', [], 'Cache-Control: must-revalidate'],
    ['pragma: no-cache\nETag: "x"', [], 'pragma: no-cache'],
    ['X-Nothing: of it', [], 'nothing in the answer gives a lifetime or something to ask with'],
    ['Cache-Control: max-age=9', ['--request', 'POST /x'], 'the method is POST, not GET'],
    ['Cache-Control: max-age=9', ['--request', 'Content-Length: 5'], 'the request has a body'],
    ['Cache-Control: max-age=9', ['--request', 'Cache-Control: no-store'], 'Cache-Control: no-store of the request'],
  ];
  for (const [head, options, why] of cases) {
    const { stdout } = await explained(head, ...options);
    t.match(stdout, `\nstored        no: ${why}\n\nEach request goes to the origin.\n`, head);
  }
});

t.test('[C3,C4,C13] explain: what selects, what is asked with, what is malformed', async (t) => {
  const head = [
    'HTTP/1.1 200 OK',
    'ETag: W/"a"',
    `Last-Modified: ${date}`,
    'Vary: QAL-OS, Accept-Language',
    'Cache-Control: max-age=ten',
    'Expires: 0',
    'QAL-Cache-Control: max-stale-age=soon',
    'QAL-Stale-Expires: tomorrow',
    '',
    'Cache-Control: max-age=60 is in the body',
  ];
  const { facts, rows } = await explained(head.join('\r\n'));
  t.match(facts, '\nselected by   the URL, accept-language, qal-os\n');
  t.match(facts, `\nasked with    If-None-Match: W/"a", If-Modified-Since: ${date}\n`);
  for (const field of [
    'Cache-Control: max-age=ten',
    'Expires: 0 (counts as passed)',
    'QAL-Cache-Control: max-stale-age=soon',
    'QAL-Stale-Expires: tomorrow',
  ]) {
    t.match(facts, `\nmalformed     ${field}`);
  }
  t.same(rows, [['0 s on', asked, 'after Expires: 0', error]]);

  const heuristic = `Date: ${date}\nLast-Modified: Wed, 04 Nov 2015 07:50:00 GMT`;
  t.same((await explained(heuristic, '--mode', 'rfc9111')).rows[0], [
    '0 to 60 s',
    fresh,
    'a tenth of the time since Last-Modified: Wed, 04 Nov 2015 07:50:00 GMT',
    'it is not asked',
  ]);
  t.same(
    (await explained(heuristic)).rows,
    [['0 s on', asked, 'no lifetime given', error]],
    'mode qal guesses nothing',
  );
});

t.test('explain: what the request says decides, too', async (t) => {
  const cases: [request: string, rows: string[][]][] = [
    [
      'cache-control: max-age=5',
      [
        ['0 to 5 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
        [
          '5 to 10 s',
          asked,
          'cache-control: max-age=5 of the request',
          'the stored answer, by Cache-Control: max-age=10',
        ],
        ['10 s on', asked, 'cache-control: max-age=5 of the request', error],
      ],
    ],
    [
      'Cache-Control: max-age=x, max-age=5',
      [
        ['0 to 5 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
        [
          '5 to 10 s',
          asked,
          'Cache-Control: max-age=5 of the request',
          'the stored answer, by Cache-Control: max-age=10',
        ],
        ['10 s on', asked, 'Cache-Control: max-age=5 of the request', error],
      ],
    ],
    [
      'Cache-Control: max-stale=, max-stale',
      [
        ['0 to 10 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
        ['10 s on', stale, 'Cache-Control: max-stale of the request', 'nothing changes'],
      ],
    ],
    [
      'Cache-Control: max-stale',
      [
        ['0 to 10 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
        ['10 s on', stale, 'Cache-Control: max-stale of the request', 'nothing changes'],
      ],
    ],
    ['Pragma: no-cache', [['0 s on', asked, 'Pragma: no-cache of the request', error]]],
    ['If-Match: "x"', [['0 s on', 'forwarded past the cache', 'If-Match: "x" of the request', error]]],
    [
      'Cache-Control: stale-if-error=20',
      [
        ['0 to 10 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
        [
          '10 to 30 s',
          asked,
          'after Cache-Control: max-age=10',
          'the stored answer, by Cache-Control: stale-if-error=20 of the request',
        ],
        ['30 s on', asked, 'after Cache-Control: max-age=10', error],
      ],
    ],
    [
      'Cache-Control: only-if-cached',
      [
        ['0 to 10 s', fresh, 'Cache-Control: max-age=10', 'it is not asked'],
        ['10 s on', 'refused with 504', 'Cache-Control: only-if-cached of the request', 'it is not asked'],
      ],
    ],
  ];
  for (const [request, rows] of cases) {
    t.same((await explained('Cache-Control: max-age=10', '--request', request)).rows, rows, request);
  }
});

t.test('explain: files, standard input, times and JSON', async (t) => {
  const file = join(folder, 'response.txt');
  writeFileSync(file, `HTTP/1.1 200 OK\r\nDate: ${date}\r\nCache-Control: max-age=60\r\n\r\n{"a":1}`);
  const request = 'GET /feed?page=2 HTTP/1.1\nHost: api.example.com\n\n';
  const args = ['cache', 'explain', '--request', '-', '--response', `@${file}`];
  const { code, stdout } = await runInProcess(args, {}, request);
  t.equal(code, 0);
  t.match(stdout, `GET /feed?page=2 -> 200, received ${date}\nmode qal, the shared cache of the access service\n`);

  for (const received of ['30', 'Wed, 04 Nov 2015 08:00:30 GMT', '2015-11-04T08:00:30Z']) {
    const { stdout } = await runInProcess([...args, '--received', received], {}, request);
    t.match(stdout, '\n30 to 60 s', `${received}: its age begins where it was received`);
  }
  const { stdout: json } = await runInProcess([...args, '--json'], {}, request);
  t.match(JSON.parse(json), {
    request: { method: 'GET', target: '/feed?page=2' },
    response: { status: 200, receivedAt: '2015-11-04T08:00:00.000Z' },
    mode: 'qal',
    cache: 'shared',
    store: 'anonymous',
    steps: [
      { fromMs: 0, toMs: 60_000, kind: 'fresh', rule: 'max-age' },
      { fromMs: 60_000, toMs: null, kind: 'revalidate', rule: 'expired', onError: false },
    ],
    vary: [],
    malformed: [],
  });
});

t.test('explain and purge: wrong usage says what is wrong', async (t) => {
  const explain = ['cache', 'explain'];
  const purge = ['cache', 'purge'];
  const app = ['--app', '1400000000'];
  const wrong: [args: string[], message: RegExp][] = [
    [explain, /required option '--response <head>' not specified/],
    [
      [...explain, '--response', 'so it goes'],
      /--response: line 1, "so it goes", is neither a header field nor a status line/,
    ],
    [[...explain, '--response', 'A: b\n folded'], /line 2, " folded", is no header field/],
    [[...explain, '--response', 'A: b\nHTTP/1.1 200 OK'], /line 2, "HTTP\/1.1 200 OK", is no header field/],
    [[...explain, '--response', 'A : b'], /line 1, "A : b", is neither/],
    [[...explain, '--response', 'A: b\u0000'], /has control characters/],
    [[...explain, '--response', 'HTTP/1.1 999 No'], /is neither a header field nor a status line/],
    [[...explain, '--response', 'A: b', '--request', 'GET'], /--request: line 1, "GET", is neither .* GET \/x/],
    [[...explain, '--response', '-', '--request', '-'], /standard input can be read once/],
    [[...explain, '--response', '@/no/such/file'], /--response: cannot read "\/no\/such\/file": ENOENT/],
    [[...explain, '--response', 'A: b', '--mode', 'off'], /Allowed choices are qal, rfc9111/],
    [
      [...explain, '--response', 'A: b', '--received', '30'],
      /seconds count from the Date of the response, which has none/,
    ],
    [[...explain, '--response', 'A: b', '--received', 'soon'], /"soon" is neither a date nor seconds; allowed: 30/],
    [[...purge, '--all'], /required option '-a, --app <number>' not specified/],
    [[...purge, ...app], /name exactly one of --url, --prefix, --tag and --all/],
    [[...purge, ...app, '--all', '--tag', 'x'], /name exactly one of --url, --prefix, --tag and --all/],
    [[...purge, ...app, '--url', 'x'], /--url: does not begin with http:\/\/ or https:\/\/; allowed: an absolute/],
    [[...purge, ...app, '--prefix', 'https://api.example'], /--prefix: does not reach to the \/ of the path/],
    [[...purge, ...app, '--tag', 'a,b'], /--tag: has characters that a tag cannot have/],
  ];
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = await runInProcess(args);
    t.equal(code, 2, JSON.stringify(args));
    t.match(stderr, message);
    t.equal(stdout, '');
  }
});

t.test('[C14] purge by command: with the service running, and without', async (t) => {
  let asked = 0;
  const backend = createServer((_, res) => {
    asked += 1;
    res.writeHead(200, { 'Cache-Control': 'public, max-age=600', 'Cache-Tag': 'a-tag' }).end(`answer ${asked}`);
  });
  backend.listen(0, '127.0.0.1');
  await once(backend, 'listening');
  t.teardown(() => {
    backend.closeAllConnections();
    backend.close();
  });
  const dataDir = await makeDataDir(t);
  const upstream = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
  const app = '1400000001';
  const options = { dataDir, env: {} };
  const purge = (...args: string[]) => runCommand(['cache', 'purge', '--app', app, ...args], options);
  t.match(await purge('--all'), { code: 1, stderr: /there is no database in .* yet/ });
  t.equal((await runCommand(['app', 'create', '--id', app, '--route', `/=${upstream}`], options)).code, 0);
  t.match(await purge('--all'), {
    code: 0,
    stdout: `purge 1 is published: everything of app ${app}\n`,
    stderr: /no qalgate serves from this data folder/,
  });

  const service = await spawnService(options);
  t.teardown(() => service.process.kill('SIGKILL'));
  const get = async (path: string) => (await fetch(service.access + path)).text();
  const url = `${service.access}/x?y=1`;
  const ways: string[][] = [
    ['--url', url.toUpperCase().replace('/X?Y=1', '/x?y=1')],
    ['--prefix', `${service.access}/`],
    ['--tag', 'a-tag'],
    ['--all'],
  ];
  for (const [index, way] of ways.entries()) {
    const before = await get('/x?y=1');
    t.equal(await get('/x?y=1'), before, 'it is stored');
    const { code, stdout, stderr } = await purge(...way);
    t.match(
      { code, stdout, stderr },
      { code: 0, stdout: new RegExp(`^purge ${index + 2} is published: `), stderr: '' },
    );
    await until(async () => (await get('/x?y=1')) !== before, 1_000);
  }
  const audited = () => service.log.filter(({ event }) => event === 'ops.audit');
  await until(() => audited().length >= ways.length);
  t.match(
    audited(),
    [`url ${service.access.toUpperCase()}/x`, `prefix ${service.access}/`, 'tag a-tag', 'all'].map((what) => ({
      role: 'cli',
      command: 'ops.cache.purge',
      target: `${app}/${what}`,
      outcome: 'ok',
    })),
  );
  t.match(await runCommand(['cache', 'purge', '--app', '7', '--all'], options), {
    code: 1,
    stderr: /there is no app 7/,
  });
  service.process.kill('SIGTERM');
  t.same(await service.exited, { code: 0, signal: null });
});
