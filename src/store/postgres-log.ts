import type { Readable } from 'node:stream';

/** The newest lines that a child process printed; long lines are cut. */
export interface LineCollector {
  /** At most 20, oldest first. */
  recent(): string[];
}

const maxLines = 20;
const maxLineLength = 2_000;

/** Reads a stream by lines until it ends, and tells each to `onLine`. */
export function collectLines(stream: Readable, onLine: (line: string) => void = () => {}): LineCollector {
  const lines: string[] = [];
  let rest = '';
  const add = (line: string) => {
    if (line.trim() === '') return;
    lines.push(line);
    if (lines.length > maxLines) lines.shift();
    onLine(line);
  };
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n');
    rest = (parts.pop() ?? '').slice(0, maxLineLength);
    for (const part of parts) add(part.slice(0, maxLineLength));
  });
  stream.on('end', () => add(rest));
  // The process is gone: its end is reported elsewhere.
  stream.on('error', () => {});
  return { recent: () => [...lines] };
}
