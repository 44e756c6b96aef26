import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import {
  type CacheRules,
  createPurges,
  explain,
  firstOf,
  type Purge,
  parseHttpDate,
  parsePurge,
  parseRequest,
} from '../../cache/index.ts';
import { auditTarget } from '../../observe/index.ts';
import { purgedOf } from '../../ops/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { audited } from '../command-audit.ts';
import { parseAppNumber } from './arguments.ts';
import { explanationData, formatExplanation } from './cache-explain.ts';
import { actorOf, given } from './callbacks-store.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { readRequest, readResponse, type WrittenRequest, type WrittenResponse } from './message-head.ts';
import { requireApp, withStore } from './open-store.ts';

export function cacheCommand(context: CliContext): Command {
  const command = new Command('cache').description(
    'End what is stored, or tell what would be stored and for how long.',
  );
  command.addCommand(purgeCommand(context));
  command.addCommand(explainCommand(context));
  return command;
}

interface PurgeOptions extends ConfigOption {
  app: SdkAppId;
  url?: string;
  prefix?: string;
  tag?: string;
  all?: true;
}

function purgeCommand(context: CliContext): Command {
  return withConfig(new Command('purge'))
    .description(
      'End stored answers of an app, on every process. Name exactly one of --url, --prefix, --tag and --all.',
    )
    .requiredOption('-a, --app <number>', 'the app', parseAppNumber)
    .option('--url <url>', 'the answers to this URL, whoever they are for')
    .option('--prefix <url>', 'the answers to all URLs that begin so')
    .option('--tag <tag>', 'the answers that carry the tag in Cache-Tag or Surrogate-Key')
    .option('--all', 'all answers of the app')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate cache purge --app 1400000000 --url 'https://api.example.com/x?y=1'
  $ qalgate cache purge --app 1400000000 --prefix https://api.example.com/static/
  $ qalgate cache purge --app 1400000000 --tag product-17
  $ qalgate cache purge --app 1400000000 --all`,
    )
    .action(async (options: PurgeOptions) => {
      const { app } = options;
      const named = given(options, ['url', 'prefix', 'tag', 'all']);
      const purge = purgeOf(app, named);
      const loaded = loadOrFail(context, options);
      await withStore(context, loaded, options, async ({ db, bus, apps, logger, metrics }) => {
        await requireApp(loaded, apps, app);
        const target = auditTarget([app, ...purgedOf(named)]);
        const { generation } = await audited(bus, { actor: actorOf(context), command: 'ops.cache.purge', target }, () =>
          createPurges({ db, bus, logger, metrics }).publish(purge),
        );
        context.print(`purge ${generation} is published: ${describePurge(purge)}`);
        // The server was started for this command: nobody else is there to hear it.
        if (db.kind === 'embedded') context.warn('no qalgate serves from this data folder, so nothing was stored');
      });
    });
}

function purgeOf(app: SdkAppId, named: Readonly<Record<string, unknown>>): Purge {
  const purge = parsePurge(app, named);
  if (purge.ok) return purge.value;
  const { field, reason, allowed } = purge;
  if (Object.keys(named).length !== 1)
    throw new CliError(exitCodes.usage, 'name exactly one of --url, --prefix, --tag and --all');
  throw new CliError(exitCodes.usage, `--${field}: ${reason}; allowed: ${allowed}`);
}

function describePurge(purge: Purge): string {
  const what = {
    url: 'url' in purge ? purge.url : '',
    prefix: 'url' in purge ? `all that begins with ${purge.url}` : '',
    tag: 'tag' in purge ? `all with the tag ${purge.tag}` : '',
    app: 'everything',
  };
  return `${what[purge.by]} of app ${purge.sdkAppId}`;
}

interface ExplainOptions {
  request?: string[];
  response: string[];
  mode: CacheRules['mode'];
  private?: true;
  session?: true;
  sharedRoute?: true;
  received?: string;
  json?: true;
}

const collect = (text: string, before: string[] = []): string[] => [...before, text];

function explainCommand(context: CliContext): Command {
  return new Command('explain')
    .description(
      'Tell what the cache makes of a response: whether it is stored, for whom, what becomes of requests at which age, and ' +
        'which directive decides it. Asks no network and no database.',
    )
    .option(
      '--request <head>',
      'request line and header fields: text, @file, or - for standard input (default: GET /)',
      collect,
    )
    .requiredOption(
      '--response <head>',
      'status line and header fields: as above; repeat it for several lines',
      collect,
    )
    .addOption(new Option('--mode <mode>', 'mode of the app').choices(['qal', 'rfc9111']).default('qal'))
    .option('--private', "the SDK's private cache, not the shared one of the access service")
    .option('--session', 'the request comes with a session')
    .option('--shared-route', 'the route says cacheScope: shared')
    .addOption(
      new Option(
        '--received <when>',
        'when the response came: a date, or seconds after its Date (default: at its Date)',
      ),
    )
    .option('--json', 'answer in JSON; ages in milliseconds, null: no end')
    .addHelpText(
      'after',
      `
Without a request line it is GET /, without a status line 200. What follows an empty line is a body, and passed over.

Examples:
  $ qalgate cache explain --response 'Cache-Control: max-age=15' --response 'QAL-Cache-Control: max-stale-age=60'
  $ curl -si https://api.example.com/feed | qalgate cache explain --response - --mode rfc9111
  $ qalgate cache explain --request @request.txt --response @response.txt --session`,
    )
    .action(async (options: ExplainOptions) => {
      const { request, response } = await readMessages(context, options);
      const receivedMs = receivedOf(options.received, response);
      const hasSession = options.session === true || firstOf(request.raw, 'qal-session') !== undefined;
      const facts = parseRequest(request.method, request.raw, {
        hasSession,
        hasBody: hasBody(request),
        nowMs: receivedMs,
      });
      const rules = {
        mode: options.mode,
        kind: options.private === true ? ('private' as const) : ('shared' as const),
        routeShared: options.sharedRoute === true,
      };
      const explanation = explain(facts, response, rules, { requestedMs: receivedMs, receivedMs });
      const explained = { request: { ...request, facts }, response, rules, receivedMs, explanation };
      context.print(
        options.json === true ? JSON.stringify(explanationData(explained), undefined, 2) : formatExplanation(explained),
      );
    });
}

async function readMessages(
  context: CliContext,
  { request = [], response }: ExplainOptions,
): Promise<{ request: WrittenRequest; response: WrittenResponse }> {
  if ([...request, ...response].filter((text) => text === '-').length > 1) {
    throw new CliError(
      exitCodes.usage,
      'standard input can be read once: put one of the two into a file, and name it @file',
    );
  }
  const read = {
    request: readRequest(await readParts(context, '--request', request)),
    response: readResponse(await readParts(context, '--response', response)),
  };
  if (!read.request.ok) throw new CliError(exitCodes.usage, `--request: ${read.request.reason}`);
  if (!read.response.ok) throw new CliError(exitCodes.usage, `--response: ${read.response.reason}`);
  return { request: read.request.value, response: read.response.value };
}

async function readParts(context: CliContext, option: string, parts: readonly string[]): Promise<string[]> {
  const texts: string[] = [];
  for (const part of parts) {
    if (part === '-') texts.push(await context.readInput());
    else if (part.startsWith('@')) texts.push(await readNamed(option, part.slice(1)));
    else texts.push(part);
  }
  return texts;
}

async function readNamed(option: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(exitCodes.usage, `${option}: cannot read ${JSON.stringify(file)}: ${reason}`);
  }
}

function receivedOf(text: string | undefined, response: WrittenResponse): number {
  const nowMs = Date.now();
  const date = firstOf(response.raw, 'date');
  const dateMs = date === undefined ? undefined : parseHttpDate(date, nowMs);
  if (text === undefined) return dateMs ?? nowMs;
  if (/^[0-9]+(\.[0-9]+)?$/.test(text)) {
    if (dateMs !== undefined) return dateMs + Number(text) * 1_000;
    throw new CliError(exitCodes.usage, '--received: seconds count from the Date of the response, which has none');
  }
  const ms = parseHttpDate(text, nowMs) ?? Date.parse(text);
  if (Number.isFinite(ms)) return ms;
  const allowed = '30, "Tue, 24 Nov 2026 10:00:00 GMT" or 2026-11-24T10:00:00Z';
  throw new CliError(
    exitCodes.usage,
    `--received: ${JSON.stringify(text)} is neither a date nor seconds; allowed: ${allowed}`,
  );
}

function hasBody({ raw }: WrittenRequest): boolean {
  const length = firstOf(raw, 'content-length');
  return firstOf(raw, 'transfer-encoding') !== undefined || (length !== undefined && length !== '0');
}
