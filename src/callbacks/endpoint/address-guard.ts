import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';

/**
 * Where callbacks may connect to (K8). The address is judged at the time of the connection, and the socket is made to the very
 * address that was judged: what a name pointed to earlier does not count.
 */
export interface AddressGuard {
  /** Why a connection may not be made; undefined: it may. Takes what the resolver or a socket says, and only that. */
  refusalOf(address: string, port: number): string | undefined;
}

/** As configured: `true`, loopback and private networks too; a list, exactly those addresses and blocks too. */
export type AddressPolicy = boolean | readonly string[];

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface AddressGuardDeps {
  /** The listeners of this process: an app's callback must not come back as a request of ours. */
  ownAddresses(): readonly ListenAddress[];
  /** Addresses of this machine; by default those of its interfaces. */
  machineAddresses?(): readonly string[];
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Block = readonly [address: Address, bits: number];

/** What kind of place an address is. `metadata`: where clouds give their credentials to whoever asks from inside. */
export type AddressKind =
  | 'public'
  | 'loopback'
  | 'private'
  | 'link-local'
  | 'metadata'
  | 'reserved'
  | 'unspecified'
  | 'multicast'
  | 'broadcast';

/** The first block that holds an address decides. RFC 6890 and its registries, and what clouds use. */
const ipv4Blocks = blocks([
  [
    'metadata',
    [
      '169.254.169.254/32',
      '169.254.170.2/32',
      '169.254.170.23/32',
      '100.100.100.200/32',
      '168.63.129.16/32',
      '192.0.0.192/32',
    ],
  ],
  ['unspecified', ['0.0.0.0/8']],
  ['loopback', ['127.0.0.0/8']],
  // 100.64/10 is between an operator and its customers: private to us.
  ['private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10']],
  ['link-local', ['169.254.0.0/16']],
  ['broadcast', ['255.255.255.255/32']],
  ['multicast', ['224.0.0.0/4']],
  [
    'reserved',
    [
      '192.0.0.0/24',
      '192.0.2.0/24',
      '192.88.99.0/24',
      '198.18.0.0/15',
      '198.51.100.0/24',
      '203.0.113.0/24',
      '240.0.0.0/4',
    ],
  ],
]);
/** Nothing is public but 2000::/3 and, by the IPv4 address in it, 64:ff9b::/96. */
const ipv6Blocks = blocks([
  ['metadata', ['fd00:ec2::/32', 'fd20:ce::254/128']],
  ['unspecified', ['::/128']],
  ['loopback', ['::1/128']],
  ['private', ['fc00::/7']],
  ['link-local', ['fe80::/10']],
  ['multicast', ['ff00::/8']],
  ['public', ['64:ff9b::/96', '2001::/32', '2002::/16']],
  ['reserved', ['2001::/23', '2001:db8::/32', '3fff::/20']],
  ['public', ['2000::/3']],
  ['reserved', ['::/0']],
]);

/** Never, whatever is allowed: no backend listens there, or what does is not one. */
const neverAllowed: ReadonlySet<AddressKind> = new Set(['unspecified', 'multicast', 'broadcast']);
const words: Record<AddressKind, string> = {
  public: 'a public address',
  loopback: 'a loopback address',
  private: 'a private address',
  'link-local': 'a link-local address',
  metadata: 'the address of a metadata service',
  reserved: 'a reserved address',
  unspecified: 'an unspecified address',
  multicast: 'a multicast address',
  broadcast: 'a broadcast address',
};

export function createAddressGuard(
  { ownAddresses, machineAddresses = interfaceAddresses }: AddressGuardDeps,
  policy: AddressPolicy,
): AddressGuard {
  const listed = typeof policy === 'boolean' ? [] : policy.map(parseBlock).filter((block) => block !== undefined);

  /** `kind`: of the place that is reached by it. A block allows what is usual; a metadata service has to be meant. */
  const isListed = (address: Address, kind: AddressKind): boolean =>
    listed.some((block) => isIn(address, block) && (kind !== 'metadata' || isWhole(block)));

  const isAllowed = (address: Address, kind: AddressKind): boolean => {
    if (kind === 'public') return true;
    if (neverAllowed.has(kind)) return false;
    if (policy === true) return kind === 'loopback' || kind === 'private';
    return isListed(address, kind);
  };

  const isOwn = (address: Address, port: number): boolean =>
    ownAddresses().some((own) => {
      if (own.port !== port) return false;
      const host = own.host === 'localhost' ? undefined : parseAddress(own.host);
      if (host !== undefined && kindOf(host) !== 'unspecified') return isSame(host, address);
      if (kindOf(address) === 'loopback') return true;
      // A listener on every address, or on a name that only the system can resolve.
      return machineAddresses().some((text) => {
        const local = parseAddress(text);
        return local !== undefined && isSame(local, address);
      });
    });

  return {
    refusalOf(text, port) {
      const address = parseAddress(text);
      if (address === undefined) return 'is no address';
      // What a tunnel would carry on to is judged like the tunnel's own address.
      for (const one of [address, ...carriedBy(address)]) {
        const kind = kindOf(one);
        const name = one === address ? `${one}` : `${address} (${one})`;
        const isMeant = one !== address && !neverAllowed.has(kind) && isListed(address, kind);
        if (!isMeant && !isAllowed(one, kind)) {
          return `${name} is ${words[kind]}`;
        }
        if (isOwn(one, port)) return `${name} port ${port} is a listener of this service`;
      }
      return undefined;
    },
  };
}

