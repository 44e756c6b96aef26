import type { Logger } from '../../observe/index.ts';
import type { Roster } from '../group-services.ts';
import type { AccountNo, StoredMessage } from '../model.ts';
import type { Bus, LinkEvent } from '../services.ts';
import type { GroupTypeRow } from './group-types.ts';
import type { GroupNews } from './open-change.ts';
import type { Rosters } from './rosters.ts';

/**
 * Members who get at once what is said in the group (G26), as message `seq` where that is none of before their stay (G39): the roster may
 * have members who came since it was stored. 0: it has no seq. Of a group that is hidden its owner alone.
 */
export function* receiversOf({ group, members }: Roster, seq: number): Iterable<AccountNo> {
  for (const { no, msgFlag, fromSeq } of members.values()) {
    if (seq !== 0 && fromSeq > seq) continue;
    if (msgFlag !== 'Discard' && (!group.isHidden || no === group.owner)) yield no;
  }
}

/** Tells terminals that are online of a change that is committed. Best effort: who misses it finds it by sync. */
export function createTelling(deps: {
  bus: Bus;
  rosters: Rosters;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
}): (news: GroupNews) => void {
  const { bus, rosters, typeOf, random, logger } = deps;

  function tellTips({ group, tips, joined }: GroupNews, roster: Roster): void {
    const { countsUnread } = typeOf(group.sdkAppId, group.type);
    for (const { seq, sec, isForJoined, operator, body } of tips) {
      const message: StoredMessage = {
        conversationId: group.conversationId,
        seq,
        from: operator.identifier,
        time: sec,
        msgSeq: 0,
        // Without a seq it is all that tells two of one second apart.
        random: seq > 0 ? 0 : Math.floor(random() * 2 ** 32),
        body,
        extra: '{"tip":true}',
        recalled: false,
      };
      const event: LinkEvent = {
        kind: 'group-message',
        groupId: group.groupId,
        message,
        ...(countsUnread && seq > 0 ? {} : { uncounted: true }),
      };
      const told = isForJoined ? { group, members: new Map(joined.map((member) => [member.no, member])) } : roster;
      bus.publishMany(receiversOf(told, seq), event);
    }
  }

  return (news) => {
    rosters.apply(news);
    for (const { to, seq, sec, body } of news.notices) bus.publish(to, { kind: 'notice', seq, time: sec, body });
    if (news.tips.length === 0) return;
    const { group } = news;
    const roster = rosters.peek(group.conversationId);
    if (roster !== undefined) return tellTips(news, roster);
    rosters
      .current(group.sdkAppId, group.groupId)
      .then((read) => {
        if (read !== undefined) tellTips(news, read);
      })
      .catch((error: unknown) => logger.warn({ err: error }, 'im.group.tell.failed'));
  };
}
