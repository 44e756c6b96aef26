import Type from 'typebox';
import type { ImErrorName, ImResult } from '../../wire/index.ts';
import { slotOf } from '../audience/audience.ts';
import { isMap } from '../audience/terms.ts';
import { type Command, defineCommand } from './command.ts';
import { checkMark, entriesField, namesField, readEntries, readNames, readTags } from './marks.ts';
import { answerList, anyName } from './schema.ts';

const service = 'openim';

const attributeNames = (description: string) =>
  Type.Unsafe<unknown>({
    type: 'object',
    description,
    'x-opaque': true,
  });

const setAttrName = defineCommand({
  service,
  name: 'im_set_attr_name',
  permission: 'im.audience.write',
  generation: '2018',
  summary: 'Names attributes of accounts, at most 10 of an app.',
  notes: 'Slots that are not given stay as they are. An attribute that gets another name keeps its values.',
  rate: 1,
  request: Type.Object({
    AttrNames: attributeNames('Names, of at most 50 bytes each, by slot: `"0"` to `"9"`.'),
  }),
  response: Type.Object({}),
  fieldErrors: { AttrNames: 'MARKS_SET' },
  errors: ['ATTRIBUTE', 'MARK_LENGTH'],
  async handle({ app, body: { AttrNames } }, { audience }) {
    const field = 'AttrNames';
    if (!isMap(AttrNames)) return { ok: false, error: 'MARKS_SET', field, reason: 'must be an object' };
    const names = new Map<number, string>();
    for (const [slot, name] of Object.entries(AttrNames)) {
      const at = `${field}.${slot.slice(0, 50)}`;
      if (!/^[0-9]$/.test(slot)) {
        return { ok: false, error: 'ATTRIBUTE', field: at, reason: 'is no slot', allowed: '"0" … "9"' };
      }
      const refusal = checkMark(name, at, 'ATTRIBUTE');
      if (refusal !== undefined) return refusal;
      names.set(Number(slot), name as string);
    }
    if (names.size === 0) return { ok: false, error: 'MARKS_SET', field, reason: 'must not be empty' };
    const done = await audience.nameAttributes(app.sdkAppId, names);
    return done.ok ? { ok: true, answer: {} } : done;
  },
});

const getAttrName = defineCommand({
  service,
  name: 'im_get_attr_name',
  permission: 'im.audience.read',
  generation: '2018',
  summary: 'Lists the names of attributes.',
  rate: 1,
  request: Type.Object({}),
  response: Type.Object({ AttrNames: attributeNames('Names by slot.') }),
  async handle({ app }, { audience }) {
    const slots = await audience.attributes(app.sdkAppId);
    return { ok: true, answer: { AttrNames: Object.fromEntries([...slots].map(([name, slot]) => [slot, name])) } };
  },
});

const markErrors = ['TOO_MANY_USERS', 'MARKED_ACCOUNT', 'MARK_LENGTH'] as const satisfies readonly ImErrorName[];

const setAttr = defineCommand({
  service,
  name: 'im_set_attr',
  permission: 'im.audience.write',
  generation: '2018',
  summary: 'Sets attributes of up to 500 accounts.',
  notes: 'All of them, or none where something is wrong. Attributes that are not given stay as they are.',
  rate: 1,
  request: Type.Object({
    UserAttrs: entriesField('Accounts with what is set.', 'Attrs', {
      type: 'object',
      description: 'Values, of at most 50 bytes each, by the name of the attribute.',
    }),
  }),
  response: Type.Object({}),
  fieldErrors: { UserAttrs: 'MARKS_SET' },
  errors: [...markErrors, 'ATTRIBUTE', 'ATTRIBUTE_UNKNOWN'],
  async handle(call, services) {
    const slots = await services.audience.attributes(call.app.sdkAppId);
    const entries = await readEntries(call, services, call.body.UserAttrs, {
      field: 'UserAttrs',
      key: 'Attrs',
      error: 'MARKS_SET',
      read(given, at): ImResult<ReadonlyMap<number, string>> {
        if (!isMap(given)) return { ok: false, error: 'ATTRIBUTE', field: at, reason: 'must be an object' };
        const found = new Map<number, string>();
        for (const [name, value] of Object.entries(given)) {
          const slot = slotOf(slots, name, `${at}.${name.slice(0, 50)}`);
          if (!slot.ok) return slot;
          const refusal = checkMark(value, `${at}.${name}`, 'ATTRIBUTE');
          if (refusal !== undefined) return refusal;
          found.set(slot.value, value as string);
        }
        if (found.size === 0) return { ok: false, error: 'ATTRIBUTE', field: at, reason: 'must not be empty' };
        return { ok: true, value: found };
      },
    });
    if (!entries.ok) return entries;
    await services.audience.setValues(entries.value.map(({ account, marks }) => [account, marks]));
    return { ok: true, answer: {} };
  },
});

