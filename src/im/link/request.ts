import type { AppLookup, Command } from '../../auth/index.ts';
import type { AccountId, ImErrorName, ImRefusal, ImResult } from '../../wire/index.ts';
import type { GroupMessages, GroupSync, Groups, Inbox } from '../group-services.ts';
import type { Account, Clock } from '../model.ts';
import type { Devices } from '../ports.ts';
import type { Accounts, Mailbox, Messages, Presence, Profiles } from '../services.ts';
import type { FieldReader } from './field-reader.ts';
import type { Link, Terminal } from './link.ts';

/** What requests are carried out with. */
export interface RequestDeps {
  apps: AppLookup;
  accounts: Accounts;
  messages: Messages;
  mailbox: Mailbox;
  groups: Groups;
  groupMessages: GroupMessages;
  groupSync: GroupSync;
  inbox: Inbox;
  presence: Presence;
  profiles: Profiles;
  /** Undefined: nobody is pushed to. */
  devices?: Devices | undefined;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
}

/** A request under way. */
export interface Request {
  readonly link: Link;
  readonly terminal: Terminal;
  readonly fields: FieldReader;
  /** From when it came. */
  readonly deadline: AbortSignal;
  /**
   * Resolves when the requests before it in its order are done; at once where it waited for them anyway. False: the service has ended
   * the link meanwhile, and nothing is to be done for it any more.
   */
  readonly turn: Promise<boolean>;
}

export interface RequestHandler {
  /** What an account has to be allowed for it (I5). */
  readonly permission: Command;
  /**
   * `parallel`, with whatever else the link asks; `page`, one after another, because an answer may be large: nothing is read
   * for a link that does not take what it has; `conversation`, begun at once, so that backends are asked about several at a time, and
   * to be finished in the order in which those of one conversation came (M15): see `turn`; `state`, one after another, because the
   * last one counts.
   */
  readonly order: 'parallel' | 'page' | 'conversation' | 'state';
  /** Gives the JSON text of `ok`. Rejects only when the database does not answer. */
  run(request: Request): Promise<ImResult<string>>;
}

export const emptyOk: ImResult<string> = { ok: true, value: '{}' };

export function okJson(value: object): ImResult<string> {
  return { ok: true, value: JSON.stringify(value) };
}

/** The account that a field names; a refusal when there is none. */
export async function findAccount(
  { accounts }: Pick<RequestDeps, 'accounts'>,
  { terminal }: Request,
  identifier: AccountId,
  refusal: { error: ImErrorName; field: string },
): Promise<ImResult<Account>> {
  const account = await accounts.find(terminal.account.sdkAppId, identifier);
  return account === undefined ? ({ ok: false, ...refusal } satisfies ImRefusal) : { ok: true, value: account };
}

/** The other account of the request's conversation. */
export async function findPeer(
  deps: Pick<RequestDeps, 'accounts'>,
  request: Request,
  error: ImErrorName = 'ACCOUNT_NOT_REGISTERED',
): Promise<ImResult<Account>> {
  const { fields } = request;
  const peer = fields.conversation();
  if (fields.refusal !== undefined) return fields.refusal;
  return findAccount(deps, request, peer, { error, field: 'conversation' });
}
