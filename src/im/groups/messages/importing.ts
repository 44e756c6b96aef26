import type { AppLookup } from '../../../auth/index.ts';
import type { Database } from '../../../store/index.ts';
import { type ImErrorName, type ImRefusal, imErrorCatalogue } from '../../../wire/index.ts';
import type { GroupMessages, GroupSendInput } from '../../group-services.ts';
import { findRepeat } from '../../messages/repeat.ts';
import type { Clock } from '../../model.ts';
import type { Words } from '../../services.ts';
import type { GroupTypeRow } from '../group-types.ts';
import { mayImport } from '../rights.ts';
import type { Rosters } from '../rosters.ts';
import { checkContent } from './content.ts';
import { type Cleared, groupDedupOf } from './message.ts';
import { administratorOnly, unknownGroup } from './place.ts';
import { readAll } from './reading.ts';
import type { Storing } from './storing.ts';

export interface ImportingDeps {
  db: Database;
  apps: AppLookup;
  rosters: Pick<Rosters, 'current'>;
  storing: Storing;
  words: Pick<Words, 'findInBody'>;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  clock: Clock;
}

type Messages = Parameters<GroupMessages['importMany']>[2];

/** Messages of one call. */
const maxMessages = 20;
/** As long as a command over REST may take. */
const deadlineMs = 2_900;

/**
 * Stores messages of a time before (API reference §4.20): nobody is asked or told, and afterwards everybody has read everything. Times
 * ascend, over calls too, and lie between the making of the group and now; each message has a result of its own, and what is refused is
 * as if it had not been given. One that was imported before, by its sender, random number and time, is not stored again.
 */
export function createImporting(deps: ImportingDeps): GroupMessages['importMany'] {
  const { db, apps, rosters, storing, words, typeOf, clock } = deps;

  return async (actor, groupId, messages) => {
    const { sdkAppId } = actor.account;
    const roster = await rosters.current(sdkAppId, groupId);
    if (roster === undefined) return unknownGroup;
    const { group } = roster;
    const refusal = administratorOnly(actor) ?? mayImport(typeOf(sdkAppId, group.type)) ?? tooMany(messages);
    if (refusal !== undefined) return refusal;

    let { lastSec } = group;
    const results: ({ seq: number; sec: number } | { error: number })[] = [];
    const nowSec = Math.floor(clock() / 1_000);
    const deadline = AbortSignal.timeout(deadlineMs);
    for (const { from, sec, random, body } of messages) {
      const input: GroupSendInput = {
        actor,
        from,
        groupId,
        draft: { body, random, priority: 'Normal', isOnlineOnly: false },
        deadline,
      };
      const message: Cleared = {
        input,
        group,
        body,
        text: JSON.stringify(body),
        time: sec,
        before: 'unasked-kind',
        isImport: true,
      };
      const repeat = await findRepeat(db, group.conversationId, from, groupDedupOf(message), clock());
      if (repeat !== undefined) {
        results.push({ seq: repeat.seq, sec: repeat.time });
        continue;
      }
      if (sec <= group.createdSec || sec < lastSec || sec > nowSec) {
        results.push(codeOf('GROUP_PARAMETER'));
        continue;
      }
      const fault = checkContent({ apps, words }, message);
      if (fault !== undefined) {
        results.push(codeOf(fault.error === 'MESSAGE_TOO_LONG' ? 'GROUP_MESSAGE_TOO_LONG' : fault.error));
        continue;
      }
      const { result } = await storing.store(message, input);
      if (!result.ok) {
        results.push(codeOf(result.error));
        continue;
      }
      lastSec = sec;
      results.push({ seq: result.value.seq, sec: result.value.time });
    }
    if (results.some((result) => 'seq' in result)) await readAll(db, group.conversationId);
    return { ok: true, value: results };
  };
}

function tooMany({ length }: Messages): ImRefusal | undefined {
  if (length <= maxMessages) return undefined;
  const reason = `has ${length} messages`;
  return { ok: false, error: 'GROUP_PARAMETER', field: 'MsgList', reason, allowed: `at most ${maxMessages}` };
}

const codeOf = (error: ImErrorName) => ({ error: imErrorCatalogue[error].code });
