import Type from 'typebox';
import { CallbacksSchema } from './callback-settings.ts';
import { groupSettings } from './group-settings.ts';
import { PushSchema } from './push-settings.ts';

/**
 * What can be configured of an app: the schema behind the configuration file's `apps`, `qalgate app`, and the ops API.
 * The reference page is made from the descriptions. `secret: true` marks what is never printed.
 */

const closed = { additionalProperties: false } as const;

/** `http://host[:port]` or `https://host[:port]`, nothing behind it. */
const originPattern = '^https?://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/?$';

/** Time limits of one exchange with an upstream. */
export const TimeoutsSchema = Type.Object(
  {
    connectMs: Type.Integer({
      description: 'Longest wait for a connection to an upstream, name look-up and TLS included.',
      minimum: 1,
      maximum: 600_000,
      default: 5_000,
    }),
    headMs: Type.Integer({
      description: 'Longest wait for the head of the answer, counted from the end of the request.',
      minimum: 1,
      maximum: 3_600_000,
      default: 60_000,
    }),
    bodyIdleMs: Type.Integer({
      description: 'Longest pause between two pieces of the answer, and of an upgraded connection in both directions.',
      minimum: 1,
      maximum: 3_600_000,
      default: 60_000,
    }),
    totalMs: Type.Integer({
      description: 'Longest duration of one exchange from head to last byte; 0 means no limit. Upgrades are exempt.',
      minimum: 0,
      maximum: 86_400_000,
      default: 0,
    }),
  },
  closed,
);
export type Timeouts = Type.Static<typeof TimeoutsSchema>;

export const RouteSchema = Type.Object(
  {
    host: Type.String({
      description: 'Host that the route serves, without port: a name, `*.name` for all names below it, or `*` for any.',
      pattern: '^(\\*|(\\*\\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])$',
      maxLength: 253,
      default: '*',
    }),
    prefix: Type.String({
      description:
        'Path prefix that the route serves, by whole segments: `/api` serves `/api` and `/api/x`, not `/apix`. A path is matched as a backend would resolve it (`//`, `..`, percent-encoding) and forwarded as it came.',
      pattern: '^/[\\x21\\x22\\x24-\\x3e\\x40-\\x7e]*$',
      maxLength: 1_024,
      default: '/',
    }),
    upstream: Type.Array(Type.String({ pattern: originPattern, maxLength: 300 }), {
      description: "Origins of the app's backend: `http://host:port` or `https://host:port`.",
      minItems: 1,
      maxItems: 64,
    }),
    maxConnections: Type.Integer({
      description: 'Connections to each upstream of the route at most.',
      minimum: 1,
      maximum: 65_535,
      default: 256,
    }),
    maxQueued: Type.Integer({
      description: 'Requests that may wait for a free connection to each upstream; more are answered 503.',
      minimum: 0,
      maximum: 1_000_000,
      default: 1_024,
    }),
    cacheScope: Type.Union([Type.Literal('standard'), Type.Literal('shared')], {
      description:
        'Who may get a stored answer to a request with a session: `standard`, its own terminal and account unless the answer says `public` or `s-maxage`; `shared`, everybody, because this route serves the same to all.',
      default: 'standard',
    }),
    cacheSortQuery: Type.Boolean({
      description: 'Whether URLs that differ only in the order of their query parameters share a stored answer.',
      default: false,
    }),
    cacheDropParams: Type.Array(Type.String({ minLength: 1, maxLength: 256 }), {
      description:
        'Query parameters that make no difference to the answer, as they are written in URLs; the cache looks past them, the backend still gets them. A `*` at the end stands for any ending: `utm_*`.',
      maxItems: 100,
      default: [],
    }),
    upstreamCaFile: Type.Optional(
      Type.String({
        description: 'PEM file of the authorities that vouch for https upstreams, instead of the built-in ones.',
      }),
    ),
    timeouts: Type.Optional(
      Type.Partial(TimeoutsSchema, {
        description: 'Time limits that differ from the server-wide ones.',
        additionalProperties: false,
      }),
    ),
  },
  closed,
);
export type Route = Type.Static<typeof RouteSchema>;

