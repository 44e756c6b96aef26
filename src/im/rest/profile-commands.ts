import Type from 'typebox';
import type { AppSettings } from '../../store/index.ts';
import type { ImRefusal } from '../../wire/index.ts';
import { customFields, findField, type ProfileField, standardFields } from '../profiles/index.ts';
import { accountOf, accountsByName } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { accountName, accountNames, answerList, anyName, integer, list } from './schema.ts';
import { errorCode } from './service-table.ts';

const service = 'profile';
/** Standard fields, and as many custom ones as an app may have. */
const maxTags = 200;
const tag = () => Type.String({ description: 'Tag of a field: `Tag_Profile_IM_…` or `Tag_Profile_Custom_…`.' });
const value = () => Type.Unsafe<unknown>({ description: 'A string or an integer, by the field.' });

const portraitGet = defineCommand({
  service,
  name: 'portrait_get',
  permission: 'im.profile.read',
  generation: '2018',
  summary: 'Reads fields of the profiles of up to 100 accounts.',
  notes:
    'Fields that were never set are left out, but for AllowType and AdminForbidType, which have defaults. Names that no account has are in Invalid_Account, too.',
  rate: 1,
  request: Type.Object({
    To_Account: accountNames('The accounts, at most 100.', 100),
    TagList: list('The fields.', tag(), maxTags),
  }),
  response: Type.Object({
    UserProfileItem: answerList(
      'One entry for each account.',
      Type.Object({
        To_Account: anyName('As in the request.'),
        ProfileItem: answerList('The fields.', Type.Object({ Tag: tag(), Value: value() })),
        ResultCode: integer('0; 40003: there is no such account.'),
        ResultInfo: Type.String(),
      }),
    ),
    Fail_Account: answerList('Empty.', Type.String()),
    Invalid_Account: answerList('Names that no account has.', anyName('As in the request.')),
  }),
  fieldErrors: { To_Account: { otherwise: 'TO_ACCOUNT', many: 'INVALID_FIELD' } },
  errors: ['PROFILE_ACCOUNT_UNKNOWN', 'PROFILE_NO_READ_RIGHT', 'PROFILE_TAG'],
  // U7
  async handle({ app, body }, { accounts, profiles }) {
    const fields: [tag: string, field: ProfileField][] = [];
    for (const [i, given] of body.TagList.entries()) {
      const field = fieldOf(app, given);
      if (field === undefined) return noSuchTag(app, `TagList[${i}]`);
      fields.push([given, field]);
    }
    const names = [...new Set(body.To_Account)];
    const found = await accountsByName(accounts, app.sdkAppId, names);
    const read = await profiles.get(
      [...found.values()],
      fields.map(([, { name }]) => name),
      () => 'administrator',
    );
    if (!read.ok) return read;
    const items = names.map((name) => {
      const account = found.get(name);
      const profile = account === undefined ? undefined : read.value.get(account.no);
      if (profile === undefined) {
        const ResultCode = errorCode(service, 'PROFILE_ACCOUNT_UNKNOWN');
        return { To_Account: name, ProfileItem: [], ResultCode, ResultInfo: 'no account has this name' };
      }
      const ProfileItem = fields.flatMap(([Tag, field]) => {
        const Value = profile[field.name];
        return Value === undefined ? [] : [{ Tag, Value }];
      });
      return { To_Account: name, ProfileItem, ResultCode: 0, ResultInfo: '' };
    });
    const Invalid_Account = items.filter(({ ResultCode }) => ResultCode !== 0).map(({ To_Account }) => To_Account);
    return { ok: true, answer: { UserProfileItem: items, Fail_Account: [], Invalid_Account } };
  },
});

const portraitSet = defineCommand({
  service,
  name: 'portrait_set',
  permission: 'im.profile.write',
  generation: '2018',
  summary: 'Sets fields of the profile of an account: all of them, or none.',
  rate: 1,
  request: Type.Object({
    From_Account: accountName('Whose profile.'),
    ProfileItem: list('The fields.', Type.Object({ Tag: tag(), Value: value() }), maxTags),
  }),
  response: Type.Object({}),
  errors: [
    'PROFILE_ACCOUNT_UNKNOWN',
    'PROFILE_DIRTY_WORD',
    'PROFILE_NO_WRITE_RIGHT',
    'PROFILE_TAG',
    'PROFILE_TOO_LONG',
    'PROFILE_VALUE',
    'PROFILE_TYPE',
  ],
  // U1, U2
  async handle({ app, body }, { accounts, profiles }) {
    const values = new Map<string, unknown>();
    for (const [i, { Tag, Value }] of body.ProfileItem.entries()) {
      const field = `ProfileItem[${i}].Tag`;
      if (fieldOf(app, Tag) === undefined) return noSuchTag(app, field);
      if (values.has(Tag)) return { ok: false, error: 'PROFILE_TAG', field, reason: 'is given twice' };
      values.set(Tag, Value);
    }
    const account = await accountOf(accounts, app.sdkAppId, body.From_Account, {
      field: 'From_Account',
      error: 'PROFILE_ACCOUNT_UNKNOWN',
    });
    if (!account.ok) return account;
    const set = await profiles.set(account.value, Object.fromEntries(values), 'administrator');
    return set.ok ? { ok: true, answer: {} } : set;
  },
});

/** Over REST fields go by tag alone. */
function fieldOf(app: AppSettings, given: string): ProfileField | undefined {
  return given.startsWith('Tag_') ? findField(app, given) : undefined;
}

function noSuchTag(app: AppSettings, field: string): ImRefusal {
  const allowed = [...standardFields, ...customFields(app)].map((one) => one.tag).join(', ');
  return { ok: false, error: 'PROFILE_TAG', field, reason: 'is the tag of no field', allowed };
}

export const profileCommands: readonly Command[] = [portraitGet, portraitSet];
