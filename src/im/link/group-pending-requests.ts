import type { RequestAnswer } from '../group-services.ts';
import type { FieldReader } from './field-reader.ts';
import { actorOf, answerOf } from './group-fields.ts';
import { withoutAbsent } from './group-requests.ts';
import { requestView } from './group-views.ts';
import { emptyOk, okJson, type RequestDeps, type RequestHandler } from './request.ts';

/** Words of who applies and who answers: as long as an introduction. */
const maxWordsBytes = 240;
const maxRequests = 100;
const keyForm = { pattern: /^[1-9][0-9]{0,15}$/, allowed: 'the `key` of a request' };
const authForm = { pattern: /^[\x21-\x7e]{1,64}$/, allowed: 'the `auth` of the request' };

/** `applyToGroup`, `answerApplication`, `answerInvitation`, `groupRequests`: who wants to become a member, or shall. */
export function groupPendingRequests({ groups }: Pick<RequestDeps, 'groups'>): Record<string, RequestHandler> {
  return {
    applyToGroup: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        const input = withoutAbsent({ wording: readWords(fields, 'words'), userField: readWords(fields, 'userField') });
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.apply(actorOf(request), group, input), (result) => okJson({ result }));
      },
    },

    answerApplication: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const answer = readAnswer(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.answerApplication(actorOf(request), answer), () => emptyOk);
      },
    },

    answerInvitation: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const answer = readAnswer(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.answerInvitation(actorOf(request), answer), () => emptyOk);
      },
    },

    groupRequests: {
      permission: 'im.link.group.read',
      order: 'page',
      async run({ terminal, fields }) {
        const before = fields.optionalText('before', keyForm);
        const limit = fields.optionalInteger('limit', { min: 1, max: maxRequests }) ?? 20;
        if (fields.refusal !== undefined) return fields.refusal;
        const input = { ...(before === undefined ? {} : { before: Number(before) }), limit: limit + 1 };
        const found = await groups.requests(terminal.account, input);
        return okJson({ requests: found.slice(0, limit).map(requestView), complete: found.length <= limit });
      },
    },
  };
}

function readAnswer(fields: FieldReader): RequestAnswer {
  const groupId = fields.group();
  const key = fields.text('key', keyForm);
  const auth = fields.text('auth', authForm);
  const agrees = fields.optionalBoolean('agrees');
  if (agrees === undefined) {
    fields.refuse({ error: 'INVALID_FIELD', field: 'agrees', reason: 'is missing', allowed: 'true, false' });
  }
  const words = readWords(fields, 'words');
  return { groupId, key, auth, agrees: agrees === true, ...(words === undefined ? {} : { words }) };
}

function readWords(fields: FieldReader, name: string): string | undefined {
  const words = fields.optionalPlain(name);
  if (words === undefined || Buffer.byteLength(words) <= maxWordsBytes) return words;
  const allowed = `at most ${maxWordsBytes} bytes of UTF-8`;
  fields.refuse({ error: 'INVALID_FIELD', field: name, reason: 'is too long', allowed });
  return undefined;
}