export const AccessSchema = Type.Object(
  {
    sessions: Type.Union([Type.Literal('optional'), Type.Literal('required')], {
      description:
        'Whether a request without a session is forwarded (with the few headers that need none) or answered 401.',
      default: 'optional',
    }),
    sendImei: Type.Boolean({
      description: 'Whether QAL-IMEI and QAL-IMSI are taken from clients and sent to the backend (A10).',
      default: false,
    }),
    cache: Type.Union([Type.Literal('qal'), Type.Literal('rfc9111'), Type.Literal('off')], {
      description:
        'Which answers are stored: `qal`, those with status 200 whose own fields ask for it (a lifetime, a validator, or the QAL extensions); `rfc9111`, whatever the standard allows, heuristic lifetimes included; `off`, none.',
      default: 'qal',
    }),
    cacheDebug: Type.Boolean({
      description:
        'Whether a request with the field `QAL-Cache-Debug` is told, in a field of that name, which rule decided and what was compared. Shows nothing of other users.',
      default: false,
    }),
    routes: Type.Array(RouteSchema, {
      description: 'Where requests go. The longest host match wins, then the longest prefix.',
      maxItems: 1_000,
      default: [],
    }),
  },
  closed,
);

export const SecretsSchema = Type.Union(
  [
    Type.String({ minLength: 16, maxLength: 256 }),
    Type.Array(Type.String({ minLength: 16, maxLength: 256 }), { minItems: 1, maxItems: 2 }),
  ],
  {
    description: 'UserSig key of the app, 16 characters or more; a list of two, newest first, while rotating.',
    secret: true,
  },
);

const ProfileFieldSchema = Type.Object(
  {
    keyword: Type.String({
      description: 'Name of the field: English letters. Its tag is `Tag_Profile_Custom_<keyword>`.',
      pattern: '^[A-Za-z]{1,8}$',
    }),
    type: Type.Union([Type.Literal('string'), Type.Literal('bytes')], {
      description: 'What it holds: text, or bytes in base64. At most 500 bytes.',
      default: 'string',
    }),
    read: Type.Union([Type.Literal('app'), Type.Literal('admin')], {
      description: 'Who may read it: `app`, all accounts of the app; `admin`, its administrators.',
      default: 'app',
    }),
    write: Type.Union([Type.Literal('app'), Type.Literal('admin')], {
      description: 'Who may write it: `app`, the account itself and administrators; `admin`, administrators.',
      default: 'app',
    }),
  },
  closed,
);

