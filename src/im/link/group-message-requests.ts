import { type ImErrorName, type ImResult, imErrorCatalogue } from '../../wire/index.ts';
import type { GroupMessageDraft, GroupPage } from '../group-services.ts';
import { holesIn } from '../groups/group-sync.ts';
import type { Priority } from '../groups/model.ts';
import { withoutAbsent } from '../without-absent.ts';
import { type FieldReader, groupPrefix, systemConversation } from './field-reader.ts';
import { groupOfConversation } from './group-fields.ts';
import { type GroupRow, groupHandler } from './group-handler.ts';
import { groupMessagesText, groupStateText } from './group-outgoing.ts';
import { readContent } from './message-requests.ts';
import { emptyOk, okJson, type RequestDeps, type RequestHandler } from './request.ts';

const maxSeq = Number.MAX_SAFE_INTEGER;
const priorities: readonly Priority[] = ['High', 'Normal', 'Low', 'Lowest'];
const maxStates = 100;
const maxGroupNo = { min: 1, max: maxSeq };

type Deps = Pick<RequestDeps, 'apps' | 'groupMessages' | 'groupSync' | 'inbox' | 'random'>;

/** `send`, `recall`, `read`, `sync` and `history` of groups. */
export function groupMessageRequests(deps: Deps): Record<string, RequestHandler> {
  const { apps, groupMessages, groupSync, random } = deps;

  function readDraft(fields: FieldReader, maxBytes: number): GroupMessageDraft {
    const content = readContent(fields, { maxBytes, random });
    const priority = fields.optionalWord('priority', priorities) ?? 'Normal';
    const isOnlineOnly = fields.boolean('online', false);
    if (fields.raw('lifetimeSec') !== undefined) {
      const reason = 'is for one-to-one messages: a group keeps its messages for all members alike';
      fields.refuse({ error: 'INVALID_FIELD', field: 'lifetimeSec', reason });
    }
    return { ...content, priority, isOnlineOnly };
  }

  return {
    send: ofConversation(
      { permission: 'im.link.message.send', order: 'conversation' },
      {
        read: (fields, { terminal: { account } }) => ({
          draft: readDraft(fields, apps.get(account.sdkAppId)?.im.messageBytes ?? 0),
          groupId: groupOfConversation(fields),
        }),
        act: (actor, { draft, groupId }, { turn, deadline }) =>
          groupMessages.send({ actor, from: actor.account, groupId, draft, turn, deadline }),
        show({ seq, time, random: given, isRepeat }, { groupId }, { link }) {
          if (seq > 0) link.noteSeq(groupPrefix + groupId, seq);
          // Without a seq it is in nobody's history: for those alone who are online, or dropped (G31).
          return okJson({
            ...(seq === 0 ? {} : { seq }),
            ...(seq === 0 || isRepeat ? {} : { prev: seq - 1 }),
            time,
            random: given,
            ...(isRepeat ? { repeat: true } : {}),
          });
        },
      },
    ),

    recall: ofConversation(
      { permission: 'im.link.message.recall', order: 'parallel' },
      {
        read: (fields) => ({
          seq: fields.integer('seq', { min: 1, max: maxSeq }),
          groupId: groupOfConversation(fields),
        }),
        act: (actor, { groupId, seq }) => groupMessages.recall(actor, groupId, [seq]),
        show: ([one]) => recalled(one?.code ?? 0),
      },
    ),

    read: ofConversation(
      { permission: 'im.link.mailbox.write', order: 'parallel' },
      {
        read: (fields) => ({
          seq: fields.optionalInteger('seq', { min: 0, max: maxSeq }) ?? maxSeq,
          groupId: groupOfConversation(fields),
        }),
        act: (actor, { groupId, seq }) => groupMessages.read(actor, groupId, seq),
        show: okJson,
      },
    ),

    sync: ofConversation(paging, {
      read: (fields) => ({
        input: {
          since: fields.integer('since', { min: 0, max: maxSeq }),
          recallNo: fields.optionalInteger('recallNo', { min: 0, max: maxSeq }) ?? 0,
          limit: fields.optionalInteger('limit', { min: 1, max: 200 }) ?? 100,
        },
        groupId: groupOfConversation(fields),
      }),
      act: (actor, { groupId, input }) => groupSync.sync(actor, groupId, input),
      show({ messages, ...rest }, { groupId }, { link, terminal }) {
        link.noteSeq(groupPrefix + groupId, rest.throughSeq);
        const text = groupMessagesText(messages, groupId, terminal.account.identifier);
        return { ok: true, value: `{"messages":${text},${JSON.stringify(rest).slice(1)}` };
      },
    }),

    history: ofConversation(paging, {
      read: (fields) => ({
        before: fields.optionalInteger('before', { min: 1, max: maxSeq }),
        limit: fields.optionalInteger('limit', { min: 1, max: 100 }) ?? 20,
        groupId: groupOfConversation(fields),
      }),
      act: (actor, { before, limit, groupId }) =>
        groupMessages.history(actor, groupId, {
          ...(before === undefined ? {} : { upTo: before - 1 }),
          // One more says whether there are older ones.
          limit: limit + 1,
        }),
      show: (page, { limit, groupId }, { terminal }) => historyText(page, limit, groupId, terminal.account.identifier),
    }),
  };
}

