import type { Fault } from './json-value.ts';

/** Checks of single fields of messages. Each gets a value that is JSON; undefined: it is right. */
export type FieldRule = (value: unknown, field: string) => Fault | undefined;

export interface MapRules {
  /** What a receiver cannot do without. */
  readonly required?: Readonly<Record<string, FieldRule>>;
  readonly optional?: Readonly<Record<string, FieldRule>>;
  /** One of these at least. */
  readonly oneOf?: readonly string[];
}

export const text: FieldRule = (value, field) =>
  typeof value === 'string' ? undefined : { field, reason: 'must be a string' };

export const number: FieldRule = (value, field) =>
  typeof value === 'number' ? undefined : { field, reason: 'must be a number' };

export const integer: FieldRule = (value, field) =>
  Number.isSafeInteger(value) ? undefined : { field, reason: 'must be an integer', allowed: '-(2^53 - 1) … 2^53 - 1' };

/** A size, a count. */
export const wholeNumber: FieldRule = (value, field) =>
  Number.isSafeInteger(value) && (value as number) >= 0
    ? undefined
    : { field, reason: 'must be an integer that is not negative', allowed: '0 … 2^53 - 1' };

/** A duration, maybe with a fraction. */
export const duration: FieldRule = (value, field) =>
  typeof value === 'number' && value >= 0 ? undefined : { field, reason: 'must be a number that is not negative' };

export function oneOf(...values: readonly number[]): FieldRule {
  return (value, field) =>
    values.includes(value as number)
      ? undefined
      : { field, reason: 'has a value that there is not', allowed: values.join(', ') };
}

/** A map by its rules; fields that the rules do not name are let through. */
export function map(rules: MapRules): FieldRule {
  return (value, field) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return { field, reason: 'must be an object' };
    }
    return fieldsFault(value as Record<string, unknown>, field, rules);
  };
}

/** A list of such values, one at least. */
export function list(rule: FieldRule, maxItems: number): FieldRule {
  return (value, field) => {
    const allowed = `1 … ${maxItems} of them`;
    if (!Array.isArray(value)) return { field, reason: 'must be an array', allowed };
    if (value.length === 0 || value.length > maxItems) return { field, reason: `has ${value.length} entries`, allowed };
    for (const [i, item] of value.entries()) {
      const fault = rule(item, `${field}[${i}]`);
      if (fault !== undefined) return fault;
    }
    return undefined;
  };
}

function fieldsFault(value: Record<string, unknown>, field: string, rules: MapRules): Fault | undefined {
  for (const [name, rule] of Object.entries(rules.required ?? {})) {
    if (!Object.hasOwn(value, name)) return { field: `${field}.${name}`, reason: 'is missing' };
    const fault = rule(value[name], `${field}.${name}`);
    if (fault !== undefined) return fault;
  }
  for (const [name, rule] of Object.entries(rules.optional ?? {})) {
    if (!Object.hasOwn(value, name)) continue;
    const fault = rule(value[name], `${field}.${name}`);
    if (fault !== undefined) return fault;
  }
  if (rules.oneOf !== undefined && !rules.oneOf.some((name) => Object.hasOwn(value, name))) {
    return { field: `${field}.${rules.oneOf[0]}`, reason: 'is missing', allowed: rules.oneOf.join(' or ') };
  }
  return undefined;
}
