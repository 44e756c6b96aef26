import ipaddr from 'ipaddr.js';
import Type from 'typebox';
import { logLevels } from '../../observe/index.ts';
import { CallbacksSchema as AppCallbacksSchema, AppSchema, PushSchema, TimeoutsSchema } from '../../store/index.ts';
import { parseAddress } from './address.ts';

/**
 * The whole configuration: every field with its meaning, bounds and default. The loader, the reference page, the
 * environment variables and the redaction are made from it.
 *
 * Annotations of ours: `title` says in words what a text must be; `secret: true` marks what is never printed,
 * `secret: 'url'` a URL whose password is not. A secret `x` with a sibling `xFile` can be read from that file. Every
 * field whose name ends with `File` names a file that must be readable.
 */

const closed = { additionalProperties: false } as const;

const text = (title: string, check: (value: string) => boolean, options: object = {}) =>
  Type.Refine(Type.String({ title, ...options }), check, () => `is not ${title}`);

const fileOf = (what: string) => Type.Optional(Type.String({ description: `File that holds ${what}.`, minLength: 1 }));

const addressTitle = 'an address such as 127.0.0.1:8080 or [::1]:8080';

function isAddress(value: string): boolean {
  return parseAddress(value) !== undefined;
}

function listener(description: string, address: string) {
  return Type.Union(
    [
      text(addressTitle, isAddress),
      Type.Object(
        {
          address: text(addressTitle, isAddress, {
            description: 'Address to listen on; port 0 lets the system choose one.',
            default: address,
          }),
          tls: Type.Optional(
            Type.Object(
              {
                certFile: Type.String({
                  description: 'PEM file with the certificate and its chain; read again when it changes.',
                  minLength: 1,
                }),
                keyFile: Type.String({
                  description: 'PEM file with the private key; read again when it changes.',
                  minLength: 1,
                }),
              },
              { ...closed, description: 'Serve TLS.' },
            ),
          ),
        },
        { ...closed, title: 'a map of `address` and `tls`' },
      ),
      Type.Literal('none'),
      Type.Literal(false),
    ],
    { description, default: address },
  );
}

/** 32 bytes in base64 or base64url, with or without padding. */
export function parseMasterKey(value: string): Buffer | undefined {
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(value)) return undefined;
  const key = Buffer.from(value, 'base64');
  return key.length === 32 ? key : undefined;
}

const masterKey = (options: object) =>
  text('32 random bytes in base64', (value) => parseMasterKey(value) !== undefined, options);

/** Reads an address or CIDR block; gives it back as a CIDR block, or undefined. */
export function parseNetwork(value: string): string | undefined {
  const strictV4 = (address: string) => address.includes(':') || ipaddr.IPv4.isValidFourPartDecimal(address);
  if (ipaddr.isValidCIDR(value)) return strictV4(value.split('/')[0] ?? '') ? value : undefined;
  if (!ipaddr.isValid(value) || !strictV4(value) || value.includes('%')) return undefined;
  return `${value}/${ipaddr.parse(value).kind() === 'ipv4' ? 32 : 128}`;
}

function isDatabaseUrl(value: string): boolean {
  return /^postgres(ql)?:\/\//.test(value) && URL.canParse(value);
}

/** Without a query: what stands there would be options of the client library, past the schema. */
function isRedisUrl(value: string): boolean {
  const url = /^rediss?:\/\//.test(value) ? URL.parse(value) : null;
  return url !== null && url.hostname !== '' && /^\/?[0-9]{0,4}$/.test(url.pathname) && url.search + url.hash === '';
}

interface Bounds {
  default: number;
  minimum: number;
  maximum: number;
}
const amount = (description: string, bounds: Bounds) => Type.Integer({ description, ...bounds });

const SessionsSchema = Type.Object(
  {
    lifetimeSec: amount('How long a session token lasts; the SDK renews it silently.', {
      default: 900,
      minimum: 60,
      maximum: 3_600,
    }),
    keyRotationSec: amount(
      'How often the key that signs session tokens changes; not shorter than a session lasts, since the key before stays valid for one period.',
      { default: 86_400, minimum: 60, maximum: 31_536_000 },
    ),
  },
  { ...closed, description: 'Session tokens of the access service.', default: {} },
);