/** What can be configured of an app's messaging. */
export const MessagingSchema = Type.Object(
  {
    origins: Type.Array(Type.String({ pattern: '^(\\*|https?://[^/\\s]+)$', maxLength: 300 }), {
      description:
        'Origins of web pages that may open links, such as `https://chat.example.com`; `*` for any. A link is opened by a UserSig, never by a cookie, so any is safe by default.',
      maxItems: 100,
      default: ['*'],
    }),
    multiTerminal: Type.Union([Type.Literal('single'), Type.Literal('pc-phone'), Type.Literal('all')], {
      description:
        'Which terminals of an account may be online at once: `single`, one; `pc-phone`, one of Windows, Mac, Linux and Web beside one of iOS, iPad and Android; `all`, one of each kind.',
      default: 'single',
    }),
    roamingDays: Type.Integer({
      description: 'How long one-to-one messages can be fetched from any terminal.',
      minimum: 1,
      maximum: 3_650,
      default: 7,
    }),
    offlineBytes: Type.Integer({
      description:
        'Bodies, in bytes, that are delivered to an account which was away; the newest ones. What is beyond stays in the history and unread.',
      minimum: 1_024,
      maximum: 16_777_216,
      default: 30_720,
    }),
    messageBytes: Type.Integer({
      description: 'Size of a message, in bytes of the JSON text of MsgBody, at most.',
      minimum: 256,
      maximum: 24_576,
      default: 8_000,
    }),
    recallSec: Type.Integer({
      description: 'How long after sending it an account may recall its message; administrators always may.',
      minimum: 0,
      maximum: 315_360_000,
      default: 120,
    }),
    commandPerSec: Type.Integer({
      description:
        'Calls a second of each REST command; commands for which API §1.3 has a number of their own keep its ratio to the usual 100. 0 means no limit.',
      minimum: 0,
      maximum: 1_000_000,
      default: 100,
    }),
    appPerSec: Type.Integer({
      description: 'Calls a second of all REST commands together. 0 means no limit.',
      minimum: 0,
      maximum: 1_000_000,
      default: 2_000,
    }),
    campaignsPerDay: Type.Integer({
      description: "Pushes to many (`im_push`) on a day of the app's time zone. 0 switches them off.",
      minimum: 0,
      maximum: 100_000,
      default: 100,
    }),
    campaignPerSec: Type.Integer({
      description:
        "Receivers a second of all the app's pushes to many together. They also wait while people's messages take long to store. 0 means no limit.",
      minimum: 0,
      maximum: 1_000_000,
      default: 2_000,
    }),
    profileFields: Type.Array(ProfileFieldSchema, {
      description: 'Custom profile fields of the app.',
      maxItems: 100,
      default: [],
    }),
    dirtyWords: Type.Integer({
      description: 'How many dirty words the app may add.',
      minimum: 0,
      maximum: 100_000,
      default: 50,
    }),
    wordLists: Type.Array(Type.String({ pattern: '^[a-z0-9-]{1,40}$' }), {
      description: 'Category lists of dirty words, of those under `im.wordLists`, that hold for the app.',
      maxItems: 100,
      default: [],
    }),
    checkedCustomFields: Type.Array(Type.String({ pattern: '^(Desc|Ext|Data(\\.[A-Za-z0-9_]{1,40}){0,4})$' }), {
      description:
        'Fields of custom elements that are checked for dirty words, too: `Desc`, `Ext`, `Data`, or a field of the JSON in Data, such as `Data.title`.',
      maxItems: 20,
      default: [],
    }),
    ...groupSettings,
  },
  closed,
);
export type MessagingSettings = Type.Static<typeof MessagingSchema>;

export const AppSchema = Type.Object(
  {
    sdkAppId: Type.Integer({ description: 'Number of the app.', minimum: 1, maximum: 4_294_967_295 }),
    name: Type.Optional(Type.String({ description: 'Name for people.', maxLength: 100 })),
    secret: SecretsSchema,
    admins: Type.Array(Type.String({ minLength: 1, maxLength: 32 }), {
      description: 'Accounts that may call the REST API; they are made at its first use.',
      maxItems: 100,
      default: ['admin'],
    }),
    timeZone: Type.String({
      description: 'Where the days of the app begin: the distance of its time to UTC, from `-12:00` to `+14:00`.',
      pattern: '^(-(0[0-9]|1[01]):[0-5][0-9]|-12:00|\\+(0[0-9]|1[0-3]):[0-5][0-9]|\\+14:00)$',
      default: '+08:00',
    }),
    access: Type.Object(AccessSchema.properties, {
      ...closed,
      description: 'The access service of the app.',
      default: {},
    }),
    im: Type.Object(MessagingSchema.properties, {
      ...closed,
      description: 'The messaging of the app.',
      default: {},
    }),
    callbacks: Type.Object(CallbacksSchema.properties, {
      ...closed,
      description: "The callbacks to the app's backend.",
      default: {},
    }),
    push: Type.Object(PushSchema.properties, {
      ...closed,
      description: 'The pushes to devices that are not there.',
      default: {},
    }),
  },
  closed,
);

/** One app as configured. */
export type AppSettings = Type.Static<typeof AppSchema>;

/** The UserSig keys of an app, newest first. */
export function appSecrets(app: AppSettings): string[] {
  return typeof app.secret === 'string' ? [app.secret] : app.secret;
}
