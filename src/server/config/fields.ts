import type { TSchema } from 'typebox';
import type { SchemaNode } from './check.ts';

/** One field of the configuration, by its place in the schema. */
export interface Field {
  /** Names from the top; `'[]'` stands for any entry of a list. */
  steps: string[];
  node: SchemaNode;
  /** Must it be given, when no default fills it? */
  required: boolean;
}

const listEntry = '[]';

/** All fields below a schema, maps and lists included, in the order written. */
export function listFields(schema: TSchema): Field[] {
  const walk = (node: SchemaNode, steps: string[]): Field[] => [
    ...Object.entries(node.properties ?? {}).flatMap(([name, property]) => {
      const field = { steps: [...steps, name], node: property, required: node.required?.includes(name) ?? false };
      return [field, ...walk(property, field.steps)];
    }),
    ...(node.items === undefined ? [] : walk(node.items, [...steps, listEntry])),
    ...(node.anyOf ?? []).flatMap((branch) => walk(branch, steps)),
  ];
  return walk(schema, []);
}

/** `apps[].access.routes[].host` */
export function fieldName(field: Field): string {
  return field.steps.join('.').replaceAll(`.${listEntry}`, listEntry);
}

/** `QALGATE_APPS_<n>_ACCESS_ROUTES_<n>_HOST`, where `<n>` is an index from 0. */
export function variableName(field: Field): string {
  const words = field.steps.map((step) =>
    step === listEntry ? '<n>' : step.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase(),
  );
  return `QALGATE_${words.join('_')}`;
}

/** Holds a value of its own, rather than further named fields? */
export function isLeaf(field: Field): boolean {
  return field.node.type !== 'object' && field.node.items?.type !== 'object';
}