const getAttr = defineCommand({
  service,
  name: 'im_get_attr',
  permission: 'im.audience.read',
  generation: '2018',
  summary: 'Reads attributes of up to 500 accounts.',
  notes: 'An account that there is not has none.',
  rate: 1,
  request: Type.Object({ To_Account: namesField() }),
  response: Type.Object({
    UserAttrs: answerList(
      'In the order asked for.',
      Type.Object({
        To_Account: anyName('As in the request.'),
        Attrs: attributeNames('Values by the name of the attribute.'),
      }),
    ),
  }),
  fieldErrors: { To_Account: 'MARKS_GET' },
  errors: ['TOO_MANY_USERS', 'MARKED_ACCOUNT'],
  async handle(call, services) {
    const read = await readNames(call, services, call.body.To_Account, 'MARKS_GET');
    if (!read.ok) return read;
    const { names, found } = read.value;
    const all = await services.audience.values(call.app.sdkAppId, [...found.values()]);
    const UserAttrs = names.map((To_Account) => {
      const account = found.get(To_Account);
      const own = account === undefined ? undefined : all.get(account.no);
      return { To_Account, Attrs: Object.fromEntries(own ?? []) };
    });
    return { ok: true, answer: { UserAttrs } };
  },
});

const removeAttr = defineCommand({
  service,
  name: 'im_remove_attr',
  permission: 'im.audience.write',
  generation: '2018',
  summary: 'Takes attributes off up to 500 accounts.',
  notes: 'All of them, or none where something is wrong. What an account does not have makes no difference.',
  rate: 1,
  request: Type.Object({
    UserAttrs: entriesField('Accounts with what is taken off.', 'Attrs', {
      type: 'array',
      description: 'Names of attributes.',
      items: { type: 'string' },
    }),
  }),
  response: Type.Object({}),
  fieldErrors: { UserAttrs: 'MARKS_REMOVE' },
  errors: ['TOO_MANY_USERS', 'MARKED_ACCOUNT', 'ATTRIBUTE_UNKNOWN'],
  async handle(call, services) {
    const slots = await services.audience.attributes(call.app.sdkAppId);
    const entries = await readEntries(call, services, call.body.UserAttrs, {
      field: 'UserAttrs',
      key: 'Attrs',
      error: 'MARKS_REMOVE',
      read(given, at): ImResult<readonly number[]> {
        const wrong = (field: string, reason: string): ImResult<never> => ({
          ok: false,
          error: 'MARKS_REMOVE',
          field,
          reason,
        });
        if (!Array.isArray(given)) return wrong(at, 'must be an array');
        if (given.length === 0) return wrong(at, 'must not be empty');
        const found: number[] = [];
        for (const [i, name] of given.entries()) {
          if (typeof name !== 'string') return wrong(`${at}[${i}]`, 'must be a string');
          const slot = slotOf(slots, name, `${at}[${i}]`);
          if (!slot.ok) return slot;
          found.push(slot.value);
        }
        return { ok: true, value: found };
      },
    });
    if (!entries.ok) return entries;
    await services.audience.removeValues(entries.value.map(({ account, marks }) => [account, marks]));
    return { ok: true, answer: {} };
  },
});

const tags = {
  type: 'array',
  description: 'Tags, of at most 50 bytes each; at most 10.',
  minItems: 1,
  maxItems: 10,
  items: { type: 'string' },
};

