import type { Static, TObject } from 'typebox';
import type { Command as Permission } from '../../auth/index.ts';
import type { AppSettings } from '../../store/index.ts';
import type { CallbackOrigin, ImErrorName, ImRefusal } from '../../wire/index.ts';
import type { Audience } from '../audience/audience.ts';
import type { Campaigns } from '../campaigns/index.ts';
import type { GroupMessages, Groups } from '../group-services.ts';
import type { Account, Clock } from '../model.ts';
import type { Accounts, Mailbox, Messages, Presence, Profiles, Words } from '../services.ts';
import { findFault, type Problem, type SchemaNode } from './check-body.ts';
import type { CommandResult } from './envelope.ts';
import type { ServiceName } from './service-table.ts';

/** What the commands work with. */
export interface RestServices {
  readonly accounts: Accounts;
  readonly messages: Messages;
  readonly mailbox: Mailbox;
  readonly groups: Groups;
  readonly groupMessages: GroupMessages;
  readonly presence: Presence;
  readonly profiles: Profiles;
  readonly words: Words;
  readonly audience: Audience;
  readonly campaigns: Campaigns;
  readonly clock: Clock;
  /** 0 … 1. */
  readonly random: () => number;
  /** Recent contacts of one page. */
  readonly contactsPerPage: number;
}

/** One call of a command, by an administrator of the app. */
export interface Call<Body> {
  readonly app: AppSettings;
  readonly admin: Account;
  readonly body: Body;
  readonly origin: CallbackOrigin;
  /** When the answer has to be there; what comes later is not waited for. */
  readonly deadline: AbortSignal;
}

/** Which error a wrong field is: one for all, or by what is wrong (`otherwise` for the rest). */
type FieldError = ImErrorName | ({ readonly otherwise: ImErrorName } & Partial<Record<Problem, ImErrorName>>);

/** Since when the command is in the documentation that we follow. */
export type Generation = '2018' | '2020' | '2021';

interface CommandFacts {
  readonly service: ServiceName;
  readonly name: string;
  readonly permission: Permission;
  readonly generation: Generation;
  /** One line for people. */
  readonly summary: string;
  /** What a caller should know besides. */
  readonly notes?: string;
  /** Calls a second, as a multiple of the app's `im.commandPerSec` (API reference §1.3). */
  readonly rate: number;
  /** Later names of fields, each with the one that it stands for. */
  readonly aliases?: Readonly<Record<string, string>>;
}

/** A row of the table of commands: routing, checks, limits, OpenAPI and the reference are made from it. */
export interface Command extends CommandFacts {
  readonly request: SchemaNode;
  readonly response: SchemaNode;
  /** Errors that it may answer with besides those that any command may. */
  readonly errors: readonly ImErrorName[];
  /** Checks the body, then does it. Rejects only when the database does. */
  run(call: Call<Readonly<Record<string, unknown>>>, services: RestServices): Promise<CommandResult>;
}

interface CommandRow<Request extends TObject> extends CommandFacts {
  readonly request: Request;
  readonly response: TObject;
  /** Errors of fields that have one of their own; the others are INVALID_FIELD. */
  readonly fieldErrors?: Readonly<Record<string, FieldError>>;
  /** What `handle` may answer with. */
  readonly errors?: readonly ImErrorName[];
  handle(call: Call<Static<Request>>, services: RestServices): Promise<CommandResult>;
}

/** Makes a row whose handler gets a body of the schema's type. */
export function defineCommand<Request extends TObject>(row: CommandRow<Request>): Command {
  const { request, response, fieldErrors = {}, errors = [], handle, ...facts } = row;
  const node = request as SchemaNode;
  return {
    ...facts,
    request: node,
    response: response as SchemaNode,
    errors: [...new Set([...Object.values(fieldErrors).flatMap(errorsOf), ...errors])],
    async run(call, services) {
      const named = withoutAliases(call.body, row.aliases ?? {});
      if (!named.ok) return named;
      const fault = findFault(node, named.body);
      if (fault !== undefined) {
        const { field, reason, allowed } = fault;
        const error = errorOf(fieldErrors[fault.top], fault.problem);
        return { ok: false, error, field, reason, ...(allowed === undefined ? {} : { allowed }) };
      }
      return await handle({ ...call, body: named.body as Static<Request> }, services);
    },
  };
}

function withoutAliases(
  body: Readonly<Record<string, unknown>>,
  aliases: Readonly<Record<string, string>>,
): { ok: true; body: Readonly<Record<string, unknown>> } | ImRefusal {
  let renamed = body;
  for (const [alias, name] of Object.entries(aliases)) {
    if (!Object.hasOwn(body, alias)) continue;
    if (Object.hasOwn(body, name) && body[name] !== body[alias]) {
      return { ok: false, error: 'INVALID_FIELD', field: alias, reason: `differs from ${name}, which means the same` };
    }
    renamed = { ...renamed, [name]: body[alias] };
  }
  return { ok: true, body: renamed };
}

function errorOf(error: FieldError | undefined, problem: Problem): ImErrorName {
  if (error === undefined) return 'INVALID_FIELD';
  return typeof error === 'string' ? error : (error[problem] ?? error.otherwise);
}

function errorsOf(error: FieldError): ImErrorName[] {
  return typeof error === 'string' ? [error] : Object.values(error);
}
