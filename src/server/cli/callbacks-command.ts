import { Command } from 'commander';
import { callbacksListenCommand } from './callbacks-listen.ts';
import { callbacksTestCommand } from './callbacks-test.ts';
import { callbacksVerifyCommand } from './callbacks-verify.ts';
import type { CliContext } from './context.ts';

export function callbacksCommand(context: CliContext): Command {
  const command = new Command('callbacks').description(
    "Callbacks to apps' backends: try them out, find out what became of them.",
  );
  command.addCommand(callbacksListenCommand(context));
  command.addCommand(callbacksTestCommand(context));
  command.addCommand(callbacksVerifyCommand(context));
  return command;
}
