import { Command } from 'commander';
import {
  callbacksDropCommand,
  callbacksPauseCommand,
  callbacksResumeCommand,
  callbacksRetryCommand,
  callbacksStatusCommand,
} from './callbacks-change.ts';
import { callbacksExplainCommand } from './callbacks-explain.ts';
import { callbacksListCommand, callbacksShowCommand } from './callbacks-list.ts';
import { callbacksListenCommand } from './callbacks-listen.ts';
import { callbacksCancelCommand, callbacksReplayCommand, callbacksReplaysCommand } from './callbacks-replay.ts';
import { callbacksTestCommand } from './callbacks-test.ts';
import { callbacksVerifyCommand } from './callbacks-verify.ts';
import type { CliContext } from './context.ts';

export function callbacksCommand(context: CliContext): Command {
  const command = new Command('callbacks').description(
    "Callbacks to apps' backends: try them out, find out what became of them.",
  );
  command.addCommand(callbacksStatusCommand(context));
  command.addCommand(callbacksExplainCommand(context));
  command.addCommand(callbacksListCommand(context));
  command.addCommand(callbacksShowCommand(context));
  command.addCommand(callbacksRetryCommand(context));
  command.addCommand(callbacksReplayCommand(context));
  command.addCommand(callbacksReplaysCommand(context));
  command.addCommand(callbacksCancelCommand(context));
  command.addCommand(callbacksDropCommand(context));
  command.addCommand(callbacksPauseCommand(context));
  command.addCommand(callbacksResumeCommand(context));
  command.addCommand(callbacksListenCommand(context));
  command.addCommand(callbacksTestCommand(context));
  command.addCommand(callbacksVerifyCommand(context));
  return command;
}
