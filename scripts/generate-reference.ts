import { readFile, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { commands, referencePage } from '../src/im/rest/index.ts';
import { createProgram } from '../src/server/cli/run-cli.ts';
import {
  ConfigSchema,
  describe,
  type Field,
  fieldName,
  isLeaf,
  listFields,
  variableName,
} from '../src/server/config/index.ts';
import { type ErrorEntry, errorCatalogue, type ImErrorEntry, imErrorCatalogue } from '../src/wire/index.ts';

/**
 * Writes the reference pages that are made from the code: `npm run reference`. With `--check` it writes nothing and
 * exits 1 when a page differs.
 */

const notice = '<!-- Made by scripts/generate-reference.ts: change the code, not this page. -->';

/** The pages by path below the project. Pure. */
export function referencePages(): Record<string, string> {
  return {
    'docs/reference/configuration.md': configurationPage(),
    'docs/reference/cli.md': cliPage(),
    'docs/reference/errors.md': errorsPage(),
    'docs/reference/rest.md': referencePage(commands, notice),
  };
}

function configurationPage(): string {
  const fields = listFields(ConfigSchema);
  const sections = fields.filter(({ steps }) => steps.length === 1);
  const single = sections.filter(isLeaf);
  const grouped = sections.filter((field) => !isLeaf(field));
  return [
    '# Configuration',
    notice,
    'One YAML file, named by `--config` or by the environment variable `QALGATE_CONFIG`. Without one, the defaults below hold.\n' +
      'Every field can also be set by an environment variable, which wins over the file. A field that can only be a text takes\n' +
      'the value of its variable as it stands; any other reads it as YAML, so a list is written `[a, b]` and a map `{ a: 1 }`;\n' +
      '`<n>` is the place of a list entry, from 0. An empty variable, like an empty field, counts as not given.',
    'A secret can be read from a file instead: `masterKeyFile` instead of `masterKey`, and so on. Line ends at the end of the\n' +
      'file are dropped; where a list is allowed, each line is an entry. Relative paths start from the working directory.',
    'An unknown or wrong field stops the start. `qalgate config check` lists all that is wrong; `qalgate config print` shows what\n' +
      'holds and where each value came from, secrets hidden.',
    '## General',
    table(single),
    ...grouped.flatMap((section) => [
      `## ${fieldName(section)}`,
      `${section.node.description ?? ''} As a whole: \`${variableName(section)}\`.`,
      table(fields.filter(({ steps }) => steps.length > 1 && steps[0] === section.steps[0])),
    ]),
    '',
  ]
    .join('\n\n')
    .trimEnd()
    .concat('\n');
}

function table(fields: Field[]): string {
  const names = new Set(fields.map(fieldName));
  const rows = fields.map((field) => [
    code(fieldName(field)),
    typeOf(field),
    defaultOf(field, names.has(`${fieldName(field)}File`)),
    code(variableName(field)),
    field.node.description ?? '',
  ]);
  return markdownTable(['field', 'type', 'default', 'environment variable', 'meaning'], rows);
}

function typeOf({ node }: Field): string {
  if (node.items?.type === 'object') return 'a list of maps';
  return describe(node);
}

function defaultOf({ node, required }: Field, orFromFile: boolean): string {
  // An optional field takes no default even where its schema, shared with another place, names one.
  if (!required) return '–';
  if (node.default === undefined) return orFromFile ? 'must be given, or its file' : 'must be given';
  const isEmptyMap = typeof node.default === 'object' && !Array.isArray(node.default);
  return isEmptyMap
    ? 'those of its fields'
    : code(typeof node.default === 'string' ? node.default : JSON.stringify(node.default));
}

function cliPage(): string {
  const printed: string[] = [];
  const print = (text: string) => void printed.push(text);
  const program = createProgram({ env: {}, print, warn: print, readInput: async () => '', helpWidth: 100 });
  const sections = (command: Command, names: string[]): string[] => {
    printed.length = 0;
    command.outputHelp();
    const help = `\`\`\`text\n${printed.join('\n')}\n\`\`\``;
    const children = command.commands.flatMap((child) => sections(child, [...names, child.name()]));
    return [`${'#'.repeat(names.length)} ${names.join(' ')}`, help, ...children];
  };
  const [, ...rest] = sections(program, ['qalgate']);
  return ['# Command line', notice, cliNotes, ...rest, ''].join('\n\n').trimEnd().concat('\n');
}

const cliNotes = [
  'Answers go to standard output, errors to standard error in one sentence each; `--debug` adds the log and the stack.',
  'Commands that work on apps use the database of the running service; when it does not run, they start the embedded',
  'database for as long as they take. A change reaches every running process within a second.',
].join('\n');

function errorsPage(): string {
  const rows = Object.entries<ErrorEntry>(errorCatalogue).map(([name, entry]) => [
    code(name),
    String(entry.status),
    entry.message,
    entry.retryable ? 'yes' : 'no',
    entry.vendorCode === undefined ? '' : String(entry.vendorCode),
  ]);
  const imRows = Object.entries<ImErrorEntry>(imErrorCatalogue).map(([name, entry]) => [
    code(name),
    String(entry.code),
    entry.message,
    entry.retryable ? 'yes' : 'no',
  ]);
  return [
    '# Errors',
    notice,
    'Errors that the access listener and the ops API make themselves. The body is JSON:',
    '```json\n{ "error": { "code": "NO_ROUTE", "message": "no route serves this host and path", "retryable": false, "requestId": "8191" } }\n```',
    'Match on `code`; `message` is for people. `requestId` is the `QAL-Req-Seq-No` of the request, also found in the log. An\n' +
      '`INVALID_FIELD` also names `field`, `reason` and what is `allowed`. Retryable says whether the same request may succeed\n' +
      'when it is repeated unchanged. The vendor number is that of the 2018 service, where it had one.',
    markdownTable(['code', 'status', 'meaning', 'retryable', 'vendor number'], rows),
    '## Messaging',
    'Errors of `/v4` and of the [link](link.md). `/v4` answers with HTTP status 200 and the number in `ErrorCode`; the link with\n' +
      'number and name. `ErrorInfo` and `reason` are for people: they name the field, what is wrong with it, and what is allowed.\n' +
      'For some of them a service of `/v4` has a number of its own.',
    markdownTable(['name', 'number', 'meaning', 'retryable'], imRows),
    '',
  ]
    .join('\n\n')
    .trimEnd()
    .concat('\n');
}

function markdownTable(head: string[], rows: string[][]): string {
  const line = (cells: string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

async function main(): Promise<void> {
  const check = process.argv.includes('--check');
  for (const [path, page] of Object.entries(referencePages())) {
    const file = new URL(`../${path}`, import.meta.url);
    const found = await readFile(file, 'utf8').catch(() => '');
    if (found === page) continue;
    if (check) {
      console.error(`${path} is out of date: run \`npm run reference\``);
      process.exitCode = 1;
    } else await writeFile(file, page);
  }
}

if (import.meta.main) await main();
