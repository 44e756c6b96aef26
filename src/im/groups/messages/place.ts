import type { Database } from '../../../store/index.ts';
import type { ImRefusal, ImResult } from '../../../wire/index.ts';
import type { Actor } from '../../group-services.ts';
import type { ConversationId } from '../../model.ts';
import type { GroupTypeRow } from '../group-types.ts';
import type { MsgFlag } from '../model.ts';

/** First and last seq. */
export type SeqRange = readonly [first: number, last: number];

/** A group as somebody who asks for its messages stands in it, read just now. */
export interface Place {
  readonly conversationId: ConversationId;
  readonly type: string;
  readonly row: GroupTypeRow;
  readonly lastSeq: number;
  /** What may be read at all, the newest first: of the group all, of a member his stays (G39). */
  readonly readable: readonly SeqRange[];
  /** A member who wants nothing of it delivered: to him nothing is unread (G26). */
  readonly isDiscarding: boolean;
}

export const unknownGroup: ImRefusal = { ok: false, error: 'GROUP_UNKNOWN', field: 'GroupId' };
const forbidden = (reason: string): ImRefusal => ({ ok: false, error: 'GROUP_FORBIDDEN', reason });

interface PlaceRow {
  conversation_id: ConversationId;
  type: string;
  is_hidden: boolean;
  owner_id: number | null;
  last_seq: number;
  from_seq: number | null;
  to_seq: number | null;
  msg_flag: MsgFlag | null;
}

/** Finds places. Reads the database: whoever has left reads nothing from that moment on. */
export function createPlaces({
  db,
  typeOf,
}: {
  db: Database;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
}): (actor: Actor, groupId: string) => Promise<ImResult<Place>> {
  return async ({ account, authority }, groupId) => {
    const { rows } = await db.pool.query<PlaceRow>({
      name: 'im_group_place',
      text: `
        select g.conversation_id, g.type, g.is_hidden, g.owner_id, c.last_seq, m.from_seq, m.to_seq, m.msg_flag
        from chat_group g
        join conversation c on c.id = g.conversation_id
        left join member m on m.account_id = $3 and m.conversation_id = c.id and m.role is not null
        where g.sdk_app_id = $1 and g.group_id = $2 and g.dismissed_sec is null
        order by m.from_seq desc nulls last`,
      values: [account.sdkAppId, groupId, account.no],
    });
    const [now] = rows;
    if (now === undefined) return unknownGroup;
    const { conversation_id: conversationId, type, last_seq: lastSeq } = now;
    const row = typeOf(account.sdkAppId, type);
    const place = {
      conversationId,
      type,
      row,
      lastSeq,
      isDiscarding: now.to_seq === null && now.msg_flag === 'Discard',
    };
    const all: SeqRange[] = [[1, lastSeq]];
    if (authority === 'administrator') return { ok: true, value: { ...place, readable: all } };
    if (now.is_hidden && now.owner_id !== account.no) return unknownGroup;
    if (now.from_seq === null || now.to_seq !== null) return forbidden('the caller is no member of the group');
    const stays = rows.map(({ from_seq, to_seq }): SeqRange => [from_seq ?? 1, to_seq ?? lastSeq]);
    return { ok: true, value: { ...place, readable: row.showsEarlier ? all : stays } };
  };
}

/** Refuses whoever is no administrator of the app. */
export function administratorOnly({ authority }: Actor): ImRefusal | undefined {
  return authority === 'administrator' ? undefined : forbidden('only an administrator of the app may do this');
}
