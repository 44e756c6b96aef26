import { sql, type Transaction } from 'kysely';
import type { Metrics } from '../../observe/index.ts';
import type { Database, Schema } from '../../store/index.ts';
import type { AfterCommand, ImResult } from '../../wire/index.ts';
import type { AccountNo, Clock, ConversationId } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import type { GroupTypeRow } from './group-types.ts';
import type { ApplyOption, CustomFields, Group } from './model.ts';
import { createChange, type GroupNews, type OpenChange, Refused } from './open-change.ts';
import { type GroupRow, groupColumns, toGroup } from './rows.ts';
import { createTurns } from './turns.ts';

export type { OpenChange } from './open-change.ts';

export interface GroupChanges {
  /**
   * Changes a group in one transaction, under its lock: everything that `fn` does and causes is committed, or, when it refuses or
   * throws, nothing. Refuses with GROUP_UNKNOWN where there is no such group, with BUSY where too many changes of it wait. `fn` asks the
   * database by `tx` alone: who holds one connection and waits for another may wait for ever.
   */
  run<T>(conversationId: ConversationId, fn: (change: OpenChange) => Promise<ImResult<T>>): Promise<ImResult<T>>;
  /** The same of a group that is made in it. */
  make<T>(group: NewGroup, fn: (change: OpenChange) => Promise<ImResult<T>>): Promise<ImResult<T>>;
}

/** Changes of one group. */
const maxWaiting = 1_000;

export interface NewGroup {
  readonly sdkAppId: number;
  readonly groupId: string;
  readonly type: string;
  readonly name: string;
  readonly introduction: string;
  readonly notification: string;
  readonly faceUrl: string;
  readonly owner: AccountNo | undefined;
  readonly maxMembers: number;
  readonly applyOption: ApplyOption;
  readonly isHidden: boolean;
  readonly custom: CustomFields;
  readonly createdSec: number;
}

export function createGroupChanges(deps: {
  db: Database;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  ports: Pick<ImPorts, 'consumers' | 'written'>;
  clock: Clock;
  /** Once it is committed. */
  onChanged(news: GroupNews): void;
  metrics: Pick<Metrics, 'gaugeOf'>;
}): GroupChanges {
  const { db, typeOf, ports, clock, onChanged, metrics } = deps;
  // One connection a group: where each waited at the group's lock with its own, those who rush into one group would leave none to others.
  const turns = createTurns<ConversationId>({ maxWaiting });
  metrics.gaugeOf(
    'qalgate_im_group_changes_waiting',
    'Changes of groups that wait for one before',
    () => turns.waiting,
  );

  async function inTransaction<T>(
    open: (tx: Transaction<Schema>) => Promise<Group | undefined>,
    fn: (change: OpenChange) => Promise<ImResult<T>>,
  ): Promise<ImResult<T>> {
    let news: GroupNews | undefined;
    let written: AfterCommand[] = [];
    try {
      const result = await db.kysely.transaction().execute(async (tx) => {
        const group = await open(tx);
        if (group === undefined) throw new Refused({ ok: false, error: 'GROUP_UNKNOWN' });
        const nowMs = clock();
        const change = createChange(tx, group, { type: typeOf(group.sdkAppId, group.type), nowMs });
        const done = await fn(change);
        if (!done.ok) throw new Refused(done);
        ({ news, written } = await change.finish(ports));
        return done;
      });
      if (news !== undefined) {
        onChanged(news);
        for (const command of written) ports.written?.(news.group.sdkAppId, String(news.group.conversationId), command);
      }
      return result;
    } catch (error) {
      if (error instanceof Refused) return error.refusal as ImResult<T>;
      throw error;
    }
  }

  return {
    async run(conversationId, fn) {
      const done = turns.take(conversationId, () => inTransaction((tx) => lockGroup(tx, conversationId), fn));
      return (await done) ?? { ok: false, error: 'BUSY', reason: `${maxWaiting} changes of the group wait already` };
    },
    make: (group, fn) => inTransaction((tx) => makeGroup(tx, group), fn),
  };
}

/** First the lock, then the look: what a statement reads beside a row it waits for may be older than that row. */
async function lockGroup(tx: Transaction<Schema>, conversationId: ConversationId): Promise<Group | undefined> {
  await sql`select from conversation where id = ${conversationId} for update`.execute(tx);
  return await readGroup(tx, conversationId);
}

async function readGroup(tx: Transaction<Schema>, conversationId: ConversationId): Promise<Group | undefined> {
  const { rows } = await sql<GroupRow>`
    select ${sql.raw(groupColumns)} from chat_group g join conversation c on c.id = g.conversation_id
    where g.conversation_id = ${conversationId} and g.dismissed_sec is null`.execute(tx);
  return rows[0] === undefined ? undefined : toGroup(rows[0]);
}

async function makeGroup(tx: Transaction<Schema>, group: NewGroup): Promise<Group | undefined> {
  const { rows } = await sql<{ id: ConversationId }>`
    insert into conversation (sdk_app_id, kind) values (${group.sdkAppId}, 2) returning id`.execute(tx);
  const id = rows[0]?.id as ConversationId;
  const made = await sql`
    insert into chat_group (
      conversation_id, sdk_app_id, group_id, type, name, introduction, notification, face_url, owner_id, max_members, apply_option,
      is_hidden, custom, created_sec, info_sec
    ) values (
      ${id}, ${group.sdkAppId}, ${group.groupId}, ${group.type}, ${group.name}, ${group.introduction}, ${group.notification},
      ${group.faceUrl}, ${group.owner ?? null}, ${group.maxMembers}, ${group.applyOption}, ${group.isHidden},
      ${JSON.stringify(group.custom)}, ${group.createdSec}, ${group.createdSec}
    )
    on conflict (sdk_app_id, group_id) where dismissed_sec is null do nothing`.execute(tx);
  if (made.numAffectedRows === 0n) {
    const { rows: taken } = await sql<{ owner_id: AccountNo | null }>`
      select owner_id from chat_group
      where sdk_app_id = ${group.sdkAppId} and group_id = ${group.groupId} and dismissed_sec is null`.execute(tx);
    const isOwn = group.owner !== undefined && taken[0]?.owner_id === group.owner;
    throw new Refused({ ok: false, error: isOwn ? 'GROUP_ID_OWN' : 'GROUP_ID_TAKEN', field: 'GroupId' });
  }
  return await readGroup(tx, id);
}
