import { Document, isScalar, visit } from 'yaml';
import type { SchemaNode } from './check.ts';
import type { Source } from './load.ts';
import type { Path } from './problem.ts';
import { ConfigSchema, type Settings } from './schema.ts';

const hidden = '[redacted]';

/** The effective configuration as YAML, secrets hidden, behind each value where it came from. */
export function printConfig(settings: Settings, sources: (path: Path) => Source): string {
  const document = new Document(redact(ConfigSchema, settings), { aliasDuplicateObjects: false });
  visit(document, {
    Node(_key, node, ancestors) {
      const empty = !isScalar(node) && 'items' in node && Array.isArray(node.items) && node.items.length === 0;
      const isKey = ancestors.some((one) => typeof one === 'object' && 'key' in one && one.key === node);
      if (isKey || (!isScalar(node) && !empty)) return;
      node.comment = ` ${formatSource(sources(pathOf([...ancestors, node])))}`;
    },
  });
  // An empty list with a comment is printed over three lines; one reads better.
  return document.toString({ lineWidth: 0 }).replaceAll(/\n *\[\]\n *# /g, ' [] # ');
}

function formatSource({ from, variable, secretFile }: Source): string {
  return [variable ?? from, ...(secretFile === undefined ? [] : [`read from ${secretFile}`])].join(', ');
}

/** The steps from the top to the last of a chain of YAML nodes. */
function pathOf(chain: readonly unknown[]): Path {
  return chain.flatMap((node, index): Path => {
    const next = chain[index + 1];
    if (typeof node !== 'object' || node === null) return [];
    if ('key' in node && isScalar(node.key)) return [String(node.key.value)];
    const position = 'items' in node && Array.isArray(node.items) ? node.items.indexOf(next) : -1;
    const inList = next !== undefined && !(typeof next === 'object' && next !== null && 'key' in next);
    return position >= 0 && inList ? [position] : [];
  });
}

/** A copy without what the schema marks as secret. */
export function redact(node: SchemaNode, value: unknown): unknown {
  if (value === undefined || value === null) return value;
  if (node.secret === true) return hidden;
  if (node.secret === 'url') return typeof value === 'string' ? redactUrl(value) : hidden;
  if (Array.isArray(value)) {
    const items = node.items ?? node.anyOf?.find((branch) => branch.items !== undefined)?.items ?? {};
    return value.map((item) => redact(items, item));
  }
  if (typeof value !== 'object') return value;
  const properties = node.properties ?? node.anyOf?.find((branch) => branch.properties !== undefined)?.properties ?? {};
  return Object.fromEntries(
    Object.entries(value).map(([name, child]) => [name, redact(properties[name] ?? {}, child)]),
  );
}

/** A URL without its password, wherever it stands. */
export function redactUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null) return text.includes(':') ? hidden : text;
  const marker = 'redacted-password';
  if (url.password !== '') url.password = marker;
  for (const name of [...url.searchParams.keys()]) {
    if (/password|secret|key$/i.test(name)) url.searchParams.set(name, marker);
  }
  return url.href.replaceAll(marker, hidden);
}