const LimitsSchema = Type.Object(
  {
    headerBytes: amount('Size of a request head, in bytes, at most; more is answered 431.', {
      default: 16_384,
      minimum: 1_024,
      maximum: 1_048_576,
    }),
    headerCount: amount('Number of header fields of a request at most; more is answered 431.', {
      default: 100,
      minimum: 10,
      maximum: 2_000,
    }),
    urlBytes: amount('Size of a request target (path and query), in bytes, at most; more is answered 414.', {
      default: 8_192,
      minimum: 256,
      maximum: 1_048_576,
    }),
    bodyBytes: amount('Size of a request body, in bytes, at most; more is answered 413. 0 means no limit.', {
      default: 2_147_483_648,
      minimum: 0,
      maximum: 1_099_511_627_776,
    }),
    connections: amount('Client connections at once, of the whole access listener.', {
      default: 10_000,
      minimum: 1,
      maximum: 1_000_000,
    }),
    connectionsPerAddress: amount(
      'Client connections at once, from one address (IPv6: one /64); carriers put many phones behind one. 0 means no limit.',
      {
        default: 2_000,
        minimum: 0,
        maximum: 1_000_000,
      },
    ),
    requestsPerAddressPerSec: amount('Requests a second from one address, on average. 0 means no limit.', {
      default: 1_000,
      minimum: 0,
      maximum: 1_000_000,
    }),
    requestBurstPerAddress: amount('Requests from one address that may come at once, ahead of the average.', {
      default: 2_000,
      minimum: 1,
      maximum: 1_000_000,
    }),
    sessionsPerAddressPerMin: amount('Sessions that one address may create a minute. 0 means no limit.', {
      default: 600,
      minimum: 0,
      maximum: 1_000_000,
    }),
    headersTimeoutMs: amount('Longest time, in milliseconds, in which a client must have sent its request head.', {
      default: 20_000,
      minimum: 100,
      maximum: 600_000,
    }),
    bodyIdleTimeoutMs: amount('Longest pause, in milliseconds, between two pieces of a request body.', {
      default: 60_000,
      minimum: 100,
      maximum: 3_600_000,
    }),
    responseWriteTimeoutMs: amount(
      'Longest time, in milliseconds, in which a client takes nothing of its answer; then the connection is cut.',
      { default: 60_000, minimum: 100, maximum: 3_600_000 },
    ),
    keepAliveTimeoutMs: amount('How long, in milliseconds, an idle client connection is kept open.', {
      default: 65_000,
      minimum: 100,
      maximum: 3_600_000,
    }),
    requestsPerConnection: amount('Requests over one connection before it is closed. 0 means no limit.', {
      default: 0,
      minimum: 0,
      maximum: 1_000_000_000,
    }),
    upgrades: amount('Upgraded connections (WebSocket) at once, of the whole access listener.', {
      default: 5_000,
      minimum: 0,
      maximum: 1_000_000,
    }),
    upgradesPerAddress: amount('Upgraded connections at once, from one address. 0 means no limit.', {
      default: 1_000,
      minimum: 0,
      maximum: 1_000_000,
    }),
  },
  { ...closed, description: 'What one client, or all together, may take of the access listener.', default: {} },
);

const CacheSchema = Type.Object(
  {
    bytes: amount(
      'Memory for stored answers, of all apps together, in bytes; what was used least recently gives way.',
      {
        default: 134_217_728,
        minimum: 0,
        maximum: 1_099_511_627_776,
      },
    ),
    entryBytes: amount('Size of one stored answer, head and body, in bytes, at most.', {
      default: 8_388_608,
      minimum: 1_024,
      maximum: 1_073_741_824,
    }),
    lane: Type.Boolean({
      description:
        "Whether plain hits are written past Node's message objects, which saves about a third of their cost. It leans on Node's internals, is tried at each start, and is left alone where it does not work; switch it off to rule it out.",
      default: true,
    }),
  },
  { ...closed, description: 'The cache of the access service, of this process.', default: {} },
);

