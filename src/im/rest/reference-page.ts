import type { Command } from './command.ts';
import { commonErrorFacts, errorFacts, type FieldFacts, requestFacts, responseFacts } from './command-facts.ts';
import { pathOf } from './commands.ts';
import { services } from './service-table.ts';

/** What the vendor's API has besides: such commands are answered 60009. */
const missing: readonly (readonly [path: string, what: string, status: string])[] = [
  ['sns/…', 'relations', 'not yet'],
  ['openconfigsvr/…', 'global mute', 'not yet'],
  ['open_msg_svc/…', 'message records', 'not yet'],
  ['registration_service/…', 'hosted mode', 'no'],
];

/** The reference page of the table of commands, Markdown; `notice` stands below its title. Pure. */
export function referencePage(commands: readonly Command[], notice: string): string {
  const names = Object.keys(services) as (keyof typeof services)[];
  return [
    '# REST API',
    notice,
    intro,
    '## Commands',
    'Generation: since when the command is in the documentation that we follow. Rate: calls a second that an app may make by default; `im.commandPerSec`\n' +
      'changes all of them in proportion. [Messaging](../guide/messaging.md) shows how to use them.',
    table(
      ['command', 'generation', 'rate', 'status', 'what it does'],
      [
        ...commands.map((command) => [
          `[\`${pathOf(command)}\`](#${anchorOf(command)})`,
          command.generation,
          String(100 * command.rate),
          'done',
          command.summary,
        ]),
        ...missing.map(([path, what, status]) => [`\`/v4/${path}\``, '', '', status, what]),
      ],
    ),
    '## Errors of every command',
    'Services have numbers of their own for some. A command that is not there has 60009 (10003 among those of groups), before anything else is looked at.',
    table(
      ['error', ...names.map((name) => `\`${name}\``), 'meaning'],
      commonErrorFacts().map(({ name, codes, message }) => [
        `\`${name}\``,
        ...names.map((service) => String(codes[service])),
        message,
      ]),
    ),
    ...names.flatMap((service) => [
      `## ${services[service].title}`,
      ...commands.filter((command) => command.service === service).flatMap(commandSection),
    ]),
    '',
  ]
    .join('\n\n')
    .trimEnd()
    .concat('\n');
}

const intro = `\`POST /v4/{service}/{command}?sdkappid=…&identifier=…&usersig=…&random=…&contenttype=json\` on the im listener, with a JSON object
of at most \`im.bodyBytes\` bytes. \`identifier\` is an administrator of the app (\`admins\`), \`usersig\` its UserSig. \`sdkappid\` may be written in any case; \`random\`
and \`contenttype\` make no difference, nor does the Content-Type of the request. Fields that a command does not know make none either.

HTTP status is always 200. Every answer has \`ActionStatus\` (\`OK\`, \`FAIL\`; \`SomeError\` of batchsendmsg), \`ErrorCode\` (0: done) and \`ErrorInfo\`, which names the
field that is wrong, why, and what is allowed; those of \`profile\` and \`recentcontact\` also \`ErrorDisplay\`. A refused command has changed nothing. A command is answered
within 2.9 seconds: with \`TIMED_OUT\` when it is not known whether it was done.

The same as OpenAPI 3.1 is at \`/im/v1/openapi.json\`, as a page at \`/im/v1/docs\`.`;

function commandSection(command: Command): string[] {
  const { summary, notes } = command;
  const errors = errorFacts(command);
  return [
    `### ${titleOf(command)}`,
    [summary, notes].filter((part) => part !== undefined).join(' '),
    fieldTable('request', 'required', requestFacts(command)),
    fieldTable('answer', 'always', responseFacts(command)),
    ...(errors.length === 0
      ? []
      : [
          table(
            ['error', 'name', 'meaning'],
            errors.map(({ code, name, message }) => [String(code), `\`${name}\``, message]),
          ),
        ]),
  ];
}

function fieldTable(head: string, always: string, fields: readonly FieldFacts[]): string {
  if (fields.length === 0) return `No fields in the ${head}.`;
  return table(
    [head, 'type', '', 'meaning'],
    fields.map(({ name, type, isRequired, meaning }) => [
      `\`${name}\``,
      type,
      isRequired ? always : 'optional',
      meaning,
    ]),
  );
}

function titleOf({ service, name }: Command): string {
  return `${service}/${name}`;
}

/** As Markdown renderers make it of a heading. */
function anchorOf(command: Command): string {
  return titleOf(command)
    .replace(/[^\w-]/g, '')
    .toLowerCase();
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
