import type { LookupAddress } from 'node:dns';
import { isIP } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import {
  type AddressPolicy,
  addressKind,
  createAddressGuard,
  type ListenAddress,
} from '../../src/callbacks/endpoint/address-guard.ts';
import { parseCallbackUrl } from '../../src/callbacks/endpoint/callback-url.ts';
import { createLookups } from '../../src/callbacks/endpoint/lookups.ts';

function refusal(address: string, policy: AddressPolicy = false, own: ListenAddress[] = [], port = 80) {
  const deps = { ownAddresses: () => own, machineAddresses: () => ['192.168.7.7', '198.41.0.4', '2a00::7', 'fe80::7'] };
  return createAddressGuard(deps, policy).refusalOf(address, port);
}

/** One of each kind that is refused by default, by what is said of it. */
const refused: Record<string, string[]> = {
  'a loopback address': ['127.0.0.1', '127.255.255.255', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:0:0:1'],
  'a private address': [
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.0.1',
    '100.64.0.1',
    '100.127.255.255',
    'fc00::1',
    'fdff::1',
    '::ffff:10.0.0.1',
  ],
  'a link-local address': ['169.254.0.1', '169.254.255.255', 'fe80::1', 'febf::1', 'fe80::1%eth0'],
  'the address of a metadata service': [
    '169.254.169.254',
    '169.254.170.2',
    'fd00:ec2::254',
    'fd20:ce::254',
    '100.100.100.200',
    '168.63.129.16',
    '::ffff:a9fe:a9fe',
  ],
  'an unspecified address': ['0.0.0.0', '0.255.255.255', '::', '::ffff:0.0.0.0'],
  'a multicast address': ['224.0.0.1', '239.255.255.255', 'ff02::1', 'ff0e::1'],
  'a broadcast address': ['255.255.255.255'],
  'a reserved address': [
    '192.0.0.1',
    '192.0.2.1',
    '192.88.99.1',
    '198.18.0.1',
    '198.19.255.255',
    '198.51.100.1',
    '203.0.113.1',
    '240.0.0.1',
    '::127.0.0.1',
    '::8.8.8.8',
    '::ffff:0:8.8.8.8',
    '64:ff9b:1::1',
    '100::1',
    'fec0::1',
    '2001:2::1',
    '2001:db8::1',
    '3fff::1',
    '4000::1',
    '5f00::1',
  ],
};
const publicOnes = [
  '8.8.8.8',
  '1.1.1.1',
  '100.63.255.255',
  '100.128.0.1',
  '172.15.0.1',
  '172.32.0.1',
  '192.0.1.1',
  '198.17.0.1',
  '198.20.0.1',
  '223.255.255.255',
  '2606:4700::1111',
  '2a00::1',
  '::ffff:8.8.8.8',
  '64:ff9b::8.8.8.8',
  '2002:808:808::1',
];

t.test('[K8] by default public addresses alone', async (t) => {
  for (const address of publicOnes) t.equal(refusal(address), undefined, address);
  for (const [what, addresses] of Object.entries(refused)) {
    for (const address of addresses) t.match(refusal(address), new RegExp(` is ${what}$`), address);
  }
  for (const none of [
    '',
    'localhost',
    '1.2.3',
    '1.2.3.4.5',
    '0x7f000001',
    '010.0.0.1',
    '256.1.1.1',
    ':',
    'g::',
    '1.2.3.4/8',
  ]) {
    t.equal(refusal(none, true), 'is no address', none);
  }
});

t.test('[K8] what tunnels and translators would carry on is judged by where it goes', async (t) => {
  t.equal(refusal('64:ff9b::7f00:1'), '64:ff9b::7f00:1 (127.0.0.1) is a loopback address');
  t.match(refusal('64:ff9b::a9fe:a9fe', true), /metadata/);
  t.match(refusal('2002:a00:1::1'), /\(10\.0\.0\.1\) is a private address/);
  t.equal(refusal('2002:a00:1::1', true), undefined);
  // Teredo: the server 10.0.0.1; the client 127.0.0.1, flipped; a public pair.
  t.match(refusal('2001:0:a00:1::f7f7:f7f7'), /\(10\.0\.0\.1\)/);
  t.match(refusal('2001:0:808:808::80ff:fffe'), /\(127\.0\.0\.1\)/);
  t.equal(refusal('2001:0:808:808::f7f7:f7f7'), undefined);
  t.equal(refusal('64:ff9b::7f00:1', ['64:ff9b::/96']), undefined);
  // A block of the tunnel's own addresses means no metadata service, and nothing that is never allowed.
  for (const block of ['64:ff9b::/96', '::/0']) {
    t.match(refusal('64:ff9b::a9fe:a9fe', [block]), /\(169\.254\.169\.254\) is the address of a metadata service/);
    t.match(refusal('64:ff9b::e000:1', [block]), /multicast/);
  }
  t.match(refusal('2002:a9fe:a9fe::1', ['2002::/16']), /metadata/);
  t.equal(refusal('64:ff9b::a9fe:a9fe', ['64:ff9b::a9fe:a9fe']), undefined, 'one that is meant');
});

t.test('[K8] `true` allows loopback and private networks, and nothing that is worse', async (t) => {
  for (const [what, addresses] of Object.entries(refused)) {
    const isFine = what.includes('loopback') || what.includes('private');
    for (const address of addresses) t.equal(refusal(address, true) === undefined, isFine, address);
  }
});

t.test('[K8] a list allows exactly what it names, besides public addresses', async (t) => {
  const list = ['10.1.0.0/16', '192.168.1.5', 'fd12::/16', '169.254.0.0/16', '::ffff:172.16.0.0/108', '198.18.0.1'];
  for (const address of [
    '10.1.2.3',
    '::ffff:10.1.2.3',
    '192.168.1.5',
    'fd12::9',
    '169.254.1.1',
    '172.17.0.1',
    '198.18.0.1',
    '8.8.8.8',
  ]) {
    t.equal(refusal(address, list), undefined, address);
  }
  for (const address of ['10.2.0.1', '192.168.1.6', 'fd13::9', '127.0.0.1', '::1', '172.32.0.1.', '198.18.0.2']) {
    t.ok(refusal(address, list), address);
  }
  // A block is about machines; a metadata service has to be meant.
  t.match(refusal('169.254.169.254', list), /metadata/);
  t.equal(refusal('169.254.169.254', [...list, '169.254.169.254']), undefined);
  t.equal(refusal('169.254.169.254', ['169.254.169.254/32']), undefined);
  // No backend is there, whatever is listed.
  for (const address of ['0.0.0.0', '224.0.0.1', '255.255.255.255', '::', 'ff02::1']) {
    t.ok(refusal(address, ['0.0.0.0/0', '::/0']), address);
  }
  for (const none of ['300.1.1.1', '10.0.0.0/33', '10.0.0.0/x', 'fd00::/129', '10', '::ffff:10.0.0.0/8', '']) {
    t.ok(refusal('10.0.0.1', [none]), `${none} allows nothing`);
  }
});

t.test('[K8] never our own listeners', async (t) => {
  const everywhere = { host: '0.0.0.0', port: 8080 };
  const own = [everywhere, { host: '127.0.0.1', port: 9090 }, { host: '::1', port: 9191 }];
  const all = ['0.0.0.0/0', '::/0'];
  for (const policy of [true, all]) {
    for (const address of [
      '127.0.0.1',
      '127.9.9.9',
      '::1',
      '192.168.7.7',
      '::ffff:192.168.7.7',
      '198.41.0.4',
      '2a00::7',
    ]) {
      t.match(refusal(address, policy, own, 8080), /port 8080 is a listener of this service$/, address);
    }
    t.match(refusal('127.0.0.1', policy, own, 9090), /listener of this service$/);
    t.match(refusal('::1', policy, own, 9191), /listener of this service$/);
    t.equal(refusal('127.0.0.1', policy, own, 9191), undefined);
    t.equal(refusal('127.0.0.1', policy, own, 8081), undefined);
    t.equal(refusal('192.168.7.8', policy, own, 8080), undefined);
  }
  t.match(refusal('198.41.0.4', false, own, 8080), /listener/, 'on a public address of the machine, too');
  t.match(refusal('64:ff9b::c629:4', false, own, 8080), /\(198\.41\.0\.4\) port 8080 is a listener/);
  t.match(refusal('2a00::7', false, [{ host: '::', port: 80 }]), /listener/);
  t.match(refusal('192.168.7.7', true, [{ host: 'gate.example', port: 80 }]), /listener/, 'a name may be any of them');
  // With the real interfaces.
  const guard = createAddressGuard({ ownAddresses: () => [everywhere] }, true);
  t.match(guard.refusalOf('127.0.0.1', 8080), /listener/);
});

t.test(
  '[K8] every way to write loopback in a URL comes out as an address that is refused, or as a name to look up',
  async (t) => {
    const literals = [
      '0x7f000001',
      '2130706433',
      '127.1',
      '127.0.1',
      '0177.0.0.1',
      '0x7f.1',
      '127.0.0.1.',
      '%31%32%37.0.0.1',
      '①②⑦.0.0.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[0:0:0:0:0:ffff:7f00:0001]',
      '[::127.0.0.1]',
      '0',
      '0x0',
      '[::]',
    ];
    for (const literal of literals) {
      const { host, port } = parseCallbackUrl(`http://${literal}:8080/`);
      t.ok(isIP(host), `${literal} is ${host}`);
      t.equal(port, 8080);
      t.ok(refusal(host), literal);
    }
    for (const name of ['localhost', 'LOCALHOST.', 'backend.example.']) {
      t.equal(isIP(parseCallbackUrl(`https://${name}/`).host), 0, name);
    }
    for (const broken of ['1.2.3.4.5', '127.0.0.256', '[fe80::1%25eth0]', '0x7f.0x0.0x0.0x100', 'a b']) {
      t.throws(() => parseCallbackUrl(`http://${broken}/`), broken);
    }
  },
);

t.test('[K8] the verdict depends on the address alone, however it is written', async (t) => {
  const octets = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));
  const hex = (a: number, b: number): string => ((a << 8) | b).toString(16);
  /** The standards' own words, told once more. */
  const isPublic = ([a, b, c, d]: [number, number, number, number]): boolean =>
    !(
      a === 0 ||
      a === 10 ||
      a === 127 ||
      a >= 224 ||
      (a === 100 && b >= 64 && b < 128) ||
      (a === 100 && b === 100 && c === 100 && d === 200) ||
      (a === 169 && b === 254) ||
      (a === 172 && b >= 16 && b < 32) ||
      (a === 192 && b === 168) ||
      (a === 192 && b === 0 && (c === 0 || c === 2)) ||
      (a === 192 && b === 88 && c === 99) ||
      (a === 198 && (b === 18 || b === 19)) ||
      (a === 198 && b === 51 && c === 100) ||
      (a === 203 && b === 0 && c === 113) ||
      (a === 168 && b === 63 && c === 129 && d === 16)
    );
  const special = fc
    .constantFrom(
      ...Object.values(refused)
        .flat()
        .filter((one) => isIP(one) === 4),
    )
    .map((one) => one.split('.').map(Number) as [number, number, number, number]);
  fc.assert(
    fc.property(fc.oneof(octets, special), (ip) => {
      const [a, b, c, d] = ip;
      const text = ip.join('.');
      const [high, low] = [hex(a, b), hex(c, d)];
      const expected = isPublic(ip);
      t.equal(refusal(text) === undefined, expected, text);
      for (const form of [
        `::ffff:${text}`,
        `::FFFF:${high}:${low}`,
        `0:0:0:0:0:ffff:${high}:${low}`,
        `64:ff9b::${text}`,
        `2002:${high}:${low}::1`,
      ]) {
        t.equal(refusal(form) === undefined, expected, form);
      }
      t.ok(refusal(`::${high}:${low}`), 'compatible addresses lead nowhere');
      t.equal(
        refusal(text, [text]) === undefined,
        !['unspecified', 'multicast', 'broadcast'].includes(addressKind(text) ?? ''),
        `${text}, listed`,
      );
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const canonical = new URL(`http://[${text}]/`).hostname.slice(1, -1);
      t.equal(refusal(text) === undefined, refusal(canonical) === undefined, text);
      t.equal(refusal(text.toUpperCase()) === undefined, refusal(text) === undefined, text);
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.boolean(), (text, policy) => void refusal(text, policy)),
    { numRuns: 300 },
  );
});