const ImSchema = Type.Object(
  {
    connections: amount('Connections at once, of the im listener: links and REST together.', {
      default: 25_000,
      minimum: 1,
      maximum: 1_000_000,
    }),
    connectionsPerAddress: amount(
      'Connections at once, from one address (IPv6: one /64) that is none of `trustedProxies`. 0 means no limit.',
      { default: 2_500, minimum: 0, maximum: 1_000_000 },
    ),
    links: amount('Links at once, of this process.', { default: 20_000, minimum: 1, maximum: 1_000_000 }),
    linksPerAddress: amount(
      'Links at once, from one address (IPv6: one /64); carriers put many phones behind one. 0 means no limit.',
      { default: 2_000, minimum: 0, maximum: 1_000_000 },
    ),
    framesPerSec: amount(
      'Frames a second that a link may send, on average over 4 seconds; above three times that it is closed.',
      {
        default: 50,
        minimum: 1,
        maximum: 100_000,
      },
    ),
    queueBytes: amount(
      'Bytes that wait for a link whose terminal does not take them, at most; then it is resynced instead.',
      { default: 1_048_576, minimum: 16_384, maximum: 67_108_864 },
    ),
    bodyBytes: amount('Size of the body of a REST request, in bytes, at most.', {
      default: 1_048_576,
      minimum: 16_384,
      maximum: 16_777_216,
    }),
    wordLists: Type.Array(
      Type.Object(
        {
          category: Type.String({
            description: 'Name of the list, for `wordLists` of apps.',
            pattern: '^[a-z0-9-]{1,40}$',
          }),
          wordsFile: Type.String({
            description: 'File with a word a line, UTF-8; lines that begin with `#` are comments.',
            minLength: 1,
          }),
        },
        closed,
      ),
      {
        description: 'Category lists of dirty words that apps can switch on.',
        maxItems: 100,
        default: [],
      },
    ),
  },
  { ...closed, description: 'Messaging, of this process.', default: {} },
);

const CallbacksSchema = Type.Object(
  {
    concurrency: amount(
      'Conversations and accounts whose after-callbacks are sent at once by a process, of all apps together, and as many again of those that had to wait in the queue; `apps[].callbacks.concurrency` bounds those to one URL.',
      { default: 64, minimum: 1, maximum: 1_000 },
    ),
  },
  { ...closed, description: 'Callbacks to the backends of apps, of this process.', default: {} },
);

const PushesSchema = Type.Object(
  {
    concurrency: amount("Services of apps (an app's APNs, an app's FCM) that a process sends to at once.", {
      default: 64,
      minimum: 1,
      maximum: 1_000,
    }),
  },
  { ...closed, description: 'Pushes, of this process.', default: {} },
);

const TokenSchema = Type.Object(
  {
    name: Type.String({
      description: 'Who or what uses the token; shown in the audit log.',
      minLength: 1,
      maxLength: 100,
    }),
    role: Type.Union([Type.Literal('viewer'), Type.Literal('operator')], {
      description: 'A viewer looks, an operator also acts.',
    }),
    token: Type.String({
      description: 'The bearer token.',
      title: 'a text of 16 to 256 visible ASCII characters',
      pattern: '^[\\x21-\\x7e]*$',
      minLength: 16,
      maxLength: 256,
      secret: true,
    }),
    tokenFile: fileOf('the bearer token'),
  },
  closed,
);

