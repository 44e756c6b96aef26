import type { AppLookup } from '../../auth/index.ts';
import type { Database } from '../../store/index.ts';
import type { AccountId, ImRefusal, ImResult, SdkAppId } from '../../wire/index.ts';
import type { Actor, Roster } from '../group-services.ts';
import type { Account, AccountNo, Clock } from '../model.ts';
import type { GroupQuestion, ImPorts } from '../ports.ts';
import type { Accounts, Bus, Words } from '../services.ts';
import type { GroupChanges } from './group-change.ts';
import type { GroupTypeRow } from './group-types.ts';
import type { GroupRole } from './model.ts';
import type { Standing } from './rights.ts';
import type { Rosters } from './rosters.ts';

/** What the commands of groups work with. */
export interface GroupContext {
  readonly db: Database;
  readonly apps: AppLookup;
  readonly accounts: Pick<Accounts, 'find' | 'findMany' | 'names'>;
  readonly words: Pick<Words, 'find'>;
  readonly bus: Bus;
  readonly ports: ImPorts;
  readonly changes: GroupChanges;
  readonly rosters: Rosters;
  typeOf(sdkAppId: SdkAppId, type: string): GroupTypeRow;
  readonly clock: Clock;
  /** 0 … 1. */
  readonly random: () => number;
}

export const unknownGroup: ImRefusal = { ok: false, error: 'GROUP_UNKNOWN' };

/** Accounts of one command, at most. */
export const maxAccounts = 500;

/** The group with its type, and who asks, as they stand now, whoever has changed them. */
export interface Found {
  readonly roster: Roster;
  readonly type: GroupTypeRow;
  readonly standing: Standing;
}

export async function findGroup(context: GroupContext, actor: Actor, groupId: string): Promise<ImResult<Found>> {
  const { sdkAppId } = actor.account;
  const roster = await context.rosters.current(sdkAppId, groupId);
  if (roster === undefined) return unknownGroup;
  const standing = standingOf(actor, roster.members.get(actor.account.no)?.role);
  // Its owner has said nothing yet: to others it is not there.
  if (roster.group.isHidden && standing !== 'administrator' && standing !== 'Owner') return unknownGroup;
  return { ok: true, value: { roster, type: context.typeOf(sdkAppId, roster.group.type), standing } };
}

export function standingOf({ authority }: Actor, role: GroupRole | undefined): Standing {
  return authority === 'administrator' ? 'administrator' : (role ?? 'none');
}

/** The accounts of those names, each once; a name that is nobody's is refused, as are too many. */
export async function findAccounts(
  { accounts }: GroupContext,
  sdkAppId: SdkAppId,
  names: readonly AccountId[],
  field: string,
): Promise<ImResult<Map<AccountId, Account>>> {
  if (names.length > maxAccounts) {
    return {
      ok: false,
      error: 'GROUP_TOO_MANY',
      field,
      reason: `has ${names.length} accounts`,
      allowed: `at most ${maxAccounts}`,
    };
  }
  const found = await accounts.findMany(sdkAppId, names);
  const missing = names.find((name) => !found.has(name));
  if (missing !== undefined) {
    return {
      ok: false,
      error: 'GROUP_ACCOUNT_UNKNOWN',
      field,
      reason: `${JSON.stringify(missing)} is no account of the app`,
    };
  }
  // In the order given, not in that of the database.
  return {
    ok: true,
    value: new Map(names.flatMap((name) => (found.has(name) ? [[name, found.get(name) as Account]] : []))),
  };
}

/** Names of accounts by number, in the order given; of one that is gone ''. */
export async function namesOf({ accounts }: GroupContext, nos: readonly AccountNo[]): Promise<AccountId[]> {
  const names = await accounts.names(nos);
  return nos.map((no) => names.get(no) ?? ('' as AccountId));
}

/** Asks the app's backend, where it wants to be asked (K1): whom it leaves out, or the refusal. */
export async function askBefore(
  { ports }: GroupContext,
  actor: Actor,
  command: GroupQuestion['command'],
  groupId: string | undefined,
  fields: Record<string, unknown>,
): Promise<ImResult<ReadonlySet<string>>> {
  const { sdkAppId, identifier } = actor.account;
  if (ports.beforeGroup?.wants(sdkAppId, command) !== true) return { ok: true, value: new Set() };
  const decision = await ports.beforeGroup.ask({
    sdkAppId,
    command,
    fields,
    origin: actor.origin,
    groupId,
    from: identifier,
  });
  if (decision.kind === 'refuse') {
    const { code, reason } = decision;
    const refusal: ImRefusal = { ok: false, error: 'GROUP_REFUSED_BY_CALLBACK', reason };
    return code === undefined ? refusal : { ...refusal, code };
  }
  return { ok: true, value: new Set(decision.kind === 'allow' ? decision.refusedMembers : []) };
}

/** The first of the texts that holds a dirty word is refused (D1). */
export function checkWords(
  { words }: GroupContext,
  sdkAppId: SdkAppId,
  texts: Readonly<Record<string, string | undefined>>,
): ImRefusal | undefined {
  for (const [field, text] of Object.entries(texts)) {
    if (text !== undefined && text !== '' && words.find(sdkAppId, text) !== undefined) {
      return { ok: false, error: 'DIRTY_WORD', field };
    }
  }
  return undefined;
}
