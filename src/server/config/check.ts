import type { TSchema } from 'typebox';
import Value from 'typebox/value';
import { nearestName, type Path } from './problem.ts';

/**
 * Checks a value against a schema, fills defaults, and says what is wrong in words. TypeBox decides whether a single
 * value is right; maps, lists and unions are walked here because its own messages stop at eight, name no neighbours
 * and say of a union only that nothing matched.
 */

/** What of a TypeBox schema matters here. */
export interface SchemaNode extends TSchema {
  type?: string | undefined;
  title?: string | undefined;
  description?: string | undefined;
  default?: unknown;
  secret?: true | 'url' | undefined;
  properties?: Record<string, SchemaNode> | undefined;
  required?: string[] | undefined;
  items?: SchemaNode | undefined;
  anyOf?: SchemaNode[] | undefined;
  const?: unknown;
  minimum?: number | undefined;
  maximum?: number | undefined;
  minLength?: number | undefined;
  maxLength?: number | undefined;
  minItems?: number | undefined;
  maxItems?: number | undefined;
}

/** Something wrong at a path. `onName`: it is the field's name that is wrong, not its value. */
export interface Finding {
  path: Path;
  reason: string;
  allowed?: string;
  nearest?: string;
  onName?: true;
}

interface Place {
  path: Path;
  /** Description of the nearest field around, for values that have none of their own. */
  description: string | undefined;
  secret: boolean;
}

/**
 * Gives the value with defaults filled, and what is wrong with it. Whatever is wrong is left out of the value, so
 * without findings it is of the schema's type, and with findings of that type with gaps.
 * An empty value (YAML `limits:`) counts as not given. The input is not changed.
 */
export function checkValue(schema: TSchema, value: unknown, path: Path = []): { value: unknown; findings: Finding[] } {
  const findings: Finding[] = [];
  const checked = check(schema, value, { path, description: undefined, secret: false }, findings);
  return { value: checked, findings };
}

function check(node: SchemaNode, given: unknown, around: Place, findings: Finding[]): unknown {
  const place: Place = {
    path: around.path,
    description: node.description ?? around.description,
    secret: around.secret || node.secret !== undefined,
  };
  const value = given === undefined || given === null ? structuredClone(node.default) : given;
  if (value === undefined) {
    findings.push({ path: place.path, reason: 'is missing', allowed: describe(node) });
    return undefined;
  }
  if (node.anyOf !== undefined) return checkUnion(node, node.anyOf, value, place, findings);
  if (kindOf(value) === 'map' && node.type === 'object') return checkMap(node, value as object, place, findings);
  if (Array.isArray(value) && node.type === 'array') return checkList(node, value, place, findings);
  const wrong = misfit(node, value, place);
  if (wrong === undefined) return value;
  findings.push({ path: place.path, ...wrong });
  return undefined;
}

function checkMap(node: SchemaNode, value: object, place: Place, findings: Finding[]): unknown {
  const properties = node.properties ?? {};
  const given = new Map(Object.entries(value));
  const entries: [string, unknown][] = [];
  for (const name of given.keys()) {
    if (Object.hasOwn(properties, name)) continue;
    const nearest = nearestName(name, Object.keys(properties));
    findings.push({
      path: [...place.path, name],
      reason: 'is not a known field',
      ...(nearest === undefined ? { allowed: Object.keys(properties).join(', ') } : { nearest }),
      onName: true,
    });
  }
  for (const [name, property] of Object.entries(properties)) {
    const child = given.get(name) ?? undefined;
    // Optional fields stay away: a default in an optional place (a route's own timeouts) belongs to another place.
    if (child === undefined && !node.required?.includes(name)) continue;
    entries.push([name, check(property, child, { ...place, path: [...place.path, name] }, findings)]);
  }
  return Object.fromEntries(entries);
}

function checkList(node: SchemaNode, value: unknown[], place: Place, findings: Finding[]): unknown {
  const { minItems = 0, maxItems = Number.POSITIVE_INFINITY, items = {} } = node;
  if (value.length < minItems || value.length > maxItems) {
    const reason = value.length < minItems ? 'has too few entries' : 'has too many entries';
    findings.push({ path: place.path, reason, allowed: describe(node) });
  }
  return value
    .slice(0, Math.min(value.length, maxItems))
    .map((item, index) => check(items, item, { ...place, path: [...place.path, index] }, findings));
}

function checkUnion(
  node: SchemaNode,
  branches: SchemaNode[],
  value: unknown,
  place: Place,
  findings: Finding[],
): unknown {
  const candidates = branches.filter((branch) => branch.const === undefined && kindOf(value) === kindOfSchema(branch));
  for (const branch of branches) {
    if (branch.const === undefined ? !candidates.includes(branch) : branch.const !== value) continue;
    const tried: Finding[] = [];
    const checked = check(branch, value, place, tried);
    if (tried.length === 0) return checked;
  }
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1) {
    const inside: Finding[] = [];
    const checked = check(only, value, place, inside);
    // What is wrong with the value itself is told with all alternatives, what is wrong inside it as it is.
    const itself = (finding: Finding) => finding.path.length === place.path.length;
    findings.push(
      ...inside.map((one) => (itself(one) ? { ...one, ...suggest(branches, value), allowed: describe(node) } : one)),
    );
    return checked;
  }
  const reason =
    candidates.length === 0 && !branches.some((branch) => typeof branch.const === typeof value)
      ? wrongKind(value, place, branches)
      : `${show(value, place)} is none of the allowed values`;
  findings.push({ path: place.path, reason, allowed: describe(node), ...suggest(branches, value) });
  return undefined;
}