t.test('[K7] names: one look-up at once, and the last answer while there is none', async (t) => {
  const calls: string[] = [];
  let nowMs = 0;
  let answer: () => Promise<LookupAddress[]> = async () => [{ address: '8.8.8.8', family: 4 }];
  const lookup = createLookups({
    now: () => nowMs,
    lookup: (name) => {
      calls.push(name);
      return answer();
    },
  });
  const fail = (code: string) => async () => {
    throw Object.assign(new Error(code), { code });
  };
  const [a, b] = await Promise.all([lookup('one.example'), lookup('one.example')]);
  t.same([a, b], [[{ address: '8.8.8.8', family: 4 }], [{ address: '8.8.8.8', family: 4 }]]);
  await lookup('one.example');
  t.same(calls, ['one.example']);
  nowMs = 1_000;
  answer = fail('EAI_AGAIN');
  t.same(await lookup('one.example'), a, 'nobody could say');
  await t.rejects(lookup('two.example'), { code: 'EAI_AGAIN' });
  answer = fail('ENOTFOUND');
  await t.rejects(lookup('one.example'), { code: 'ENOTFOUND' }, 'there is no such name any more');
  answer = () => new Promise(() => {});
  t.same(await lookup('one.example'), a, 'a name server that is silent');
  nowMs = 601_001;
  let isDone = false;
  void lookup('one.example').then(() => {
    isDone = true;
  });
  await setImmediate();
  t.notOk(isDone, 'too old to be used');
  answer = async () => [{ address: '9.9.9.9', family: 4 }];
  await lookup('three.example');
  nowMs += 600_001;
  answer = fail('EAI_AGAIN');
  await t.rejects(lookup('three.example'), { code: 'EAI_AGAIN' }, 'too old even where nobody could say');
});

t.test('[K7] look-ups under way are bounded, and so are the addresses of a name', async (t) => {
  const hanging = createLookups({ now: () => 0, lookup: () => new Promise(() => {}) });
  for (let i = 0; i < 1_000; i += 1) void hanging(`${i}.example`);
  await t.rejects(hanging('more.example'), /too many/);
  const many = createLookups({
    now: () => 0,
    lookup: async () => Array.from({ length: 99 }, () => ({ address: '8.8.8.8', family: 4 })),
  });
  t.equal((await many('one.example')).length, 16);
});