/** What kind of place an address is, by itself; undefined when the text is no address. Pure. */
export function addressKind(text: string): AddressKind | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : kindOf(address);
}

/** An address as resolvers and sockets write it, IPv4 for mapped IPv6. Not the loose forms of IPv4: nobody connects to those. */
function parseAddress(text: string): Address | undefined {
  const percent = text.indexOf('%');
  const bare = percent < 0 ? text : text.slice(0, percent);
  if (ipaddr.IPv4.isValidFourPartDecimal(bare)) return ipaddr.IPv4.parse(bare);
  const groups = withoutDots(bare);
  if (!groups.includes(':') || !ipaddr.IPv6.isValid(groups)) return undefined;
  const address = ipaddr.IPv6.parse(groups);
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

/** IPv6 without an IPv4 part at its end: the library takes `::8.8.8.8`, which leads nowhere, for the mapped address. */
function withoutDots(text: string): string {
  const at = text.lastIndexOf(':') + 1;
  const part = text.slice(at);
  if (at === 0 || !ipaddr.IPv4.isValidFourPartDecimal(part)) return text;
  const [a = 0, b = 0, c = 0, d = 0] = ipaddr.IPv4.parse(part).octets;
  return `${text.slice(0, at)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

function kindOf(address: Address): AddressKind {
  const table = address.kind() === 'ipv4' ? ipv4Blocks : ipv6Blocks;
  return table.find(([, block]) => isIn(address, block))?.[0] ?? 'public';
}

/** IPv4 addresses to which a translator or tunnel would carry what is sent to this one: NAT64, 6to4, Teredo. */
function carriedBy(address: Address): ipaddr.IPv4[] {
  if (address.kind() === 'ipv4') return [];
  const bytes = address.toByteArray();
  const at = (start: number, flip = 0) => new ipaddr.IPv4(bytes.slice(start, start + 4).map((byte) => byte ^ flip));
  if (isIn(address, nat64)) return [at(12)];
  if (isIn(address, sixToFour)) return [at(2)];
  // Teredo: the server, and the client with all bits flipped.
  if (isIn(address, teredo)) return [at(4), at(12, 0xff)];
  return [];
}

const nat64 = block('64:ff9b::/96');
const sixToFour = block('2002::/16');
const teredo = block('2001::/32');

function isIn(address: Address, [base, bits]: Block): boolean {
  return address.kind() === base.kind() && (address as ipaddr.IPv6).match(base as ipaddr.IPv6, bits);
}

function isSame(a: Address, b: Address): boolean {
  return a.kind() === b.kind() && a.toString() === b.toString();
}

function isWhole([base, bits]: Block): boolean {
  return bits === (base.kind() === 'ipv4' ? 32 : 128);
}

/** An address or block of the configuration; undefined where it is none, so that it allows nothing. */
function parseBlock(entry: string): Block | undefined {
  const [text = '', bits] = entry.split('/');
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  const isIpv4 = address.kind() === 'ipv4';
  // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
  const isMapped = isIpv4 && text.includes(':');
  const length = bits === undefined ? (isIpv4 ? 32 : 128) : Number(bits) - (isMapped ? 96 : 0);
  return Number.isInteger(length) && length >= 0 && length <= (isIpv4 ? 32 : 128) ? [address, length] : undefined;
}

function blocks(table: readonly (readonly [AddressKind, readonly string[]])[]): [AddressKind, Block][] {
  return table.flatMap(([kind, entries]) => entries.map((entry): [AddressKind, Block] => [kind, block(entry)]));
}

function block(entry: string): Block {
  const [text = '', bits] = entry.split('/');
  return [ipaddr.parse(text), Number(bits)];
}

function interfaceAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}