function suggest(branches: SchemaNode[], value: unknown): { nearest?: string } {
  const words = branches.flatMap((branch) => (typeof branch.const === 'string' ? [branch.const] : []));
  const nearest = typeof value === 'string' && value.length <= 32 ? nearestName(value, words) : undefined;
  return nearest === undefined ? {} : { nearest };
}

/** Why a single value does not fit, and what would; undefined when it does. */
function misfit(node: SchemaNode, value: unknown, place: Place): Pick<Finding, 'reason' | 'allowed'> | undefined {
  const [error] = Value.Errors(node, value);
  if (error === undefined) return undefined;
  const shown = show(value, place);
  const allowed = describe(node);
  switch (error.keyword) {
    case 'type':
      return { reason: wrongKind(value, place, [node]), allowed };
    case 'minimum':
      return { reason: `${shown} is too small`, allowed };
    case 'maximum':
      return { reason: `${shown} is too large`, allowed };
    case 'minLength':
      return { reason: value === '' ? 'is empty' : `${shown} is too short`, allowed };
    case 'maxLength':
      return { reason: `${shown} is too long`, allowed };
    case 'pattern':
      // A pattern says nothing to most people; its words, or those of the field, do.
      return {
        reason: `${shown} has not the right form`,
        allowed: node.title ?? place.description?.replace(/\.$/, '') ?? allowed,
      };
    case '~refine':
      return { reason: `${shown} ${error.params.message}`, allowed };
    default:
      return { reason: `${shown} is not allowed`, allowed };
  }
}

function wrongKind(value: unknown, place: Place, wanted: SchemaNode[]): string {
  const kind = kindOf(value);
  if (kind === 'map' || kind === 'list') return `is a ${kind}`;
  if (kind === 'number' && wanted.some(({ type }) => type === 'integer'))
    return `${show(value, place)} is not a whole number`;
  const shown = `${show(value, place)} is ${kind === 'switch' ? 'no text' : `a ${kind}`}`;
  const plainText = wanted.some(
    (node) => node.type === 'string' && node.const === undefined && node.title === undefined,
  );
  return kind !== 'text' && plainText ? `${shown}: put it in quotes` : shown;
}

/** The value as it may be shown: not at all for a secret, cut when long. */
function show(value: unknown, place: Place): string {
  if (place.secret) return 'the value';
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 80 ? `${json.slice(0, 77)}…` : json;
}

type Kind = 'map' | 'list' | 'text' | 'number' | 'switch';

function kindOf(value: unknown): Kind | undefined {
  if (Array.isArray(value)) return 'list';
  switch (typeof value) {
    case 'object':
      return 'map';
    case 'string':
      return 'text';
    case 'number':
    case 'bigint':
      return 'number';
    case 'boolean':
      return 'switch';
    default:
      return undefined;
  }
}

function kindOfSchema(node: SchemaNode): Kind | undefined {
  const kinds: Record<string, Kind> = {
    object: 'map',
    array: 'list',
    string: 'text',
    integer: 'number',
    number: 'number',
    boolean: 'switch',
  };
  return kinds[node.type ?? ''];
}

/** What a schema allows, in words: `a whole number from 60 to 3600`, `optional or required`. */
export function describe(node: SchemaNode): string {
  if (node.anyOf !== undefined) {
    const parts = node.anyOf.map(describe);
    return [parts.slice(0, -1).join(', '), parts.at(-1)].filter((part) => part !== '').join(' or ');
  }
  if (node.const !== undefined) return String(node.const);
  if (node.title !== undefined) return node.title;
  switch (node.type) {
    case 'boolean':
      return 'true or false';
    case 'integer':
      return `a whole number${range(node.minimum, node.maximum)}`;
    case 'string':
      return `a text${range(node.minLength === 1 ? undefined : node.minLength, node.maxLength, ' characters')}`;
    case 'array':
      return `a list${range(node.minItems, node.maxItems, ' entries')}: ${describe(node.items ?? {})}`;
    case 'object':
      return 'a map';
    default:
      return 'any value';
  }
}

function range(least: number | undefined, most: number | undefined, unit = ''): string {
  if (least !== undefined && most !== undefined)
    return unit === '' ? ` from ${least} to ${most}` : ` of ${least} to ${most}${unit}`;
  if (most !== undefined) return ` of at most ${most}${unit}`;
  return least === undefined ? '' : ` of at least ${least}${unit}`;
}
