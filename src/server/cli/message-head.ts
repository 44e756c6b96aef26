import type { RawFields } from '../../cache/index.ts';

/** A request as somebody writes it down. */
export interface WrittenRequest {
  method: string;
  target: string;
  raw: RawFields;
}

/** The same of a response. */
export interface WrittenResponse {
  status: number;
  raw: RawFields;
}

type Read<T> = { ok: true; value: T } | { ok: false; reason: string };

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const requestLine = new RegExp(`^(${token}) (\\S+)(?: HTTP/[0-9](?:\\.[0-9])?)?$`);
const statusLine = /^(?:HTTP\/[0-9](?:\.[0-9])? )?([1-5][0-9]{2})(?: .*)?$/;
const field = new RegExp(`^(${token}):(.*)$`);

/** Reads the head of a request; without a request line it is one for `/` by GET. Bodies are passed over. Pure. */
export function readRequest(parts: readonly string[]): Read<WrittenRequest> {
  const read = readHead(parts, requestLine, 'a request line, such as GET /x');
  if (!read.ok) return read;
  const [, method = 'GET', target = '/'] = read.value.first ?? [];
  return { ok: true, value: { method, target, raw: read.value.raw } };
}

/** Reads the head of a response; without a status line its status is 200. Pure. */
export function readResponse(parts: readonly string[]): Read<WrittenResponse> {
  const read = readHead(parts, statusLine, 'a status line, such as HTTP/1.1 200 OK');
  if (!read.ok) return read;
  return { ok: true, value: { status: Number(read.value.first?.[1] ?? 200), raw: read.value.raw } };
}

/** Every part may have its body: what follows its first empty line. */
function readHead(
  parts: readonly string[],
  firstLine: RegExp,
  what: string,
): Read<{ first: RegExpExecArray | undefined; raw: RawFields }> {
  const lines = parts.flatMap(
    (part) =>
      part
        .replace(/^\s*\n/, '')
        .split(/\r?\n\r?\n/, 1)[0]
        ?.split(/\r?\n/) ?? [],
  );
  const raw: string[] = [];
  let first: RegExpExecArray | undefined;
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    // What is read here is shown on a terminal.
    if (hasControls(line)) return wrong(index, line, 'has control characters');
    const [, name, value = ''] = field.exec(line) ?? [];
    if (name !== undefined) {
      raw.push(name, value.replace(/^[ \t]+|[ \t]+$/g, ''));
      continue;
    }
    const started = first !== undefined || raw.length > 0;
    first ??= (!started && firstLine.exec(line)) || undefined;
    if (first !== undefined && !started) continue;
    return wrong(
      index,
      line,
      started ? 'is no header field, such as Name: value' : `is neither a header field nor ${what}`,
    );
  }
  return { ok: true, value: { first, raw } };
}

function hasControls(text: string): boolean {
  for (const char of text) if ((char < ' ' && char !== '\t') || (char >= '\x7f' && char < '\xa0')) return true;
  return false;
}

function wrong(index: number, line: string, reason: string): { ok: false; reason: string } {
  const shown = JSON.stringify(line.length > 60 ? `${line.slice(0, 60)}…` : line);
  return { ok: false, reason: `line ${index + 1}, ${shown}, ${reason}` };
}
