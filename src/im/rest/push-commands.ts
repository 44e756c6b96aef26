import Type from 'typebox';
import type { AppSettings } from '../../store/index.ts';
import type { ImErrorName, ImResult } from '../../wire/index.ts';
import { slotOf } from '../audience/audience.ts';
import { isMap, parseCondition } from '../audience/terms.ts';
import type { CampaignState } from '../campaigns/index.ts';
import { offsetMsOf } from '../time-zone.ts';
import { senderOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { maxLifetimeSec, readContent } from './draft.ts';
import { checkMark, entriesField, namesField, readEntries, readNames, readTags } from './marks.ts';
import { accountName, answerList, integer, messageBody, pushInfo, text, u32 } from './schema.ts';

const service = 'openim';

const terms = (what: string) => ({ type: 'array', description: what, maxItems: 10, items: { type: 'string' } });
const values = (what: string) => ({ type: 'object', description: what });

const push = defineCommand({
  service,
  name: 'im_push',
  permission: 'im.push.send',
  generation: '2018',
  summary: 'Sends a message to all accounts of the app, or to those with certain tags or attributes.',
  notes:
    'Receivers are the accounts that there are when it begins, that were imported or have logged in; the sender is none. It goes on by itself: im_get_push_report says how far it is. Without MsgLifeTime only those who are online get it, and it is stored nowhere. Nobody is asked or told by callback. It is in the history of receivers, not in the sender’s. At most 100 a day of the app (`im.campaignsPerDay`), more than a second apart.',
  rate: 1,
  request: Type.Object({
    Condition: Type.Optional(
      Type.Unsafe<unknown>({
        type: 'object',
        description: 'Who gets it; absent: everybody. Either tags or attributes; of Or and And both have to hold.',
        properties: {
          TagsOr: terms('Who has one of these tags; at most 10.'),
          TagsAnd: terms('Who has all of these tags; at most 10.'),
          AttrsOr: values('Who has one of these values, by the name of the attribute.'),
          AttrsAnd: values('Who has all of these values, by the name of the attribute.'),
        },
        'x-opaque': true,
      }),
    ),
    MsgRandom: u32('Names the push: within 7 days the same value is the same push, and refused.'),
    MsgBody: messageBody(),
    MsgLifeTime: Type.Optional(
      integer(
        'Seconds that it waits for receivers who are offline. 0, or absent: for those who are online.',
        0,
        maxLifetimeSec,
      ),
    ),
    From_Account: Type.Optional(accountName('The sender; absent: the calling administrator.')),
    OfflinePushInfo: Type.Optional(pushInfo()),
  }),
  response: Type.Object({ TaskId: text('Names the push to im_get_push_report.', 100) }),
  fieldErrors: {
    Condition: 'PUSH_CONDITION',
    MsgRandom: 'MSG_RANDOM',
    MsgBody: 'BODY_NOT_ARRAY',
    MsgLifeTime: 'LIFE_TIME',
    From_Account: 'FROM_ACCOUNT',
    OfflinePushInfo: 'OFFLINE_PUSH_INFO',
  },
  errors: [
    'BODY_ELEMENT',
    'MESSAGE_TOO_LONG',
    'DIRTY_WORD',
    'TAG_TWICE',
    'TAG_EMPTY',
    'TAG_LENGTH',
    'TOO_MANY_TAGS',
    'ATTRIBUTE_UNKNOWN',
    'CONDITION_FAMILIES',
    'PUSH_OFF',
    'PUSH_TOO_SOON',
    'PUSH_REPEATED',
    'PUSHES_PER_DAY',
  ],
  // B2, B3, B6
  async handle({ app, admin, body }, { accounts, audience, campaigns, words }) {
    const condition = parseCondition(body.Condition, await audience.attributes(app.sdkAppId));
    if (!condition.ok) return condition;
    const content = readContent(body, app.im.messageBytes);
    if (!content.ok) return content;
    const from = await senderOf({ app, admin }, accounts, body.From_Account, 'FROM_ACCOUNT');
    if (!from.ok) return from;
    if (words.findInBody(app.sdkAppId, content.value.body) !== undefined) {
      return { ok: false, error: 'DIRTY_WORD', field: 'MsgBody' };
    }
    const started = await campaigns.start({
      app,
      admin,
      from: from.value,
      condition: body.Condition,
      terms: condition.value,
      body: content.value.body,
      push: content.value.push,
      random: body.MsgRandom,
      lifetimeSec: body.MsgLifeTime ?? 0,
    });
    return started.ok ? { ok: true, answer: { TaskId: started.value.taskId } } : started;
  },
});

const getReport = defineCommand({
  service,
  name: 'im_get_push_report',
  permission: 'im.push.read',
  generation: '2018',
  summary: 'Tells how far pushes to many are.',
  notes: 'For 30 days after they were started.',
  rate: 1,
  request: Type.Object({
    TaskIds: Type.Array(text('As im_push answered it.', 100, 1), {
      description: 'The pushes.',
      minItems: 1,
      maxItems: 500,
    }),
  }),
  response: Type.Object({
    Reports: answerList(
      'In the order asked for.',
      Type.Object({
        TaskId: Type.String(),
        Status: integer('0: waiting. 1: running, or held up by an operator. 2: done, or cancelled by an operator.'),
        StartTime: Type.Optional(
          Type.String({ description: "YYYY-MM-DD hh:mm:ss of the app's time zone; absent while it is waiting." }),
        ),
        Finished: integer('Receivers that got it.'),
        Total: integer('Receivers; once it is done, those that got it.'),
      }),
    ),
  }),
  fieldErrors: {
    TaskIds: {
      otherwise: 'TASK_ID',
      missing: 'TASK_IDS_MISSING',
      empty: 'TASK_IDS_MISSING',
      many: 'TASK_IDS_TOO_MANY',
    },
  },
  async handle({ app, body }, { campaigns }) {
    const found = await campaigns.report(app.sdkAppId, body.TaskIds);
    if (!found.ok) return found;
    const Reports = found.value.map(({ taskId, state, startedMs, finished, total }) => ({
      TaskId: taskId,
      Status: statusOf(state, startedMs),
      ...(startedMs === undefined ? {} : { StartTime: localTime(app, startedMs) }),
      Finished: finished,
      Total: total,
    }));
    return { ok: true, answer: { Reports } };
  },
});

function statusOf(state: CampaignState, startedMs: number | undefined): 0 | 1 | 2 {
  if (state === 'done' || state === 'cancelled') return 2;
  return startedMs === undefined ? 0 : 1;
}

/** `2018-11-29 22:00:01` in the app's time. */
function localTime(app: AppSettings, atMs: number): string {
  return new Date(atMs + offsetMsOf(app)).toISOString().slice(0, 19).replace('T', ' ');
}

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
    UserAttrs: entriesField(
      'Accounts with what is set.',
      'Attrs',
      values('Values, of at most 50 bytes each, by the name of the attribute.'),
    ),
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
      Type.Object({ To_Account: Type.String(), Attrs: attributeNames('Values by the name of the attribute.') }),
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
      Type.Object({ To_Account: Type.String(), Tags: answerList('The tags.', Type.String()) }),
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

export const pushCommands: readonly Command[] = [
  push,
  getReport,
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