const addTag = defineCommand({
  service,
  name: 'im_add_tag',
  permission: 'im.audience.write',
  generation: '2018',
  summary: 'Gives tags to up to 500 accounts.',
  notes: 'All of them, or none where something is wrong. An account has at most 100.',
  rate: 1,
  request: Type.Object({ UserTags: entriesField('Accounts with their new tags.', 'Tags', tags) }),
  response: Type.Object({}),
  fieldErrors: { UserTags: 'MARKS_SET' },
  errors: [...markErrors, 'TOO_MANY_TAGS', 'ACCOUNT_TAGS_FULL'],
  async handle(call, services) {
    const read = readTags('MARKS_SET');
    const field = 'UserTags';
    const entries = await readEntries(call, services, call.body.UserTags, {
      field,
      key: 'Tags',
      error: 'MARKS_SET',
      read,
    });
    if (!entries.ok) return entries;
    const added = await services.audience.addTags(entries.value.map(({ account, marks }) => [account, marks]));
    if (added.ok) return { ok: true, answer: {} };
    const at = `${field}[${added.index}].Tags`;
    return { ok: false, error: 'ACCOUNT_TAGS_FULL', field: at, reason: `the account would have ${added.count}` };
  },
});

const getTag = defineCommand({
  service,
  name: 'im_get_tag',
  permission: 'im.audience.read',
  generation: '2018',
  summary: 'Reads tags of up to 500 accounts.',
  notes: 'An account that there is not has none.',
  rate: 1,
  request: Type.Object({ To_Account: namesField() }),
  response: Type.Object({
    UserTags: answerList(
      'In the order asked for.',
      Type.Object({ To_Account: anyName('As in the request.'), Tags: answerList('The tags.', Type.String()) }),
    ),
  }),
  fieldErrors: { To_Account: 'MARKS_GET' },
  errors: ['TOO_MANY_USERS', 'MARKED_ACCOUNT'],
  async handle(call, services) {
    const read = await readNames(call, services, call.body.To_Account, 'MARKS_GET');
    if (!read.ok) return read;
    const { names, found } = read.value;
    const all = await services.audience.tags([...found.values()]);
    const UserTags = names.map((To_Account) => {
      const account = found.get(To_Account);
      return { To_Account, Tags: (account === undefined ? undefined : all.get(account.no)) ?? [] };
    });
    return { ok: true, answer: { UserTags } };
  },
});

const removeTag = defineCommand({
  service,
  name: 'im_remove_tag',
  permission: 'im.audience.write',
  generation: '2018',
  summary: 'Takes tags off up to 500 accounts.',
  notes: 'All of them, or none where something is wrong. What an account does not have makes no difference.',
  rate: 1,
  request: Type.Object({ UserTags: entriesField('Accounts with the tags that are taken off.', 'Tags', tags) }),
  response: Type.Object({}),
  fieldErrors: { UserTags: 'MARKS_REMOVE' },
  errors: [...markErrors, 'TOO_MANY_TAGS'],
  async handle(call, services) {
    const read = readTags('MARKS_REMOVE');
    const [field, key] = ['UserTags', 'Tags'];
    const entries = await readEntries(call, services, call.body.UserTags, { field, key, error: 'MARKS_REMOVE', read });
    if (!entries.ok) return entries;
    await services.audience.removeTags(entries.value.map(({ account, marks }) => [account, marks]));
    return { ok: true, answer: {} };
  },
});

const removeAllTags = defineCommand({
  service,
  name: 'im_remove_all_tags',
  permission: 'im.audience.write',
  generation: '2018',
  summary: 'Takes all tags off up to 500 accounts.',
  notes: 'An account that there is not makes no difference.',
  rate: 1,
  request: Type.Object({ To_Account: namesField() }),
  response: Type.Object({}),
  fieldErrors: { To_Account: 'MARKS_REMOVE' },
  errors: ['TOO_MANY_USERS', 'MARKED_ACCOUNT'],
  async handle(call, services) {
    const read = await readNames(call, services, call.body.To_Account, 'MARKS_REMOVE');
    if (!read.ok) return read;
    await services.audience.removeAllTags([...read.value.found.values()]);
    return { ok: true, answer: {} };
  },
});

export const audienceCommands: readonly Command[] = [
  setAttrName,
  getAttrName,
  setAttr,
  getAttr,
  removeAttr,
  addTag,
  getTag,
  removeTag,
  removeAllTags,
];
