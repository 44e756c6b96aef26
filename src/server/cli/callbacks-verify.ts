import { readFile, stat } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { type Diagnosis, verifyReceived } from '../../callbacks/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { parseAppNumber } from './arguments.ts';
import { readCallbackKeys } from './callback-keys.ts';
import { appOf, refusalError } from './callbacks-test.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { readRequest } from './message-head.ts';
import { withStore } from './open-store.ts';
import { printable } from './printable.ts';

interface VerifyOptions extends ConfigOption {
  app?: SdkAppId;
  secretFile?: string;
  headersFile: string;
  bodyFile: string;
  received?: string;
  computed?: string;
  json?: true;
}

const maxFileBytes = 2 * 1_048_576;

/** `qalgate callbacks verify` */
export function callbacksVerifyCommand(context: CliContext): Command {
  return withConfig(new Command('verify'))
    .description(
      'Tell why a callback does not verify: clock, key, a body that was written anew, and which byte. With --app it also knows ' +
        'what was sent; with --secret-file it needs no database. Fails when the callback does not verify.',
    )
    .addOption(new Option('-a, --app <number>', 'the app whose callback it is').argParser(parseAppNumber))
    .addOption(new Option('--secret-file <file>', 'check with the key in this file, and nothing else').conflicts('app'))
    .requiredOption(
      '--headers-file <file>',
      'header fields as received: `Name: value` lines, or a JSON object; -: standard input',
    )
    .requiredOption('--body-file <file>', 'the body, byte for byte as the backend checks it')
    .option(
      '--received <time>',
      "when it was received, by the backend's clock: 2026-11-26T10:00:00Z or Unix seconds (default: now)",
    )
    .option('--computed <signature>', 'the signature that the backend computed itself')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate callbacks verify --app 1400000000 --headers-file headers.txt --body-file body.json
  $ qalgate callbacks verify --secret-file whsec.key --headers-file headers.txt --body-file body.json`,
    )
    .action(async (options: VerifyOptions) => {
      const headersText =
        options.headersFile === '-'
          ? await context.readInput()
          : String(await read(options.headersFile, '--headers-file'));
      const headers = parseHeaders(headersText, options.headersFile);
      const body = await read(options.bodyFile, '--body-file');
      const { received, computed, json } = options;
      const diagnosis = await check(context, options, {
        headers,
        bodyBase64: body.toString('base64'),
        ...(received === undefined ? {} : { receivedAt: received }),
        ...(computed === undefined ? {} : { computed }),
      });
      context.print(json ? JSON.stringify(diagnosis, undefined, 2) : formatDiagnosis(diagnosis));
      if (!diagnosis.verifies) throw new CliError(exitCodes.failed, 'the callback does not verify');
    });
}

async function check(context: CliContext, options: VerifyOptions, input: Record<string, unknown>): Promise<Diagnosis> {
  const { app: sdkAppId, secretFile } = options;
  const clock = Date.now;
  const orFail = (checked: Awaited<ReturnType<typeof verifyReceived>>): Diagnosis => {
    if (checked.ok) return checked.value;
    throw refusalError(checked);
  };
  if (sdkAppId === undefined) {
    if (secretFile === undefined) throw new CliError(exitCodes.usage, 'name --app or --secret-file');
    return orFail(await verifyReceived({ clock }, { secrets: readCallbackKeys([], secretFile) }, input));
  }
  const loaded = loadOrFail(context, options);
  return await withStore(context, loaded, options, async (store) => {
    const app = await appOf(loaded, store, sdkAppId);
    return orFail(await verifyReceived({ db: store.db, clock }, app, input));
  });
}

async function read(file: string, option: string): Promise<Buffer> {
  try {
    const { size } = await stat(file);
    if (size > maxFileBytes)
      throw new CliError(exitCodes.usage, `${option}: ${file} is larger than ${maxFileBytes} bytes`);
    return await readFile(file);
  } catch (error) {
    if (error instanceof CliError) throw error;
    const { code = String(error) } = error as NodeJS.ErrnoException;
    throw new CliError(exitCodes.usage, `${option}: ${file} cannot be read (${code})`);
  }
}

/** Fields of one name become a list: that it stands twice is one of the findings. Ends the command where it is neither form. */
export function parseHeaders(text: string, file: string): Record<string, string | string[]> {
  if (text.trimStart().startsWith('{')) {
    try {
      return JSON.parse(text) as Record<string, string | string[]>;
    } catch {
      throw new CliError(exitCodes.usage, `--headers-file: ${file} is no JSON`);
    }
  }
  // As curl -v shows what it sends.
  const plain = text.replace(/^[<>] ?/gm, '');
  const request = readRequest([plain]);
  if (!request.ok) {
    // It quotes the line, which may be the wrong file's.
    const reason = request.reason.replace(/whsec_[^\s"]*/g, 'whsec_…');
    throw new CliError(exitCodes.usage, `--headers-file: ${file}: ${reason}`);
  }
  const fields = new Map<string, string[]>();
  const { raw } = request.value;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    fields.set(name, [...(fields.get(name) ?? []), raw[i + 1] as string]);
  }
  return Object.fromEntries(
    [...fields].map(([name, values]) => [name, values.length === 1 ? (values[0] as string) : values]),
  );
}

/** Pure. */
export function formatDiagnosis({ verifies, findings, keys }: Diagnosis): string {
  const lines = findings.map(({ code, text }) => `- ${code}: ${printable(text)}`);
  return [
    verifies ? 'It verifies.' : 'It does not verify.',
    ...lines,
    ...(keys.length === 0 ? [] : [`Keys of the app, newest first: ${keys.join(', ')}`]),
  ].join('\n');
}
