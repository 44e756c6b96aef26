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
import {
  type ErrorEntry,
  errorCatalogue,
  type GroupTypeRow,
  groupTypes,
  type ImErrorEntry,
  imErrorCatalogue,
  standardGroupTypes,
} from '../src/wire/index.ts';

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
    'docs/reference/group-types.md': groupTypesPage(),
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

function groupTypesPage(): string {
  const prefix = 'apps[].im.groupTypes[].';
  // What else an entry has (name, base, rate) is no column.
  const columns = listFields(ConfigSchema).flatMap((field) => {
    const column = fieldName(field).replace(prefix, '') as keyof GroupTypeRow;
    return fieldName(field).startsWith(prefix) && column in groupTypes.Private ? [{ column, ...field }] : [];
  });
  const rows = columns.map(({ column, node }) => [
    code(column),
    ...standardGroupTypes.map((name) => cell(groupTypes[name], column)),
    node.description ?? '',
  ]);
  return [
    '# Types of groups',
    notice,
    'What a group is and what may be done in it is the matter of its type: a row of this table. The columns go by the names that\n' +
      'settings of apps have for them.',
    markdownTable(['column', ...standardGroupTypes, 'meaning'], rows),
    groupTypeNotes,
    '',
  ]
    .join('\n\n')
    .trimEnd()
    .concat('\n');
}

function cell(row: GroupTypeRow, column: keyof GroupTypeRow): string {
  const value = row[column];
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'object') return `${value.perApp} per app`;
  return value === undefined ? (column === 'listedMembers' ? 'all' : 'any number') : String(value);
}

const groupTypeNotes = `Messages of types that keep any can be fetched for \`im.groupRoamingDays\`, 7 by default. How many a group takes a second is
\`im.groupRate\`. No group is recycled by itself, and nobody receives without a login.

## Who may do what

The app's administrator (REST) may do whatever the type allows at all; then come owner, admins, members. What a type or a role does not allow is
refused with 10007, but for what is named here.

| action | who |
| --- | --- |
| create a group of a type without owner | administrator |
| change name, introduction, notification, face URL | owner, admins; members where \`membersEditProfile\` |
| change MaxMemberNum, ApplyJoinOption, ShutUpAllMember | owner, admins; ShutUpAllMember where \`canMute\` |
| see the whole profile, the members, the history | members; others find the public profile by the exact id where \`isSearchable\` |
| take others in, invite them | as \`invite\` has it |
| answer applications | owner, admins |
| remove members | as \`remove\` has it, for owner and admins plain members, for the owner admins, too; \`never\`: 10004. The administrator also removes an owner who may quit |
| make admins, cancel them | owner, where \`hasAdmins\` |
| mute, change name card and custom fields of others | owner and admins of plain members, the owner of admins, too; muting where \`canMute\` |
| choose one's MsgFlag, name card, custom fields | the member, who is more than audience (\`isAudience\`) |
| hand the group on | owner, where \`hasOwner\` and no \`isAudience\`, to a member |
| quit | members; the owner where \`ownerMayQuit\`, else 10009 |
| dismiss | as \`dismiss\` has it |
| speak | members who are not muted (10017); owner and admins also while ShutUpAllMember is on; nobody where \`isBroadcast\` |

## Types of an app's own

An entry of \`im.groupTypes\` names a type, the standard one that it is like, and the columns that differ. One whose name is that of a standard type
changes it for the app. In the configuration file, or in the settings of \`qalgate app\`:

\`\`\`yaml
apps:
  - sdkAppId: 1400000000
    secretFile: app.key
    im:
      groupTypes:
        # A class: its teacher takes pupils in, who see what was said before.
        - { name: Class, base: Public, maxMembers: 60, apply: never, showsEarlier: true, roamingDays: 90 }
        # An audience that can be 5,000 and may send more.
        - { name: Stage, base: AVChatRoom, maxMembers: 5000, rate: { perSec: 100, normalPerSec: 60 } }
        # Chat rooms of this app tell who comes and goes to those who are online.
        - { name: ChatRoom, base: ChatRoom, changeNotice: weak }
      groupFields:
        - { key: Subject, types: [Class], read: Any, write: Owner, callback: true }
      groupMemberFields:
        - { key: Seat, types: [Class] }
\`\`\`

A change holds for groups that exist, too, from the next action on; what is noted of them, such as MaxMemberNum and MsgFlag, stays. Groups of a type
that is taken away are treated as Private ones until it is there again. Columns that contradict one another are refused: where messages are
not kept none are unread, imported, or strong notices.

Settings of groups, with their bounds: [\`apps[].im\`](configuration.md).`;

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
