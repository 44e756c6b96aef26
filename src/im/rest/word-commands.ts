import Type from 'typebox';
import { type Command, defineCommand } from './command.ts';
import { answerList, list, text } from './schema.ts';

const service = 'openim_dirty_words';
const words = () => Type.Object({ DirtyWordsList: list('The words, at most 50.', text('A word.', 200, 1), 50) });

const getWords = defineCommand({
  service,
  name: 'get',
  permission: 'im.words.read',
  generation: '2018',
  summary: "Lists the app's dirty words.",
  notes: 'The category lists of the installation are not in it.',
  rate: 1,
  request: Type.Object({}),
  response: Type.Object({ DirtyWordsList: answerList('The words.', Type.String()) }),
  async handle({ app }, { words }) {
    return { ok: true, answer: { DirtyWordsList: await words.list(app.sdkAppId) } };
  },
});

const addWords = defineCommand({
  service,
  name: 'add',
  permission: 'im.words.write',
  generation: '2018',
  summary: 'Adds dirty words: messages whose text holds one are refused with 80001.',
  notes:
    'Letter case and width make no difference. All are added, or none where they would be more than the app may have.',
  rate: 1,
  request: words(),
  response: Type.Object({}),
  errors: ['WORDS_INVALID'],
  // D1
  async handle({ app, body }, { words }) {
    const added = await words.add(app.sdkAppId, body.DirtyWordsList);
    return added.ok ? { ok: true, answer: {} } : { ...added, field: added.field ?? 'DirtyWordsList' };
  },
});

const deleteWords = defineCommand({
  service,
  name: 'delete',
  permission: 'im.words.write',
  generation: '2018',
  summary: 'Takes dirty words off the list; those that are not on it make no difference.',
  rate: 1,
  request: words(),
  response: Type.Object({}),
  async handle({ app, body }, { words }) {
    await words.remove(app.sdkAppId, body.DirtyWordsList);
    return { ok: true, answer: {} };
  },
});

export const wordCommands: readonly Command[] = [getWords, addWords, deleteWords];
