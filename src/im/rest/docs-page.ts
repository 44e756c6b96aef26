import { createHash } from 'node:crypto';
import type { Command } from './command.ts';
import { commonErrorFacts, errorFacts, type FieldFacts, requestFacts, responseFacts } from './command-facts.ts';
import { pathOf } from './commands.ts';
import { services } from './service-table.ts';

const style = `
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem }
code { font: 13px/1.4 ui-monospace, monospace }
h2 { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); margin-top: 2.5rem; padding-top: 1rem }
h3 { margin-bottom: 0.25rem }
h3 code { font-size: 1rem }
table { border-collapse: collapse; display: block; margin: 0.5rem 0 1rem; overflow-x: auto }
th, td { border: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: 0.25rem 0.5rem; text-align: left; vertical-align: top }
`;

/** Content-Security-Policy of the page: its own style, and nothing else from anywhere. */
export const docsPolicy = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`;

/** The docs page of the table of commands: one HTML text without scripts and without anything from elsewhere. Pure. */
export function docsPage(commands: readonly Command[]): string {
  const names = Object.keys(services) as (keyof typeof services)[];
  const sections = names.map((service) => {
    const own = commands.filter((command) => command.service === service);
    return `<h2>${html(services[service].title)}</h2>${own.map(commandSection).join('')}`;
  });
  const toc = commands.map(
    (command) => `<li><a href="#${idOf(command)}">${code(pathOf(command))}</a> ${html(command.summary)}</li>`,
  );
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>qalgate REST API</title><style>${style}</style></head><body><h1>qalgate REST API</h1>`,
    `<p>${code('POST /v4/{service}/{command}?sdkappid=…&identifier=…&usersig=…')} with a JSON object. The caller is an administrator of the app.`,
    ` HTTP status is always 200; ${code('ActionStatus')}, ${code('ErrorCode')} and ${code('ErrorInfo')} say what became of it.`,
    ` The same as <a href="openapi.json">OpenAPI</a>.</p><ul>${toc.join('')}</ul>`,
    ...sections,
    '<h2>Errors of every command</h2>',
    table(
      ['meaning', ...names],
      commonErrorFacts().map(({ codes, message }) => [html(message), ...names.map((name) => String(codes[name]))]),
    ),
    '</body></html>\n',
  ].join('');
}

function commandSection(command: Command): string {
  const { summary, notes, generation } = command;
  const errors = errorFacts(command);
  return [
    `<h3 id="${idOf(command)}">${code(pathOf(command))}</h3><p>${html(summary)} ${html(notes ?? '')} <small>Since ${generation}.</small></p>`,
    fieldTable('request', 'required', requestFacts(command)),
    fieldTable('answer', 'always', responseFacts(command)),
    errors.length === 0
      ? ''
      : table(
          ['error', 'meaning'],
          errors.map((error) => [String(error.code), html(error.message)]),
        ),
  ].join('');
}

function fieldTable(head: string, always: string, fields: readonly FieldFacts[]): string {
  if (fields.length === 0) return `<p>No fields in the ${head}.</p>`;
  return table(
    [head, 'type', '', 'meaning'],
    fields.map(({ name, type, isRequired, meaning }) => [
      code(name),
      html(type),
      isRequired ? always : 'optional',
      html(meaning),
    ]),
  );
}

/** Of cells that are HTML already. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const row = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
  return `<table>${row('th', head)}${rows.map((cells) => row('td', cells)).join('')}</table>`;
}

function idOf({ service, name }: Command): string {
  return `${service}-${name}`;
}

function code(text: string): string {
  return `<code>${html(text)}</code>`;
}

function html(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
