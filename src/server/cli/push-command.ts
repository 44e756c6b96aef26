import { Command } from 'commander';
import type { CliContext } from './context.ts';
import { pushCampaignsCommand } from './push-campaigns.ts';
import {
  pushDevicesCommand,
  pushDropCommand,
  pushListCommand,
  pushPauseCommand,
  pushResumeCommand,
  pushRetryCommand,
  pushStatusCommand,
} from './push-ops.ts';
import { pushPreviewCommand } from './push-preview.ts';
import { pushSandboxCommand } from './push-sandbox.ts';

export function pushCommand(context: CliContext): Command {
  const command = new Command('push').description('Pushes to phones that are not there.');
  command.addCommand(pushPreviewCommand(context));
  command.addCommand(pushSandboxCommand(context));
  for (const make of [
    pushStatusCommand,
    pushListCommand,
    pushDevicesCommand,
    pushRetryCommand,
    pushDropCommand,
    pushPauseCommand,
    pushResumeCommand,
    pushCampaignsCommand,
  ]) {
    command.addCommand(make(context));
  }
  return command;
}
