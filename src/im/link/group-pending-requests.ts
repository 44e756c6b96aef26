import type { RequestAnswer } from '../group-services.ts';
import { withoutAbsent } from '../without-absent.ts';
import type { FieldReader } from './field-reader.ts';
import { readWords } from './group-fields.ts';
import { groupHandler, listing, writing } from './group-handler.ts';
import { requestView } from './group-views.ts';
import { okJson, type RequestDeps, type RequestHandler } from './request.ts';

/** Words of who applies and who answers: as long as an introduction. */
const maxWordsBytes = 240;
const maxRequests = 100;
const keyForm = { pattern: /^[1-9][0-9]{0,15}$/, allowed: 'the `key` of a request' };
const authForm = { pattern: /^[\x21-\x7e]{1,64}$/, allowed: 'the `auth` of the request' };

/** `applyToGroup`, `answerApplication`, `answerInvitation`, `groupRequests`: who wants to become a member, or shall. */
export function groupPendingRequests({ groups }: Pick<RequestDeps, 'groups'>): Record<string, RequestHandler> {
  return {
    applyToGroup: groupHandler(writing, {
      read: (fields) => ({
        group: fields.group(),
        input: withoutAbsent({
          wording: readWords(fields, 'words', maxWordsBytes),
          userField: readWords(fields, 'userField', maxWordsBytes),
        }),
      }),
      act: (actor, { group, input }) => groups.apply(actor, group, input),
      show: (result) => okJson({ result }),
    }),

    answerApplication: groupHandler(writing, {
      read: readAnswer,
      act: (actor, answer) => groups.answerApplication(actor, answer),
    }),

    answerInvitation: groupHandler(writing, {
      read: readAnswer,
      act: (actor, answer) => groups.answerInvitation(actor, answer),
    }),

    groupRequests: groupHandler(listing, {
      read: (fields) => ({
        before: fields.optionalText('before', keyForm),
        limit: fields.optionalInteger('limit', { min: 1, max: maxRequests }) ?? 20,
      }),
      // One more says whether there are older ones.
      act: async ({ account }, { before, limit }) => ({
        ok: true,
        value: await groups.requests(account, {
          ...(before === undefined ? {} : { before: Number(before) }),
          limit: limit + 1,
        }),
      }),
      show: (found, { limit }) =>
        okJson({ requests: found.slice(0, limit).map(requestView), complete: found.length <= limit }),
    }),
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
  const words = withoutAbsent({ words: readWords(fields, 'words', maxWordsBytes) });
  return { groupId, key, auth, agrees: agrees === true, ...words };
}
