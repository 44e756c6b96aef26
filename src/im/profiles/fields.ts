import type { AppSettings } from '../../store/index.ts';
import { fitsUtf8, type ImErrorName } from '../../wire/index.ts';

/**
 * The fields of profiles (API reference §5.1): one table of the standard ones, and those that an app has declared. Inside they go
 * by name (`nick`); at the edges also by the vendor's tag (`Tag_Profile_IM_Nick`). This is the only place that knows both.
 */
export interface ProfileField {
  /** Under this name it is stored, asked for, and told. */
  readonly name: string;
  /** Of a custom field the short form, without the app's number. */
  readonly tag: string;
  readonly type: FieldType;
  /** What it is when it was never set; without one it is left out then. */
  readonly default?: string | number;
  /** `app`: every account of the app; `admin`: its administrators. */
  readonly read: Right;
  /** `app`: the account itself and administrators; `admin`: administrators. */
  readonly write: Right;
  /** Whether dirty words are looked for in it. */
  readonly isPublicText?: true;
}

type Right = 'app' | 'admin';
type FieldType =
  | { readonly kind: 'text'; readonly maxBytes: number }
  /** In base64; `maxBytes` counts what it stands for. */
  | { readonly kind: 'bytes'; readonly maxBytes: number }
  | { readonly kind: 'choice'; readonly values: readonly string[] }
  | { readonly kind: 'u32' };

const maxU32 = 4_294_967_295;
const customPrefix = 'Tag_Profile_Custom_';
const textOf = (maxBytes: number): FieldType => ({ kind: 'text', maxBytes });
const u32: FieldType = { kind: 'u32' };
const own = { read: 'app', write: 'app' } as const;
/** What an account may not say of itself: what it is forbidden, its level and role. The reference names no rights here. */
const byAdministrators = { read: 'app', write: 'admin' } as const;

/** The standard fields, in the order of the reference. */
export const standardFields: readonly ProfileField[] = [
  { name: 'nick', tag: 'Tag_Profile_IM_Nick', type: textOf(500), ...own, isPublicText: true },
  {
    name: 'gender',
    tag: 'Tag_Profile_IM_Gender',
    type: { kind: 'choice', values: ['Gender_Type_Unknown', 'Gender_Type_Female', 'Gender_Type_Male'] },
    ...own,
  },
  { name: 'birthday', tag: 'Tag_Profile_IM_BirthDay', type: u32, ...own },
  { name: 'location', tag: 'Tag_Profile_IM_Location', type: textOf(16), ...own },
  { name: 'signature', tag: 'Tag_Profile_IM_SelfSignature', type: textOf(500), ...own, isPublicText: true },
  {
    name: 'allowType',
    tag: 'Tag_Profile_IM_AllowType',
    type: {
      kind: 'choice',
      values: ['AllowType_Type_NeedConfirm', 'AllowType_Type_AllowAny', 'AllowType_Type_DenyAny'],
    },
    default: 'AllowType_Type_AllowAny',
    ...own,
  },
  { name: 'language', tag: 'Tag_Profile_IM_Language', type: u32, ...own },
  { name: 'faceUrl', tag: 'Tag_Profile_IM_Image', type: textOf(500), ...own },
  { name: 'messageSettings', tag: 'Tag_Profile_IM_MsgSettings', type: u32, ...own },
  {
    name: 'adminForbidType',
    tag: 'Tag_Profile_IM_AdminForbidType',
    type: { kind: 'choice', values: ['AdminForbid_Type_None', 'AdminForbid_Type_SendOut'] },
    default: 'AdminForbid_Type_None',
    ...byAdministrators,
  },
  { name: 'level', tag: 'Tag_Profile_IM_Level', type: u32, ...byAdministrators },
  { name: 'role', tag: 'Tag_Profile_IM_Role', type: u32, ...byAdministrators },
];

const standardNames = new Set(standardFields.map(({ name }) => name));

type App = Pick<AppSettings, 'sdkAppId'> & { readonly im: Pick<AppSettings['im'], 'profileFields'> };

/**
 * The custom fields that an app has declared (U2). A field goes by its keyword; where a standard one has that name, by its tag.
 */
export function customFields({ im }: App): ProfileField[] {
  return im.profileFields.map(({ keyword, type, read, write }) => {
    const tag = customPrefix + keyword;
    const kind = type === 'bytes' ? 'bytes' : 'text';
    return { name: standardNames.has(keyword) ? tag : keyword, tag, type: { kind, maxBytes: 500 }, read, write };
  });
}

/**
 * The field of an app by its name or tag; undefined: there is none. Of a custom field `Tag_Profile_Custom_<SDKAppId>_<keyword>` is the same
 * as `Tag_Profile_Custom_<keyword>`.
 */
export function findField(app: App, nameOrTag: string): ProfileField | undefined {
  const wanted = nameOrTag.replace(`${customPrefix}${app.sdkAppId}_`, customPrefix);
  const isIt = ({ name, tag }: ProfileField) => name === wanted || tag === wanted;
  return standardFields.find(isIt) ?? customFields(app).find(isIt);
}

/** What a field may be, for people. */
export function describeType(type: FieldType): string {
  switch (type.kind) {
    case 'text':
      return `a text of at most ${type.maxBytes} bytes of UTF-8`;
    case 'bytes':
      return `at most ${type.maxBytes} bytes, in base64`;
    case 'choice':
      return type.values.join(', ');
    case 'u32':
      return `0 … ${maxU32}`;
  }
}

/** What is wrong with a value of a field; undefined: nothing. */
export function valueFault(type: FieldType, value: unknown): { error: ImErrorName; reason: string } | undefined {
  if (type.kind === 'u32') {
    if (typeof value !== 'number') return { error: 'PROFILE_TYPE', reason: 'must be an integer' };
    const isU32 = Number.isInteger(value) && value >= 0 && value <= maxU32;
    return isU32 ? undefined : { error: 'PROFILE_VALUE', reason: 'is not in the range' };
  }
  if (typeof value !== 'string') return { error: 'PROFILE_TYPE', reason: 'must be a string' };
  if (type.kind === 'choice') {
    return type.values.includes(value) ? undefined : { error: 'PROFILE_VALUE', reason: 'is none of the values' };
  }
  if (type.kind === 'bytes') {
    // Four characters stand for three bytes; what is far longer need not be decoded.
    if (value.length > type.maxBytes * 2) return { error: 'PROFILE_TOO_LONG', reason: 'is too long' };
    const bytes = Buffer.from(value, 'base64');
    if (bytes.toString('base64') !== value) return { error: 'PROFILE_VALUE', reason: 'is not base64' };
    return bytes.length <= type.maxBytes ? undefined : { error: 'PROFILE_TOO_LONG', reason: 'is too long' };
  }
  if (!fitsUtf8(value, type.maxBytes)) return { error: 'PROFILE_TOO_LONG', reason: 'is too long' };
  if (!value.isWellFormed()) return { error: 'PROFILE_VALUE', reason: 'must be well-formed Unicode' };
  if (value.includes('\0')) return { error: 'PROFILE_VALUE', reason: 'must not hold U+0000' };
  return undefined;
}