export const ConfigSchema = Type.Object(
  {
    data: Type.String({
      description:
        'Folder of the embedded database, the instance lock and the master key; relative to the working directory.',
      minLength: 1,
      default: './data',
    }),
    listen: Type.Object(
      {
        access: listener(
          'Access listener, for client apps: an address, a map with `tls`, or `none`.',
          '127.0.0.1:8080',
        ),
        im: listener(
          'IM listener, for app backends and client apps: REST and links. An address, a map with `tls`, or `none`.',
          '127.0.0.1:8081',
        ),
        ops: listener(
          'Ops listener, for operators: health, metrics, console. An address, a map with `tls`, or `none`.',
          '127.0.0.1:8082',
        ),
      },
      { ...closed, description: 'Where this process listens.', default: {} },
    ),
    database: Type.Union([Type.Literal('embedded'), text('a URL `postgres://…`', isDatabaseUrl)], {
      description: '`embedded` for a PostgreSQL that this process runs itself, or the URL of one elsewhere.',
      default: 'embedded',
      secret: 'url',
    }),
    databaseFile: fileOf('the URL of the database'),
    redis: Type.Union([Type.Literal('none'), text('a URL `redis://…` or `rediss://…`', isRedisUrl)], {
      description:
        '`none`, or the URL of a Redis that wakes and paces the work which waits in the database: `redis://user:password@host:6379/0`, `rediss://` for TLS. Losing it costs time, nothing else.',
      default: 'none',
      secret: 'url',
    }),
    redisFile: fileOf('the URL of the Redis'),
    masterKey: Type.Optional(
      Type.Union([masterKey({}), Type.Array(masterKey({}), { minItems: 1, maxItems: 2 })], {
        description:
          'Key from which all others are derived: 32 random bytes in base64, or a list of two, newest first, while rotating. The same on every process. Without one, the embedded database gets one in `master.key` of the data folder.',
        secret: true,
      }),
    ),
    masterKeyFile: fileOf('the master key; two lines, newest first, while rotating'),
    trustedProxies: Type.Array(
      text('an IP address or a CIDR block', (value) => parseNetwork(value) !== undefined, { maxLength: 64 }),
      {
        description: 'Proxies in front of this one, as addresses or CIDR blocks, whose X-Forwarded-For is believed.',
        maxItems: 1_000,
        default: [],
      },
    ),
    ops: Type.Object(
      {
        tokens: Type.Array(TokenSchema, {
          description: 'Who may use the ops API. Needed as soon as the ops listener is open to more than this machine.',
          maxItems: 1_000,
          default: [],
        }),
      },
      { ...closed, description: 'Operators.', default: {} },
    ),
    log: Type.Object(
      {
        level: Type.Union(
          logLevels.map((level) => Type.Literal(level)),
          { description: 'Least level that is logged.', default: 'info' },
        ),
        access: Type.Boolean({ description: 'Whether each proxied request is logged.', default: true }),
      },
      { ...closed, description: 'The log: one JSON object a line on standard output.', default: {} },
    ),
    sessions: SessionsSchema,
    timeouts: Type.Object(TimeoutsSchema.properties, {
      ...closed,
      description: 'Time limits of one exchange with an upstream; a route may differ.',
      default: {},
    }),
    limits: LimitsSchema,
    cache: CacheSchema,
    im: ImSchema,
    callbacks: CallbacksSchema,
    push: PushesSchema,
    shutdown: Type.Object(
      {
        graceMs: amount('How long, in milliseconds, requests in flight may still take after SIGTERM.', {
          default: 10_000,
          minimum: 0,
          maximum: 3_600_000,
        }),
      },
      { ...closed, description: 'How this process ends.', default: {} },
    ),
    apps: Type.Array(
      Type.Object(
        {
          ...AppSchema.properties,
          secretFile: fileOf('the UserSig key; two lines while rotating'),
          callbacks: Type.Object(
            {
              ...AppCallbacksSchema.properties,
              secretFile: fileOf('the key that signs callbacks; two lines while rotating'),
              signTokenFile: fileOf('that token'),
            },
            { ...closed, description: "The callbacks to the app's backend.", default: {} },
          ),
          push: pushWithFiles(),
        },
        closed,
      ),
      {
        description:
          'Apps of this installation, applied at start. Those made by `qalgate app` live beside them in the database.',
        maxItems: 10_000,
        default: [],
      },
    ),
  },
  closed,
);

/** An app's pushes, whose secrets may stand in files. */
function pushWithFiles() {
  const { apns, fcm, ...rest } = PushSchema.properties;
  return Type.Object(
    {
      apns: Type.Optional(
        Type.Object(
          {
            ...apns.properties,
            keyFile: fileOf('that key'),
            certificateFile: fileOf('that certificate'),
            certificateKeyFile: fileOf('the key of the certificate'),
          },
          { ...closed, description: 'iOS: APNs.' },
        ),
      ),
      fcm: Type.Optional(
        Type.Object(
          { ...fcm.properties, serviceAccountFile: fileOf('the service account') },
          { ...closed, description: 'Android: FCM HTTP v1.' },
        ),
      ),
      ...rest,
    },
    { ...closed, description: 'The pushes to devices that are not there.', default: {} },
  );
}

/** The configuration as written, defaults filled, secrets read from their files. */
export type Settings = Type.Static<typeof ConfigSchema>;

/** What a process can do; `qalgate serve --roles`. */
export const roles = ['access', 'im', 'relay', 'push', 'ops'] as const;
export type Role = (typeof roles)[number];
