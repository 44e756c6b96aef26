import { type ImErrorName, type ImResult, imErrorCatalogue } from '../../wire/index.ts';
import type { GroupMessageDraft, GroupPage } from '../group-services.ts';
import { holesIn } from '../groups/group-sync.ts';
import type { Priority } from '../groups/model.ts';
import { type FieldReader, groupPrefix, systemConversation } from './field-reader.ts';
import { actorOf, answerOf, groupOfConversation, namedHere } from './group-fields.ts';
import { groupMessagesText, groupStateText } from './group-outgoing.ts';
import { withoutAbsent } from './group-requests.ts';
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
    send: {
      permission: 'im.link.message.send',
      order: 'conversation',
      async run(request) {
        const { link, terminal, fields, deadline, turn } = request;
        const { account } = terminal;
        const draft = readDraft(fields, apps.get(account.sdkAppId)?.im.messageBytes ?? 0);
        const groupId = groupOfConversation(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        const sent = await groupMessages.send({
          actor: actorOf(request),
          from: account,
          groupId,
          draft,
          turn,
          deadline,
        });
        if (!sent.ok) return namedHere(sent, { GroupId: 'conversation' });
        const { seq, time, random: given, isRepeat } = sent.value;
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

    recall: {
      permission: 'im.link.message.recall',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const seq = fields.integer('seq', { min: 1, max: maxSeq });
        const groupId = groupOfConversation(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        const done = await groupMessages.recall(actorOf(request), groupId, [seq]);
        return answerOf(done, ([one]) => recalled(one?.code ?? 0), { GroupId: 'conversation' });
      },
    },

    read: {
      permission: 'im.link.mailbox.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const seq = fields.optionalInteger('seq', { min: 0, max: maxSeq }) ?? maxSeq;
        const groupId = groupOfConversation(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        const read = await groupMessages.read(actorOf(request), groupId, seq);
        return answerOf(read, okJson, { GroupId: 'conversation' });
      },
    },

    sync: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run(request) {
        const { link, terminal, fields } = request;
        const { account } = terminal;
        const since = fields.integer('since', { min: 0, max: maxSeq });
        const recallNo = fields.optionalInteger('recallNo', { min: 0, max: maxSeq }) ?? 0;
        const limit = fields.optionalInteger('limit', { min: 1, max: 200 }) ?? 100;
        const groupId = groupOfConversation(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        const page = await groupSync.sync(actorOf(request), groupId, { since, recallNo, limit });
        return answerOf(page, ({ messages, ...rest }) => {
          link.noteSeq(groupPrefix + groupId, rest.throughSeq);
          const text = groupMessagesText(messages, groupId, account.identifier);
          return { ok: true, value: `{"messages":${text},${JSON.stringify(rest).slice(1)}` };
        });
      },
    },

    history: {
      permission: 'im.link.mailbox.read',
      order: 'page',
      async run(request) {
        const { terminal, fields } = request;
        const before = fields.optionalInteger('before', { min: 1, max: maxSeq });
        const limit = fields.optionalInteger('limit', { min: 1, max: 100 }) ?? 20;
        const groupId = groupOfConversation(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        // One more says whether there are older ones.
        const input = { ...(before === undefined ? {} : { upTo: before - 1 }), limit: limit + 1 };
        const page = await groupMessages.history(actorOf(request), groupId, input);
        return answerOf(page, (found) => historyText(found, limit, groupId, terminal.account.identifier), {
          GroupId: 'conversation',
        });
      },
    },
  };
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
