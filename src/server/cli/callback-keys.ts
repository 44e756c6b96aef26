import { Check } from 'typebox/value';
import { CallbacksSchema } from '../../store/index.ts';
import { readSecretFile } from '../config/index.ts';
import { CliError } from './cli-error.ts';
import { exitCodes } from './exit-codes.ts';

const form = '`whsec_` and 24 to 64 bytes in base64';

/** Keys that verify callbacks, as options give them; ends the command with what is wrong, never with the key itself. */
export function readCallbackKeys(given: readonly string[], file: string | undefined): string[] {
  const keys = [...given];
  if (file !== undefined) {
    const read = readSecretFile(file, CallbacksSchema.properties.secret);
    if (!read.ok) throw new CliError(exitCodes.usage, `--secret-file: ${file} ${read.reason}`);
    keys.push(...([read.value].flat() as string[]));
  }
  if (keys.every((key) => Check(CallbacksSchema.properties.secret, key))) return keys;
  throw new CliError(exitCodes.usage, `a key for callbacks has not the form needed: ${form}`);
}
