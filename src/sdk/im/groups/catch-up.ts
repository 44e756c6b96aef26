import { type Fields, fieldsOf, listOf, numberOr, optionalNumber, type Recent, readRecents } from '../frames.ts';
import { type Head, moveShown, noteRecent, skipRecalls } from '../head.ts';
import type { Extension, SyncTools } from '../sync.ts';
import { type GroupNotice, groupOf, readNotice } from './news.ts';

/** The account's notices, as a conversation: of its head only `shown`, `readSeq` and `unread` are used, so that it is in no list. */
export const noticesId = 'system';

export interface CatchUpDeps {
  /** Of a group more missed messages than these are left to the history. */
  readonly maxMissed: number;
  onNotice(notice: GroupNotice): void;
  /** The unread number of a conversation has to be fetched. */
  recount(conversation: string): void;
  /** Groups that the account is in, as far as it was told: filled at the login, kept up by {@link onCameOrWent} and by what is told later. */
  readonly mine: Set<string>;
  /** The account became a member while it was away, or is one no more. */
  onCameOrWent(group: string, isMember: boolean): void;
}

/**
 * What the account missed of its groups and notices, fetched after each login and interruption (G35). Messages go the way of all
 * others: each once, in order. What is new to this terminal, or too far ahead, begins at its end.
 */
export function createCatchUp({ maxMissed, onNotice, recount, mine, onCameOrWent }: CatchUpDeps): Extension {
  /** Groups that the service named when it was asked last: some types it does not name. */
  let named: ReadonlySet<string> = new Set();

  async function group(tools: SyncTools, state: Recent, isDiscarded: boolean): Promise<void> {
    const { store, delivery, signals } = tools;
    const { conversation: id, last, seq } = state;
    if (last !== undefined) await delivery.renew(id, last);
    const head = store.head(id);
    const { isHidden } = head;
    // What is newer but deleted brings nothing back.
    const isAhead = (last?.seq ?? 0) > head.seq;
    const isNew = head.shown === 0 && !head.isSynced;
    // What came after `last` is not there any more.
    noteRecent(head, { ...state, seq: last?.seq ?? seq });
    head.isHidden = isHidden && !isAhead;
    skipRecalls(head, state.recallNo);
    head.isSynced = true;
    if (!isNew && !isDiscarded && seq > head.shown && seq - head.shown <= maxMissed) {
      await tools.forgive('sync', () => tools.follow(head));
    }
    moveShown(head, seq);
    await tools.recallsOf(state);
    signals.onConversation.emit(id);
  }

  async function notices(tools: SyncTools, state: Fields): Promise<void> {
    const { store, clock } = tools;
    const head = store.head(noticesId);
    const [seq, readSeq] = [numberOr(state.seq, 0), numberOr(state.readSeq, 0)];
    // With less than it had the account is another one of its name.
    if (seq < head.shown) Object.assign(head, { shown: 0, readSeq: 0, owedRead: undefined });
    head.readSeq = Math.max(head.readSeq, readSeq);
    // Of those from before this terminal knew the account it is told what nobody has read.
    if (head.shown === 0) head.shown = readSeq;
    if (seq > head.shown) await follow(tools, head);
    head.unread = (head.owedRead ?? 0) >= seq ? 0 : numberOr(state.unread, 0);
    Object.assign(head, { isSynced: true, countedMs: clock() });
    tools.signals.onConversation.emit(noticesId);
  }

  async function follow({ ask, store }: SyncTools, head: Head): Promise<void> {
    for (;;) {
      const since = head.shown;
      const page = await ask('sync', { conversation: noticesId, since });
      for (const one of listOf(page.notices)) tell(head, readNotice(fieldsOf(one)));
      head.shown = Math.max(head.shown, numberOr(page.throughSeq, 0));
      await store.commit();
      if (page.more !== true || head.shown === since) return;
    }
  }

  /** Each once. */
  function tell(head: Head, notice: GroupNotice): void {
    if (notice.seq <= head.shown) return;
    head.shown = notice.seq;
    onNotice(notice);
  }

  return {
    async sync(tools, isFirst) {
      const now = new Set<string>();
      if (isFirst) mine.clear();
      let after: number | undefined;
      do {
        const page: Fields = await tools.ask('groupStates', { after });
        if (page.system !== undefined) await tools.forgive('sync', () => notices(tools, fieldsOf(page.system)));
        const discarded = new Set(
          listOf(page.conversations)
            .map(fieldsOf)
            .filter(({ receive }) => receive === 'Discard')
            .map(({ conversation }) => conversation),
        );
        for (const state of readRecents(page.conversations)) {
          const id = groupOf(state.conversation) ?? '';
          now.add(id);
          if (isFirst) mine.add(id);
          await group(tools, state, discarded.has(state.conversation));
        }
        const next = optionalNumber(page.after);
        if (next === after) break;
        after = next;
      } while (after !== undefined);
      for (const id of now) if (!mine.has(id)) onCameOrWent(id, true);
      for (const id of named) if (mine.has(id) && !now.has(id)) onCameOrWent(id, false);
      named = now;
    },
    async notice(tools, fields) {
      const notice = readNotice(fields);
      if (notice.seq === 0) return onNotice(notice);
      const { store, signals } = tools;
      const head = store.head(noticesId);
      if (numberOr(fields.prev, notice.seq - 1) > head.shown) await tools.forgive('sync', () => follow(tools, head));
      tell(head, notice);
      await store.commit();
      recount(noticesId);
      signals.onConversation.emit(noticesId);
    },
  };
}
