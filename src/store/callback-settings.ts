import Type from 'typebox';
import { type CallbackCommand, callbackCommands } from '../wire/index.ts';

/** What can be configured of an app's callbacks (K4): where they go, what signs them, and which there are. */

const closed = { additionalProperties: false } as const;

/** `http://…` or `https://…`, without user name and fragment: signatures authenticate. */
const callbackUrlPattern =
  '^https?://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[\\x21\\x22\\x24-\\x7e]*)?$';
const callbackUrl = (description: string) =>
  Type.Optional(Type.String({ description, pattern: callbackUrlPattern, maxLength: 2_000 }));
const callbackCommand = (options: { description?: string } = {}) =>
  Type.Union(callbackCommands.map((command) => Type.Literal(command)) as [Type.TLiteral<CallbackCommand>], options);
const onSilence = (options: { description: string; default?: string }) =>
  Type.Union([Type.Literal('allow'), Type.Literal('refuse')], options);
/** `whsec_` and 24 to 64 bytes in base64, as Standard Webhooks has it. */
const signingSecret = () =>
  Type.String({
    // Padded: strict libraries refuse it otherwise.
    pattern: '^whsec_([A-Za-z0-9+/]{4}){7,21}([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$',
  });

export const CallbacksSchema = Type.Object(
  {
    url: callbackUrl(
      "Where callbacks go: a URL of the app's backend. It may have a path and a query. Without one there are none.",
    ),
    secret: Type.Optional(
      Type.Union([signingSecret(), Type.Array(signingSecret(), { minItems: 1, maxItems: 2 })], {
        description:
          'Key that signs callbacks (Standard Webhooks): `whsec_` and 24 to 64 random bytes in base64; a list of two, newest first, while rotating. Needed with a URL.',
        secret: true,
      }),
    ),
    events: Type.Union([Type.Literal('all'), Type.Array(callbackCommand(), { maxItems: 50 })], {
      description: 'Which callbacks the app gets: a list of commands, or `all`.',
      default: [],
    }),
    commands: Type.Array(
      Type.Object(
        {
          command: callbackCommand({ description: 'The command that differs.' }),
          url: callbackUrl('Where this command goes instead.'),
          onSilence: Type.Optional(onSilence({ description: 'What silence means for this command.' })),
        },
        closed,
      ),
      { description: 'Commands that differ from what is said for all.', maxItems: 50, default: [] },
    ),
    onSilence: onSilence({
      description:
        'What becomes of an action whose before-callback gives no usable answer within 2 seconds: it goes on, or is refused.',
      default: 'allow',
    }),
    allowPrivateNetwork: Type.Union(
      [Type.Boolean(), Type.Array(Type.String({ pattern: '^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$' }), { maxItems: 100 })],
      {
        description:
          'Whether callbacks may reach into the private network: `true`, loopback and private addresses; or a list of addresses and CIDR blocks. Never link-local ones that are not listed, and never our own listeners.',
        default: false,
      },
    ),
    caFile: Type.Optional(
      Type.String({
        description: 'PEM file of the authorities that vouch for https URLs, instead of the built-in ones.',
      }),
    ),
    clientCertFile: Type.Optional(
      Type.String({ description: 'PEM file with the certificate that we show to https URLs (mutual TLS).' }),
    ),
    clientKeyFile: Type.Optional(Type.String({ description: 'PEM file with the key of that certificate.' })),
    signToken: Type.Optional(
      Type.String({
        description: "Token of the vendor's own signature: then URLs also carry `Sign` and `RequestTime`.",
        minLength: 8,
        maxLength: 256,
        secret: true,
      }),
    ),
    beforeConcurrency: Type.Integer({
      description: 'Before-callbacks of the app that may be under way at once, on each process; more count as silence.',
      minimum: 1,
      maximum: 100_000,
      default: 1_000,
    }),
    concurrency: Type.Integer({
      description: 'After-callbacks that may be under way at once to each URL, on each process.',
      minimum: 1,
      maximum: 1_000,
      default: 8,
    }),
    timeoutMs: Type.Integer({
      description: 'How long, in milliseconds, an after-callback may take from look-up to answer.',
      minimum: 100,
      maximum: 60_000,
      default: 5_000,
    }),
    retry: Type.Boolean({
      description: 'Whether an after-callback that fails is tried again; if not, it becomes a dead letter at once.',
      default: true,
    }),
    backlogRows: Type.Integer({
      description: 'After-callbacks that may wait; beyond that the oldest become dead letters.',
      minimum: 100,
      maximum: 100_000_000,
      default: 1_000_000,
    }),
    backlogHours: Type.Integer({
      description: 'How long, in hours, an after-callback may wait before it becomes a dead letter.',
      minimum: 1,
      maximum: 72,
      default: 72,
    }),
    deadLetters: Type.Integer({
      description: 'Dead letters that are kept, for 30 days; beyond that the oldest go.',
      minimum: 0,
      maximum: 10_000_000,
      default: 100_000,
    }),
    stateNames: Type.Union([Type.Literal('2018'), Type.Literal('2020')], {
      description:
        'Names in State.StateChange: `2018`, Login and Logout; `2020`, a lost link is Disconnect, and its reason TimeOut.',
      default: '2018',
    }),
    stateDebounceMs: Type.Integer({
      description:
        'Pause, in milliseconds, between two state changes told of one account; of several changes of a terminal meanwhile the last is told. 0 tells each.',
      minimum: 0,
      maximum: 60_000,
      default: 1_000,
    }),
  },
  closed,
);
export type CallbackSettings = Type.Static<typeof CallbacksSchema>;

/** The keys that sign an app's callbacks, newest first; none: it has none. */
export function callbackSecrets({ callbacks: { secret } }: { readonly callbacks: CallbackSettings }): string[] {
  return secret === undefined ? [] : typeof secret === 'string' ? [secret] : secret;
}

/** Where an app wants that command; undefined: it does not. */
export function callbackUrlOf(
  { callbacks }: { readonly callbacks: CallbackSettings },
  command: CallbackCommand,
): string | undefined {
  if (callbacks.events !== 'all' && !callbacks.events.includes(command)) return undefined;
  return callbacks.commands.find((one) => one.command === command)?.url ?? callbacks.url;
}
