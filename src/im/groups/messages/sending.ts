import type { AppLookup } from '../../../auth/index.ts';
import type { Metrics } from '../../../observe/index.ts';
import type { Database } from '../../../store/index.ts';
import { groupSendFields, type ImRefusal, messageKey } from '../../../wire/index.ts';
import type { GroupMessages, GroupSendInput } from '../../group-services.ts';
import { createAsking } from '../../messages/asking.ts';
import { askedOf } from '../../messages/callback-notes.ts';
import { inTime, outcomeOfRefusal } from '../../messages/in-time.ts';
import { findRepeat } from '../../messages/repeat.ts';
import type { Clock } from '../../model.ts';
import type { BeforeGroup, ImPorts } from '../../ports.ts';
import type { Words } from '../../services.ts';
import type { GroupTypeRow } from '../group-types.ts';
import { tellsDropped } from '../settings.ts';
import { checkContent } from './content.ts';
import { type Cleared, type Ended, groupDedupOf, type Outcome, withoutSeq } from './message.ts';
import type { Admit } from './pacing.ts';
import type { Storing } from './storing.ts';

export interface SendingDeps {
  db: Database;
  apps: AppLookup;
  storing: Storing;
  admit: Admit;
  words: Pick<Words, 'findInBody'>;
  ports: Pick<ImPorts, 'beforeGroup'>;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  clock: Clock;
  metrics: Metrics;
}

/** Where a message goes on to: it is to be stored or handed on, or all has been said. */
type Way = { readonly kind: 'go'; readonly message: Cleared } | { readonly kind: 'end'; readonly ended: Ended };

const command = 'Group.CallbackBeforeSendMsg';
const refused = (result: ImRefusal): Ended => ({ outcome: 'refused', result });
const end = (ended: Ended): Way => ({ kind: 'end', ended });

/**
 * The way of a group message (DESIGN §6): authorise, look for a repeat, ask the app's backend, check words and size of the final content,
 * the rate limit, its turn, commit, tell members. `ok` means that it is committed, or deliberately dropped with seq 0 (G31), or for an
 * online-only one that it was handed on (M16).
 */
