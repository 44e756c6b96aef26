import { type ImErrorName, imErrorCatalogue } from '../../wire/index.ts';
import { describeAllowed, type SchemaNode } from './check-body.ts';
import type { Command } from './command.ts';
import { errorCode, services } from './service-table.ts';

/** What the reference pages and OpenAPI tell of the table of commands. Pure. */

export interface FieldFacts {
  /** `ResultItem[].UserID` */
  readonly name: string;
  readonly type: string;
  readonly isRequired: boolean;
  readonly meaning: string;
}

export interface ErrorFacts {
  readonly code: number;
  readonly name: ImErrorName;
  readonly message: string;
  readonly isRetryable: boolean;
}

/** Errors that any command may answer with. */
const commonErrors: readonly ImErrorName[] = [
  'NOT_JSON',
  'INVALID_FIELD',
  'REQUEST_TOO_LONG',
  'NOT_POST',
  'NO_SUCH_COMMAND',
  'NO_SDKAPPID',
  'APP_DISABLED',
  'APP_UNKNOWN',
  'NO_CREDENTIALS',
  'USERSIG_EMPTY',
  'USERSIG_MALFORMED',
  'USERSIG_IDENTIFIER_MISMATCH',
  'USERSIG_APP_MISMATCH',
  'USERSIG_KEY_MISMATCH',
  'USERSIG_EXPIRED',
  'USERSIG_REVOKED',
  'NOT_ADMINISTRATOR',
  'COMMAND_RATE',
  'APP_RATE',
  'BUSY',
  'TIMED_OUT',
  'DATABASE_UNAVAILABLE',
  'INTERNAL',
];

/** Errors of any command, with the numbers of each service. */
export function commonErrorFacts(): { name: ImErrorName; codes: Record<string, number>; message: string }[] {
  const names = Object.keys(services) as (keyof typeof services)[];
  return commonErrors.map((name) => ({
    name,
    codes: Object.fromEntries(names.map((service) => [service, errorCode(service, name)])),
    message: imErrorCatalogue[name].message,
  }));
}

/** The command's own errors, by number. */
export function errorFacts({ service, errors }: Command): ErrorFacts[] {
  return errors
    .filter((name) => !commonErrors.includes(name))
    .map((name) => {
      const { message, retryable } = imErrorCatalogue[name];
      return { code: errorCode(service, name), name, message, isRetryable: retryable };
    })
    .sort((a, b) => a.code - b.code);
}

/** The fields of a request, later names behind the one that they stand for. */
export function requestFacts({ request, aliases = {} }: Command): FieldFacts[] {
  return fieldFacts(request).flatMap((field) => {
    const later = Object.entries(aliases).filter(([, name]) => name === field.name);
    const same = later.map(([alias, name]) => ({
      ...field,
      name: alias,
      isRequired: false,
      meaning: `The later name of ${name}; one of them is enough.`,
    }));
    return [field, ...same];
  });
}

export function responseFacts({ response }: Command): FieldFacts[] {
  return fieldFacts(response);
}

function fieldFacts(node: SchemaNode, before = ''): FieldFacts[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, field]) => {
    const name = `${before}${key}`;
    const facts = {
      name,
      type: typeOf(field),
      isRequired: (node.required ?? []).includes(key),
      meaning: field.description ?? '',
    };
    if (field.type === 'array') return [facts, ...fieldFacts(field.items ?? {}, `${name}[].`)];
    return [facts, ...fieldFacts(field, `${name}.`)];
  });
}

function typeOf(node: SchemaNode): string {
  const type = node.type === 'array' ? `array of ${node.items?.type ?? 'any'}s` : (node.type ?? 'any');
  const allowed = describeAllowed(node);
  return allowed === undefined ? type : `${type}: ${allowed}`;
}
