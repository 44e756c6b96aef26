import { Command } from 'commander';
import type { CliContext } from './context.ts';
import { pushPreviewCommand } from './push-preview.ts';
import { pushSandboxCommand } from './push-sandbox.ts';

export function pushCommand(context: CliContext): Command {
  const command = new Command('push').description('Pushes to phones that are not there.');
  command.addCommand(pushPreviewCommand(context));
  command.addCommand(pushSandboxCommand(context));
  return command;
}