export function createSending(deps: SendingDeps): GroupMessages['send'] {
  const { db, apps, storing, admit, words, ports, typeOf, clock, metrics } = deps;
  const counter = metrics.counter('qalgate_im_group_messages_total', 'Group messages by what became of them', [
    'outcome',
  ]);
  const count = (outcome: Outcome | 'timed-out' | 'failed') => counter.inc({ outcome });
  const asking = createAsking<Way>({ metrics }, { what: 'group_messages' });

  function check(message: Cleared): Way {
    const refusal = checkContent({ apps, words }, message);
    return refusal === undefined ? { kind: 'go', message } : end(refused(refusal));
  }

  /** The first of a message that is sent again (M13). */
  async function repeatOf(message: Cleared): Promise<Ended | undefined> {
    const { input, group } = message;
    const repeat = await findRepeat(db, group.conversationId, input.from, groupDedupOf(message), clock());
    return repeat === undefined ? undefined : { outcome: 'repeat', result: { ok: true, value: repeat } };
  }

  /** Asks the app's backend, unless it has been asked about the same message before (M13). */
  async function ask(port: BeforeGroup, message: Cleared): Promise<Way> {
    const { input, group, body, time } = message;
    const { actor, from, draft } = input;
    const repeat = draft.isOnlineOnly ? undefined : await repeatOf(message);
    if (repeat !== undefined) return end(repeat);
    const { random } = draft;
    const facts = {
      groupId: group.groupId,
      type: group.type,
      from: from.identifier,
      operator: actor.account.identifier,
      random,
      body,
    };
    const decision = await port.ask({
      sdkAppId: group.sdkAppId,
      command,
      fields: { ...groupSendFields(facts), OnlineOnlyFlag: draft.isOnlineOnly ? 1 : 0 },
      origin: actor.origin,
      groupId: group.groupId,
      from: from.identifier,
      messageKey: messageKey({ msgSeq: 0, random, time }),
    });
    if (decision.kind === 'drop') return end(withoutSeq(message, 'silenced'));
    if (decision.kind === 'allow') {
      const final = decision.body ?? body;
      return check({ ...message, body: final, text: JSON.stringify(final), before: decision.outcome });
    }
    const { code, reason } = decision;
    const refusal: ImRefusal = { ok: false, error: 'GROUP_REFUSED_BY_CALLBACK', reason };
    return end(refused(code === undefined ? refusal : { ...refusal, code }));
  }

  async function send(input: GroupSendInput, isAgain = false): Promise<Ended> {
    const { from, draft, withoutBefore, deadline } = input;
    const found = await storing.authorise(input);
    if (!found.ok) return refused(found);
    const roster = found.value;
    const { group } = roster;
    if (draft.isOnlineOnly && !typeOf(group.sdkAppId, group.type).isStored) {
      const reason = 'groups of this type keep no messages anyway';
      return refused({ ok: false, error: 'GROUP_FORBIDDEN', field: 'OnlineOnlyFlag', reason, allowed: 'absent' });
    }

    async function goOn(way: Way): Promise<Ended> {
      if (way.kind === 'end') return way.ended;
      const { message } = way;
      // Before its turn: what waits here must not keep a message of higher priority behind it from competing.
      const admitted = admit(roster, input);
      const verdict = typeof admitted === 'string' ? admitted : await admitted;
      if (input.turn !== undefined && !(await input.turn)) return refused({ ok: false, error: 'NOT_LOGGED_IN' });
      // Those before it had all of its time: not to be stored behind its answer.
      if (deadline.aborted) return refused({ ok: false, error: 'TIMED_OUT' });
      // The one that is sent again may have passed.
      if (verdict === 'dropped') return (await repeatOf(message)) ?? droppedOf(message);
      return draft.isOnlineOnly ? storing.handOn(message) : storing.store(message, input);
    }

    const port = ports.beforeGroup;
    const asked = askedOf({ isImport: false, withoutBefore }, port?.wants(group.sdkAppId, command));
    const message: Cleared = {
      input,
      group,
      body: draft.body,
      text: JSON.stringify(draft.body),
      time: Math.floor(clock() / 1_000),
      before: asked === 'ask' ? 'none' : asked,
      isImport: false,
    };
    if (port === undefined || asked !== 'ask') {
      const ended = await goOn(check(message));
      if (isAgain || ended.result.ok || ended.result.error !== 'GROUP_UNKNOWN') return ended;
      // Its id was given to another group by another process: that one was meant, as nobody was asked about the one of before.
      const now = await storing.authorise(input);
      return now.ok && now.value.group.conversationId !== group.conversationId ? send(input, true) : ended;
    }
    if (draft.isOnlineOnly) return goOn(await ask(port, message));
    const { dedupKey } = groupDedupOf(message);
    return asking.once(`${group.conversationId}/${from.no}/${dedupKey}`, () => ask(port, message), goOn);
  }

  /** Whoever sends a message that is dropped hears of it where the app wants that (G31). */
  function droppedOf(message: Cleared): Ended {
    const app = apps.get(message.group.sdkAppId);
    if (app === undefined || !tellsDropped(app)) return withoutSeq(message, 'dropped');
    return { outcome: 'dropped', result: { ok: false, error: 'GROUP_RATE' } };
  }

  return async (input) => {
    let outcome: Outcome = 'refused';
    try {
      const result = await inTime(async () => {
        const ended = await send(input);
        ({ outcome } = ended);
        return ended.result;
      }, input.deadline);
      count(result.ok || (outcome as Outcome) === 'dropped' ? outcome : outcomeOfRefusal(result));
      return result;
    } catch (error) {
      count('failed');
      throw error;
    }
  };
}
