import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import type { TSchema } from 'typebox';
import type { Finding, SchemaNode } from './check.ts';
import type { Path } from './problem.ts';
import { readFailure } from './yaml-file.ts';

const maxSecretBytes = 65_536;

export interface ResolvedSecrets {
  /** The tree with each `xFile` replaced by `x`; the input is not changed. */
  value: unknown;
  /** Which file gave which field, or should have: a file that cannot be read has its finding. */
  files: { path: Path; file: string }[];
  findings: Finding[];
}

/**
 * Reads the secrets that are given as files. The end of the last line is dropped; where the field may be a list, each
 * line is an entry. Also sees that every other file named (`certFile`, …) can be opened.
 */
export function resolveSecretFiles(schema: TSchema, tree: unknown): ResolvedSecrets {
  const files: ResolvedSecrets['files'] = [];
  const findings: Finding[] = [];
  return { value: walk(schema, tree, []), files, findings };

  function walk(node: SchemaNode, value: unknown, path: Path): unknown {
    if (Array.isArray(value)) {
      const items = node.items ?? node.anyOf?.find((branch) => branch.items !== undefined)?.items;
      return items === undefined ? value : value.map((item, index) => walk(items, item, [...path, index]));
    }
    if (typeof value !== 'object' || value === null) return value;
    const properties = node.properties ?? node.anyOf?.find((branch) => branch.properties !== undefined)?.properties;
    if (properties === undefined) return value;
    const result: Record<string, unknown> = {};
    for (const [name, child] of Object.entries(value)) {
      const property = Object.hasOwn(properties, name) ? properties[name] : undefined;
      const target = name.endsWith('File') ? name.slice(0, -'File'.length) : undefined;
      const secret = target === undefined ? undefined : properties[target];
      const here = [...path, name];
      if (property === undefined || child === null) define(result, name, child);
      else if (target === undefined || typeof child !== 'string' || child === '')
        define(result, name, walk(property, child, here));
      else if (secret?.secret === undefined) {
        const reason = unreadable(child);
        if (reason !== undefined) findings.push({ path: here, reason: `${child} ${reason}` });
        define(result, name, child);
      } else if (((value as Record<string, unknown>)[target] ?? undefined) !== undefined) {
        findings.push({ path: here, reason: `excludes ${target}: give one of the two` });
      } else {
        const read = readSecretFile(child, secret);
        if (read.ok) {
          define(result, target, read.value);
        } else findings.push({ path: here, reason: `${child} ${read.reason}` });
        files.push({ path: [...path, target], file: child });
      }
    }
    return result;
  }
}

/** Sets a field by definition, so that a field named `__proto__` stays a field. */
function define(target: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, writable: true, configurable: true });
}

/**
 * Reads one secret from a file, without the line ends behind it. Where the schema may also be a list, several lines are
 * one.
 */
export function readSecretFile(
  file: string,
  node: SchemaNode,
): { ok: true; value: unknown } | { ok: false; reason: string } {
  try {
    if (statSync(file).size > maxSecretBytes) return { ok: false, reason: `is larger than ${maxSecretBytes} bytes` };
    const text = readFileSync(file, 'utf8').replace(/(\r?\n)+$/, '');
    if (text === '') return { ok: false, reason: 'is empty' };
    const lines = text.split(/\r?\n/);
    const mayBeList = node.anyOf?.some((branch) => branch.items !== undefined) ?? false;
    return { ok: true, value: mayBeList && lines.length > 1 ? lines : text };
  } catch (cause) {
    return { ok: false, reason: readFailure(cause) };
  }
}

function unreadable(file: string): string | undefined {
  try {
    closeSync(openSync(file, 'r'));
    return statSync(file).isDirectory() ? 'is a folder, not a file' : undefined;
  } catch (cause) {
    return readFailure(cause);
  }
}
