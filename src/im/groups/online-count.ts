import { LRUCache } from 'lru-cache';
import type { Groups } from '../group-services.ts';
import type { ConversationId } from '../model.ts';
import { findGroup, type GroupContext } from './context.ts';
import { isMember } from './rows.ts';

/** How old a count may be (API reference §4.26). */
const maxAgeMs = 10_000;
/** Groups whose count is remembered, at most. */
const maxGroups = 10_000;

interface Count {
  readonly atMs: number;
  readonly online: Promise<number>;
}

/** How many members of live groups are online: those of which a list shows but the first ones. One query a group and 10 seconds. */
export function createOnlineCount(context: GroupContext): Pick<Groups, 'onlineCount'> {
  const { db, clock } = context;
  const counts = new LRUCache<ConversationId, Count>({ max: maxGroups });

  async function count(id: ConversationId): Promise<number> {
    const { rows } = await db.pool.query<{ count: number }>({
      name: 'im_group_online',
      text: `
        select count(*) as count from member m
        where m.conversation_id = $1 and ${isMember} and exists (
          select from terminal t join node n on n.id = t.node_id
          where t.account_id = m.account_id and t.state = 'online' and n.lease_until > clock_timestamp()
        )`,
      values: [id],
    });
    return rows[0]?.count ?? 0;
  }

  return {
    async onlineCount(actor, groupId) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const { roster, type } = found.value;
      if (type.listedMembers === undefined || type.listedMembers === 0) {
        const reason = 'is not counted in groups of this type';
        return { ok: false, error: 'GROUP_FORBIDDEN', field: 'GroupId', reason };
      }
      const id = roster.group.conversationId;
      const nowMs = clock();
      let known = counts.get(id);
      if (known === undefined || nowMs - known.atMs >= maxAgeMs || nowMs < known.atMs) {
        known = { atMs: nowMs, online: count(id) };
        counts.set(id, known);
        // What failed is no count.
        known.online.catch(() => counts.delete(id));
      }
      return { ok: true, value: await known.online };
    },
  };
}
