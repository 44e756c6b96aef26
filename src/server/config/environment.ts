import type { TSchema } from 'typebox';
import { parseDocument } from 'yaml';
import type { Finding, SchemaNode } from './check.ts';
import { type Field, listFields, variableName } from './fields.ts';
import { nearestName, type Path } from './problem.ts';

/** The variable that names the configuration file; the only one that is no field. */
export const fileVariable = 'QALGATE_CONFIG';

export interface Overlay {
  /** The tree with the variables' values in place; the input is not changed. */
  value: unknown;
  /** Which variable set which path, in the order applied. */
  assigned: { path: Path; variable: string }[];
  findings: (Finding & { variable: string })[];
}

/**
 * Lays `QALGATE_*` variables over a configuration tree. A field that can only be a text takes the value as it stands;
 * any other reads it as YAML, so that lists and maps are written `[a, b]` and `{ a: 1 }`. An empty variable counts as
 * not set. Maps and lists that hold further fields are applied before those.
 */
export function overlayEnvironment(
  schema: TSchema,
  tree: unknown,
  env: Readonly<Record<string, string | undefined>>,
): Overlay {
  const fields = listFields(schema);
  const findings: Overlay['findings'] = [];
  const assigned: Overlay['assigned'] = [];
  const found: { path: Path; variable: string; value: unknown }[] = [];
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('QALGATE_') || variable === fileVariable || text === undefined || text === '') continue;
    const match = matchVariable(fields, variable);
    if (match === undefined) {
      const nearest = nearestName(variable, [...fields.map(variableName), fileVariable]);
      findings.push({
        variable,
        path: [],
        reason: 'is not a known variable',
        ...(nearest === undefined ? {} : { nearest }),
      });
      continue;
    }
    const read = readValue(match.field.node, text);
    if (read.ok) found.push({ path: match.path, variable, value: read.value });
    else findings.push({ variable, path: match.path, reason: read.reason });
  }
  found.sort((a, b) => a.path.length - b.path.length || compare(a.path, b.path));
  let value = tree;
  for (const { path, variable, value: leaf } of found) {
    const set = setAt(value, path, leaf);
    if (set.ok) {
      value = set.value;
      assigned.push({ path, variable });
    } else findings.push({ variable, path, reason: set.reason });
  }
  return { value, assigned, findings };
}

function compare(a: Path, b: Path): number {
  for (const [index, step] of a.entries()) {
    const other = b[index];
    if (step === other) continue;
    return typeof step === 'number' && typeof other === 'number' ? step - other : String(step) < String(other) ? -1 : 1;
  }
  return 0;
}

function matchVariable(fields: Field[], variable: string): { field: Field; path: Path } | undefined {
  for (const field of fields) {
    const pattern = new RegExp(`^${variableName(field).replaceAll('<n>', '(0|[1-9][0-9]{0,3})')}$`);
    const match = pattern.exec(variable);
    if (match === null) continue;
    const indexes = match.slice(1).map(Number);
    return { field, path: field.steps.map((step) => (step === '[]' ? (indexes.shift() ?? 0) : step)) };
  }
  return undefined;
}

function readValue(node: SchemaNode, text: string): { ok: true; value: unknown } | { ok: false; reason: string } {
  const takesText =
    node.type === 'string' || node.anyOf?.some((branch) => branch.type === 'string' && branch.const === undefined);
  const onlyText = node.type === 'string' || (takesText && !/^\s*(\[|\{|false\s*$)/.test(text));
  if (onlyText) return { ok: true, value: text };
  const document = parseDocument(text, { logLevel: 'error' });
  if (document.errors.length > 0) return { ok: false, reason: 'cannot be read as YAML' };
  try {
    return { ok: true, value: document.toJS({ maxAliasCount: 0 }) };
  } catch {
    return { ok: false, reason: 'cannot be read as YAML: no aliases here' };
  }
}

function setAt(tree: unknown, path: Path, leaf: unknown): { ok: true; value: unknown } | { ok: false; reason: string } {
  const [step, ...rest] = path;
  if (step === undefined) return { ok: true, value: leaf };
  const container = tree ?? (typeof step === 'number' ? [] : {});
  if (typeof step === 'number') {
    if (!Array.isArray(container)) return { ok: false, reason: 'cannot be set inside something that is no list' };
    if (step > container.length) return { ok: false, reason: `leaves a gap: the list has ${container.length} entries` };
    const inner = setAt(container[step], rest, leaf);
    return inner.ok ? { ok: true, value: container.toSpliced(step, 1, inner.value) } : inner;
  }
  if (typeof container !== 'object' || Array.isArray(container)) {
    return { ok: false, reason: 'cannot be set inside a single value: write the field around it as a map' };
  }
  const inner = setAt((container as Record<string, unknown>)[step], rest, leaf);
  return inner.ok ? { ok: true, value: { ...container, [step]: inner.value } } : inner;
}