const paging = { permission: 'im.link.mailbox.read', order: 'page' } as const;

/** A request that names its group by its conversation. */
function ofConversation<Input, Output>(
  facts: Pick<RequestHandler, 'permission' | 'order'>,
  row: Omit<GroupRow<Input, Output>, 'names'>,
): RequestHandler {
  return groupHandler(facts, { ...row, names: { GroupId: 'conversation' } });
}

/** `groupStates`: what a terminal begins with (G35). */
export function groupStateRequests({
  groupSync,
  inbox,
}: Pick<Deps, 'groupSync' | 'inbox'>): Record<string, RequestHandler> {
  return {
    groupStates: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run({ link, terminal, fields }) {
        const { account } = terminal;
        const after = fields.optionalInteger('after', maxGroupNo);
        if (fields.refusal !== undefined) return fields.refusal;
        const system = after === undefined ? await inbox.state(account) : undefined;
        const page = await groupSync.states(account, { ...withoutAbsent({ after }), limit: maxStates });
        // It knows of them now, so it need not be told again by a look for what it missed.
        if (system !== undefined) link.noteSeq(systemConversation, system.seq);
        for (const { groupId, seq } of page.states) link.noteSeq(groupPrefix + groupId, seq);
        const texts = page.states.map((state) => groupStateText(state, account.identifier));
        const rest = JSON.stringify({ system, after: page.after });
        return { ok: true, value: `{"conversations":[${texts.join(',')}]${rest === '{}' ? '}' : `,${rest.slice(1)}`}` };
      },
    },
  };
}

/** Each message has an outcome of its own, by the vendor's number. */
function recalled(code: number): ImResult<string> {
  if (code === 0) return emptyOk;
  const names = Object.keys(imErrorCatalogue) as ImErrorName[];
  const error = names.find((name) => name.startsWith('GROUP_') && imErrorCatalogue[name].code === code);
  return { ok: false, error: error ?? 'GROUP_NOT_RECALLABLE', field: 'seq' };
}

/** Oldest first; what is not there any more by its seq. */
function historyText(page: GroupPage, limit: number, groupId: string, viewer: string): ImResult<string> {
  const found = page.messages.slice(0, limit);
  const messages = found
    .flatMap(({ message }) => message ?? [])
    // What was blanked is a hole (G36); what was recalled says so.
    .filter(({ body, recalled: isRecalled }) => body !== '[]' || isRecalled)
    .reverse();
  const newest = found[0]?.seq ?? 0;
  const oldest = found.at(-1)?.seq ?? 1;
  const holes = holesIn(
    oldest - 1,
    newest,
    messages.map(({ seq }) => seq),
  );
  const rest = JSON.stringify({ holes, complete: page.complete && page.messages.length <= limit });
  return { ok: true, value: `{"messages":${groupMessagesText(messages, groupId, viewer)},${rest.slice(1)}` };
}
