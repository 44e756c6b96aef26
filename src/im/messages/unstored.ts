import type { Database } from '../../store/index.ts';
import { type AfterCommand, c2cSendFields, type ImRefusal, imErrorCatalogue } from '../../wire/index.ts';
import type { Clock } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import { c2cToldOf } from './c2c-callbacks.ts';
import { wantsCallback } from './callback-notes.ts';
import type { Cleared } from './cleared.ts';
import type { Conversations } from './conversations.ts';

const command: AfterCommand = 'C2C.CallbackAfterSendMsg';

/** Has the app's backend told of a message that is stored nowhere: an online-only one, or one that was refused. */
export interface Unstored {
  /** Resolves when the entry is committed, at once when nobody wants it. `refusal`: why it was not delivered. */
  tell(message: Cleared, refusal?: ImRefusal): Promise<void>;
}

export function createUnstored(deps: {
  db: Database;
  conversations: Pick<Conversations, 'find'>;
  ports: Pick<ImPorts, 'consumers' | 'written'>;
  clock: Clock;
}): Unstored {
  const { db, conversations, ports, clock } = deps;
  return {
    async tell({ input, body, time, msgSeq, before }, refusal) {
      const { from, to, draft, origin } = input;
      if (!wantsCallback(c2cToldOf(input, ports).consumers)) return;
      const conversation = await conversations.find(from, to);
      // In order with the messages of its conversation, where there is one.
      const drainKey = conversation === undefined ? `p${from.no}-${to.no}` : String(conversation.id);
      const fields = c2cSendFields({
        from: from.identifier,
        to: to.identifier,
        msgSeq,
        random: draft.random,
        time,
        body,
        custom: draft.custom,
        isOnlineOnly: draft.lifetimeSec === 0,
      });
      const text = JSON.stringify({ fields: { ...fields, ...resultOf(refusal) }, origin, before });
      await db.pool.query({
        name: 'im_unstored',
        text: 'select outbox_event(1, $1, $2, $3, $4, $5)',
        values: [from.sdkAppId, drainKey, command, text, clock()],
      });
      ports.written?.(from.sdkAppId, drainKey, command);
    },
  };
}

/** What the sender was answered. */
function resultOf(refusal: ImRefusal | undefined): { SendMsgResult: number; ErrorInfo: string } {
  if (refusal === undefined) return { SendMsgResult: 0, ErrorInfo: '' };
  const { code, message } = imErrorCatalogue[refusal.error];
  return { SendMsgResult: refusal.code ?? code, ErrorInfo: refusal.reason ?? message };
}
