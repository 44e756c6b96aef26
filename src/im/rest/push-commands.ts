import Type from 'typebox';
import type { AppSettings } from '../../store/index.ts';
import { parseCondition } from '../audience/terms.ts';
import type { CampaignState } from '../campaigns/index.ts';
import { offsetMsOf } from '../time-zone.ts';
import { senderOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { maxLifetimeSec, readContent } from './draft.ts';
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
    'Receivers are the accounts that there are when it begins, that were imported or have logged in; the sender is none. Tags and attributes count as they are when an account’s turn comes. It goes on by itself: im_get_push_report says how far it is. Without MsgLifeTime only those who are online get it, and it is stored nowhere. Nobody is asked or told by callback. It is in the history of receivers, not in the sender’s. At most 100 a day of the app (`im.campaignsPerDay`), more than a second apart.',
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

export const pushCommands: readonly Command[] = [push, getReport];
