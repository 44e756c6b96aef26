import type { Database } from '../../store/index.ts';
import type { Account, AccountNo, Clock } from '../model.ts';
import type { Platform, Presence, TerminalState } from '../services.ts';
import { bestOf, stateOf } from './terminal-state.ts';

interface Row {
  account_id: AccountNo;
  platform: Platform;
  state: TerminalState;
  is_linked: boolean;
  is_alive: boolean | null;
  last_there_ms: number;
}

/** States of accounts, from the database: a terminal's process may be any (P2). One query for all. */
export function createQuery({ db, clock }: { db: Database; clock: Clock }): Presence['query'] {
  return async (accounts: readonly Account[]) => {
    const { rows } = await db.pool.query<Row>({
      name: 'im_terminals',
      text: `
        select t.account_id, t.platform, t.state, t.node_id is not null as is_linked,
          n.lease_until > clock_timestamp() as is_alive, t.last_there_ms
        from terminal t left join node n on n.id = t.node_id
        where t.account_id = any ($1) order by t.account_id, t.platform`,
      values: [accounts.map(({ no }) => no)],
    });
    const nowMs = clock();
    const found = new Map<AccountNo, { platform: Platform; state: TerminalState }[]>();
    for (const { no } of accounts) found.set(no, []);
    for (const row of rows) {
      const { platform, state, is_linked: isLinked, is_alive: isAlive, last_there_ms: lastThereMs } = row;
      const facts = { platform, state, isLinked, isNodeAlive: isAlive === true, lastThereMs };
      found.get(row.account_id)?.push({ platform, state: stateOf(facts, nowMs) });
    }
    return new Map(
      [...found].map(([no, terminals]) => [no, { state: bestOf(terminals.map(({ state }) => state)), terminals }]),
    );
  };
}
