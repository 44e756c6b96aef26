import { closeSync, openSync, readSync } from 'node:fs';
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Path, Problem } from './problem.ts';

const maxFileBytes = 1_048_576;
const maxAliases = 100;

/** Line and column, from 1. */
export interface Position {
  line: number;
  column: number;
}

export interface YamlFile {
  /** How problems call it. */
  name: string;
  /** What the file says, as plain data; a map, empty for an empty file. */
  value: object;
  /** Where a field is written, or the nearest one around it that is. */
  locate(path: Path): Position | undefined;
  /** Is the field itself written in the file? */
  has(path: Path): boolean;
}

/** Reads a configuration file, without looking at what the fields mean. */
export function readYamlFile(file: string): { ok: true; value: YamlFile } | { ok: false; problems: Problem[] } {
  const text = readText(file);
  if (typeof text !== 'string') return { ok: false, problems: [{ path: '', at: file, reason: text.reason }] };
  return parseYaml(text, file);
}

/** Reads the text of a configuration file; `name` is how problems call it. */
export function parseYaml(
  text: string,
  name: string,
): { ok: true; value: YamlFile } | { ok: false; problems: Problem[] } {
  const lineCounter = new LineCounter();
  // Errors are collected, not thrown; a tag that is not understood is only a warning there, here it stops.
  const document = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: 'error', uniqueKeys: true });
  const problem = (reason: string, offset?: number): Problem => {
    const { line, col } = lineCounter.linePos(offset ?? 0);
    return { path: '', at: offset === undefined ? name : `${name}:${line}:${col}`, reason };
  };
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return { ok: false, problems: faults.map((fault) => problem(yamlReason(fault.code, fault.message), fault.pos[0])) };
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: maxAliases }) ?? {};
  } catch (cause) {
    const excessive = cause instanceof ReferenceError && cause.message.includes('Excessive alias count');
    return { ok: false, problems: [problem(excessive ? 'its aliases multiply beyond reason' : String(cause))] };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return {
      ok: false,
      problems: [problem('must be a map of fields, such as `data: ./data`', document.contents?.range[0])],
    };
  }
  return {
    ok: true,
    value: {
      name,
      value,
      has: (path) => document.getIn(path) !== undefined,
      locate: (path) => {
        const offset = offsetOf(document, path);
        if (offset === undefined) return undefined;
        const { line, col } = lineCounter.linePos(offset);
        return { line, column: col };
      },
    },
  };
}

function yamlReason(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'the field is given twice';
  if (code === 'MULTIPLE_DOCS') return 'holds several documents: only one is allowed';
  return message.charAt(0).toLowerCase() + message.slice(1);
}

/** Where the field's name is written; for a list entry, where the entry is. Falls back to what is around it. */
function offsetOf(document: Document.Parsed, path: Path): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => (isScalar(key) ? String(key.value) : key) === step);
      if (pair === undefined) break;
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      if (!isNode(node)) break;
      offset = node.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}

function readText(file: string): string | { reason: string } {
  let handle: number;
  try {
    handle = openSync(file, 'r');
  } catch (cause) {
    return { reason: readFailure(cause) };
  }
  try {
    const bytes = Buffer.alloc(maxFileBytes + 1);
    let length = 0;
    for (;;) {
      const read = readSync(handle, bytes, length, bytes.length - length, null);
      length += read;
      if (read === 0 || length === bytes.length) break;
    }
    if (length > maxFileBytes) return { reason: `is larger than ${maxFileBytes} bytes` };
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length));
  } catch (cause) {
    return { reason: cause instanceof TypeError ? 'is not UTF-8 text' : readFailure(cause) };
  } finally {
    closeSync(handle);
  }
}

/** Why a file could not be read, in words. */
export function readFailure(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const words: Record<string, string> = {
    ENOENT: 'does not exist',
    EACCES: 'may not be read by this account',
    EPERM: 'may not be read by this account',
    EISDIR: 'is a folder, not a file',
    ENOTDIR: 'lies below something that is no folder',
  };
  return words[code] ?? `cannot be read (${code || String(cause)})`;
}
