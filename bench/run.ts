/**
 * `npm run bench -- [question …] [--quick]`: answers questions of speed by measuring, side by side in one run.
 * Prints the answers; a full run also writes them to docs/benchmarks.md, each in its own section.
 */
import { readFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { benchBefore } from './before.ts';
import { benchC2c } from './c2c.ts';
import { benchCache } from './cache.ts';
import { benchCallbacks } from './callbacks.ts';
import { benchGroups } from './groups.ts';
import { benchIsolation } from './isolation.ts';
import { benchProxy } from './proxy.ts';
import { benchPush } from './push.ts';
import type { Question } from './support/question.ts';

const questions: Record<string, Question> = {
  proxy: benchProxy,
  cache: benchCache,
  c2c: benchC2c,
  groups: benchGroups,
  before: benchBefore,
  callbacks: benchCallbacks,
  isolation: benchIsolation,
  push: benchPush,
};

const page = new URL('../docs/benchmarks.md', import.meta.url);
const preface = `# Benchmarks

<!-- Made by \`npm run bench\`: change bench/, not this page. -->

What is compared is measured in one run, in turns, so that noise of the machine hits all alike: read the ratios, not the
absolute figures.
`;

const begin = (name: string): string => `<!-- begin ${name} -->`;
const end = (name: string): string => `<!-- end ${name} -->`;

function machine(): string {
  const cpus = os.cpus();
  const memoryGib = Math.round(os.totalmem() / 2 ** 30);
  return [
    `${cpus.length} cores (${cpus[0]?.model.trim() ?? 'unknown'})`,
    `${memoryGib} GiB`,
    `${os.type()} ${os.release().split('-')[0]}`,
    `Node ${process.versions.node}`,
    `load average ${(os.loadavg()[0] ?? 0).toFixed(1)} before the run`,
    new Date().toISOString().slice(0, 10),
  ].join(', ');
}

/** Replaces one section of the page, or adds it. */
function withSection(text: string, name: string, section: string): string {
  const whole = `${begin(name)}\n\n${section.trim()}\n\n${end(name)}`;
  const from = text.indexOf(begin(name));
  const to = text.indexOf(end(name));
  if (from < 0 || to < from) return `${text.trimEnd()}\n\n${whole}\n`;
  return text.slice(0, from) + whole + text.slice(to + end(name).length);
}

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const names = positionals.length === 0 ? Object.keys(questions) : positionals;
const unknown = names.find((name) => questions[name] === undefined);
if (unknown !== undefined) {
  console.error(`no benchmark "${unknown}"; there are: ${Object.keys(questions).join(', ')}`);
  process.exit(2);
}

// Leave as after an end in order, so that what was started ends too.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

for (const name of names) {
  const facts = machine();
  const options = { quick: values.quick, progress: (line: string) => console.error(line) };
  const section = `${await (questions[name] as Question)(options)}\n\nMachine: ${facts}.`;
  console.log(section);
  if (values.quick) continue;
  const before = await readFile(page, 'utf8').catch(() => preface);
  await writeFile(page, withSection(before, name, section));
}
