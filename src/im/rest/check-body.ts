import { fitsUtf8, parseAccountId } from '../../wire/index.ts';
import { checkGroupIdForm } from '../groups/check-fields.ts';

/** The part of JSON Schema that our request schemas use. */
export interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly enum?: readonly (string | number)[];
  readonly 'x-max-bytes'?: number;
  readonly 'x-account'?: true;
  readonly 'x-group-id'?: true;
  readonly 'x-any-text'?: true;
  readonly 'x-opaque'?: true;
}

/**
 * What kind of wrong it is: services have numbers of their own for some. `item`: within a list, which is right as such.
 */
export type Problem = 'missing' | 'type' | 'value' | 'empty' | 'many' | 'item';

export interface BodyFault {
  /** Path of the field: `CheckItem[3].UserID`. */
  readonly field: string;
  /** The field of the body that it is in. */
  readonly top: string;
  readonly problem: Problem;
  readonly reason: string;
  readonly allowed?: string;
}

type NodeFault = Omit<BodyFault, 'top'>;

/**
 * The first thing that is wrong with a request, in the order of the schema; undefined: it is of the schema's type. Fields that
 * the schema does not name are let through: callers are newer than we, or send what only others need. Total: any JSON value.
 */
export function findFault(schema: SchemaNode, body: Readonly<Record<string, unknown>>): BodyFault | undefined {
  for (const [name, node] of Object.entries(schema.properties ?? {})) {
    if (!Object.hasOwn(body, name)) {
      if (!(schema.required ?? []).includes(name)) continue;
      return { field: name, top: name, problem: 'missing', reason: 'is missing', ...allowedOf(node) };
    }
    const fault = faultOf(node, body[name], name);
    if (fault === undefined) continue;
    return { ...fault, top: name, problem: fault.field === name ? fault.problem : 'item' };
  }
  return undefined;
}

function faultOf(node: SchemaNode, value: unknown, field: string): NodeFault | undefined {
  if (node['x-opaque'] === true) return undefined;
  switch (node.type) {
    case 'object':
      return objectFault(node, value, field);
    case 'array':
      return arrayFault(node, value, field);
    case 'string':
      return stringFault(node, value, field);
    case 'integer':
      return integerFault(node, value, field);
    default:
      return undefined;
  }
}

function objectFault(node: SchemaNode, value: unknown, field: string): NodeFault | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { field, problem: 'type', reason: 'must be an object' };
  }
  const fault = findFault(node, value as Record<string, unknown>);
  if (fault === undefined) return undefined;
  const { top: _, ...rest } = fault;
  return { ...rest, field: `${field}.${fault.field}` };
}

function arrayFault(node: SchemaNode, value: unknown, field: string): NodeFault | undefined {
  const allowed = allowedOf(node);
  if (!Array.isArray(value)) return { field, problem: 'type', reason: 'must be an array', ...allowed };
  const { minItems = 0, maxItems = Number.POSITIVE_INFINITY, items } = node;
  if (value.length < minItems) return { field, problem: 'empty', reason: 'must not be empty', ...allowed };
  if (value.length > maxItems) return { field, problem: 'many', reason: `has ${value.length} entries`, ...allowed };
  if (items === undefined) return undefined;
  for (const [i, item] of value.entries()) {
    const fault = faultOf(items, item, `${field}[${i}]`);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function stringFault(node: SchemaNode, value: unknown, field: string): NodeFault | undefined {
  const allowed = allowedOf(node);
  if (typeof value !== 'string') return { field, problem: 'type', reason: 'must be a string', ...allowed };
  const fault = (reason: string): NodeFault => ({ field, problem: 'value', reason, ...allowed });
  if (node.enum !== undefined) return node.enum.includes(value) ? undefined : fault('has a value that there is not');
  if (node['x-account'] === true) {
    const parsed = parseAccountId(value);
    return parsed.ok ? undefined : fault(parsed.reason);
  }
  if (node['x-group-id'] === true) {
    const refusal = checkGroupIdForm(value);
    return refusal === undefined ? undefined : fault(refusal.reason ?? '');
  }
  if (value.length < (node.minLength ?? 0)) return fault('must not be empty');
  const maxBytes = node['x-max-bytes'];
  if (maxBytes !== undefined && !fitsUtf8(value, maxBytes)) return fault('is too long');
  // What a database cannot hold.
  const isStorable = node['x-any-text'] === true || (value.isWellFormed() && !value.includes('\0'));
  if (!isStorable) return fault('must be well-formed Unicode without U+0000');
  return undefined;
}

function integerFault(node: SchemaNode, value: unknown, field: string): NodeFault | undefined {
  const allowed = allowedOf(node);
  if (!Number.isSafeInteger(value)) return { field, problem: 'type', reason: 'must be an integer', ...allowed };
  const number = value as number;
  if (node.enum !== undefined) {
    if (node.enum.includes(number)) return undefined;
    return { field, problem: 'value', reason: 'has a value that there is not', ...allowed };
  }
  if (number < (node.minimum ?? number) || number > (node.maximum ?? number)) {
    return { field, problem: 'value', reason: 'is out of range', ...allowed };
  }
  return undefined;
}

/** What would be right, in words; also for the reference. */
export function describeAllowed(node: SchemaNode): string | undefined {
  if (node.enum !== undefined) return node.enum.join(', ');
  if (node.type === 'array') {
    const { minItems = 0, maxItems, items } = node;
    const some = items?.enum === undefined ? '' : ` of ${items.enum.join(', ')}`;
    if (maxItems === undefined) return minItems === 0 ? undefined : `${minItems} or more entries`;
    return `${minItems} … ${maxItems} entries${some}`;
  }
  if (node['x-account'] === true) return '1 … 32 bytes of UTF-8';
  if (node['x-group-id'] === true) return '1 … 48 bytes of printable ASCII';
  const maxBytes = node['x-max-bytes'];
  if (maxBytes !== undefined) return `${node.minLength === 1 ? '1 … ' : 'at most '}${maxBytes} bytes of UTF-8`;
  if (node.type !== 'integer' || node.minimum === undefined || node.maximum === undefined) return undefined;
  return node.maximum === Number.MAX_SAFE_INTEGER ? `${node.minimum} or more` : `${node.minimum} … ${node.maximum}`;
}

function allowedOf(node: SchemaNode): { allowed?: string } {
  const allowed = describeAllowed(node);
  return allowed === undefined ? {} : { allowed };
}
