import Type from 'typebox';

/** What can be configured of an app's pushes (RULES S): the providers' credentials, and how a push reads. */

const closed = { additionalProperties: false } as const;

const endpoint = (description: string, value: string) =>
  Type.String({
    description,
    pattern: '^https://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/?$',
    maxLength: 300,
    default: value,
  });
const caFile = () =>
  Type.Optional(
    Type.String({
      description: 'PEM file of the authorities that vouch for the endpoints, instead of the built-in ones.',
    }),
  );
const pem = (description: string) =>
  Type.Optional(Type.String({ description, pattern: '^\\s*-----BEGIN ', maxLength: 16_384, secret: true }));

/** Apple's push service: a token key (`key`, `keyId`, `teamId`), or a certificate with its key. */
export const ApnsSchema = Type.Object(
  {
    key: pem('Key of the provider token, as Apple gives it out: the text of the .p8 file, a private key in PEM.'),
    keyId: Type.Optional(
      Type.String({ description: 'Id of that key: 10 capital letters and digits.', pattern: '^[A-Z0-9]{10}$' }),
    ),
    teamId: Type.Optional(
      Type.String({
        description: 'Id of the team at Apple: 10 capital letters and digits.',
        pattern: '^[A-Z0-9]{10}$',
      }),
    ),
    certificate: pem('Certificate, instead of a key: PEM.'),
    certificateKey: pem('Key of that certificate: PEM.'),
    topic: Type.String({
      description: 'What pushes are for: the bundle id of the app, of letters, digits, dots and hyphens.',
      pattern: '^[A-Za-z0-9][A-Za-z0-9.-]*$',
      maxLength: 155,
    }),
    endpoint: endpoint(
      'Where pushes to devices go: `https://host` or `https://host:port`.',
      'https://api.push.apple.com',
    ),
    sandboxEndpoint: endpoint(
      'Where pushes go to devices whose app was built for development: `https://host` or `https://host:port`.',
      'https://api.sandbox.push.apple.com',
    ),
    caFile: caFile(),
    connections: Type.Integer({
      description: 'Connections to each endpoint at most, of each process.',
      minimum: 1,
      maximum: 16,
      default: 2,
    }),
  },
  closed,
);
export type ApnsSettings = Type.Static<typeof ApnsSchema>;

/** Google's push service, HTTP v1. */
export const FcmSchema = Type.Object(
  {
    serviceAccount: Type.Optional(
      Type.String({
        description: 'Service account: the text of the JSON file that Google gives out.',
        maxLength: 16_384,
        secret: true,
      }),
    ),
    endpoint: endpoint('Where pushes go: `https://host` or `https://host:port`.', 'https://fcm.googleapis.com'),
    caFile: caFile(),
    channelId: Type.Optional(
      Type.String({
        description:
          "Notification channel of Android that pushes go to, where the message names none; default: the app's own.",
        minLength: 1,
        maxLength: 100,
      }),
    ),
    perMin: Type.Integer({
      description: 'Messages a minute at most, of all processes: the quota of the project.',
      minimum: 1,
      maximum: 100_000_000,
      default: 600_000,
    }),
  },
  closed,
);
export type FcmSettings = Type.Static<typeof FcmSchema>;

export const PushSchema = Type.Object(
  {
    apns: Type.Optional(Type.Object(ApnsSchema.properties, { ...closed, description: 'iOS: APNs.' })),
    fcm: Type.Optional(Type.Object(FcmSchema.properties, { ...closed, description: 'Android: FCM HTTP v1.' })),
    line: Type.Union([Type.Literal('standard'), Type.Literal('vendor')], {
      description:
        'How a push reads: `standard`, `name(group): content`; `vendor`, with the full-width colon of the 2018 service.',
      default: 'standard',
    }),
    separator: Type.Optional(
      Type.String({ description: 'What stands between name and content instead.', minLength: 1, maxLength: 8 }),
    ),
    iosTitle: Type.Boolean({
      description: 'Whether iOS gets a title (the name, or the group) and a body, like Android, instead of one line.',
      default: false,
    }),
    language: Type.Union([Type.Literal('zh'), Type.Literal('en')], {
      description: 'Language of words such as [image], for devices that told none of these.',
      default: 'zh',
    }),
    sound: Type.String({
      description:
        "Sound of pushes where neither message nor account has one: a file of the app; `default`, the system's; empty, none.",
      maxLength: 100,
      default: 'default',
    }),
    dropExt: Type.Boolean({
      description: 'Whether a push that its `ext` makes too large goes without it; else it is not sent.',
      default: false,
    }),
    textLength: Type.Integer({
      description: 'Characters, as people count them, of the text at most; the rest is cut off.',
      minimum: 10,
      maximum: 4_000,
      default: 200,
    }),
    lifetimeSec: Type.Integer({
      description: 'How long, in seconds, after its message a push is still worth sending.',
      minimum: 60,
      maximum: 604_800,
      default: 86_400,
    }),
    awayDays: Type.Integer({
      description: 'How long, in days, after it was last there a terminal is pushed to (S1).',
      minimum: 1,
      maximum: 60,
      default: 7,
    }),
    notWithDesktop: Type.Boolean({
      description: 'Whether phones are not pushed to while a computer of the account is online in the foreground.',
      default: false,
    }),
  },
  closed,
);
export type PushSettings = Type.Static<typeof PushSchema>;

/** Services by which a device is reached. */
export const pushChannels = ['apns', 'fcm'] as const;
export type PushChannel = (typeof pushChannels)[number];
