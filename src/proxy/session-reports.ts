import Type, { type Static, type TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import type { TLocalizedValidationError } from 'typebox/error';
import { type DeviceReport, type NetworkReport, operatingSystems, rats } from '../wire/index.ts';

/**
 * What clients report of device and network: the schemas of the session endpoints' bodies and what is kept of them.
 * `allowed` says in an error what would be right. Unknown fields are ignored: SDKs newer than this server must not break.
 */

/** Text that becomes a header value: its encoding is the injector's, its length and sanity are checked here (A11). */
const text = () =>
  Type.String({
    // Code points, not UTF-16 units; the classes are control characters and lone surrogates.
    pattern: '^[^\\p{Cc}\\p{Cs}]{1,64}$',
    allowed: '1 to 64 characters of well-formed Unicode, no control characters',
  });
const pixels = () => Type.Integer({ minimum: 1, maximum: 100_000, allowed: 'an integer from 1 to 100000' });
const subscriberId = () =>
  Type.String({ pattern: '^[0-9A-Za-z]{1,32}$', allowed: '1 to 32 digits or letters a–z, A–Z' });

/** A5, A9, A10. */
const DeviceSchema = Type.Object({
  sdkVersion: Type.Optional(text()),
  appVersion: Type.Optional(text()),
  appChannel: Type.Optional(text()),
  os: Type.Optional(Type.Enum([...operatingSystems], { allowed: operatingSystems.join(', ') })),
  osVersion: Type.Optional(text()),
  device: Type.Optional(text()),
  brand: Type.Optional(text()),
  screenWidth: Type.Optional(pixels()),
  screenHeight: Type.Optional(pixels()),
  imei: Type.Optional(subscriberId()),
  imsi: Type.Optional(subscriberId()),
});

/** A6, A7. */
const NetworkSchema = Type.Object({
  apn: Type.Optional(text()),
  rat: Type.Optional(Type.Enum([...rats], { allowed: rats.join(', ') })),
});

const SessionRequestSchema = Type.Object({
  sdkAppId: Type.Integer({ minimum: 1, maximum: 4_294_967_295, allowed: 'an integer from 1 to 4294967295' }),
  // Its rules are those of accounts everywhere: `parseAccountId` says what is wrong.
  identifier: Type.Optional(Type.String()),
  userSig: Type.Optional(Type.String()),
  terminal: Type.Optional(Type.Object({ id: Type.Optional(Type.String()), secret: Type.Optional(Type.String()) })),
  device: Type.Optional(DeviceSchema),
  network: Type.Optional(NetworkSchema),
});
export type SessionRequest = Type.Static<typeof SessionRequestSchema>;

/** The known fields of a device report that the schema has accepted. IMEI and IMSI only for an app that wants them (A10). */
export function readDevice(report: DeviceReport | undefined, sendImei: boolean): DeviceReport {
  const { imei, imsi, ...device } = pick(report, DeviceSchema.properties);
  if (!sendImei) return device;
  return { ...device, ...(imei === undefined ? {} : { imei }), ...(imsi === undefined ? {} : { imsi }) };
}

/** The known fields of a network report that the schema has accepted (A12). */
export function readNetwork(report: NetworkReport | undefined): NetworkReport {
  return pick(report, NetworkSchema.properties);
}

function pick<T extends object>(report: T | undefined, known: object): T {
  return Object.fromEntries(Object.entries(report ?? {}).filter(([name]) => Object.hasOwn(known, name))) as T;
}

/** What an INVALID_FIELD error says. */
export interface FieldProblem {
  /** Path with dots: `device.os`; `body` for the whole. */
  field: string;
  reason: string;
  allowed?: string;
}
export type Parsed<T> = { ok: true; value: T } | { ok: false; problem: FieldProblem };

/** Makes the parser of a schema: `unknown` in, the schema's type or the first problem out. */
function createParser<T extends TSchema>(schema: T): (body: unknown) => Parsed<Static<T>> {
  const validator = Compile(schema);
  return (body) => {
    if (validator.Check(body)) return { ok: true, value: body };
    const [error] = validator.Errors(body);
    return {
      ok: false,
      problem: error === undefined ? { field: 'body', reason: 'is wrong' } : describe(schema, error),
    };
  };
}

/** Body of `POST /.qal/v1/session`. */
export const parseSessionRequest = createParser(SessionRequestSchema);
/** Body of `PUT /.qal/v1/session/network`. */
export const parseNetwork = createParser(NetworkSchema);

const reasons: Record<string, string> = {
  required: 'is missing',
  enum: 'is none of the allowed values',
  pattern: 'has the wrong form',
};

/** Translates a validator's error into field, reason and allowed values. */
function describe(schema: TSchema, error: TLocalizedValidationError): FieldProblem {
  const path = error.instancePath.split('/').slice(1);
  if (error.keyword === 'required') path.push(...error.params.requiredProperties.slice(0, 1));
  let at: { allowed?: string; properties?: Record<string, object> } | undefined = schema;
  for (const name of path) at = at?.properties?.[name];
  return {
    field: path.length === 0 ? 'body' : path.join('.'),
    reason: reasons[error.keyword] ?? error.message,
    ...(at?.allowed === undefined ? {} : { allowed: at.allowed }),
  };
}
