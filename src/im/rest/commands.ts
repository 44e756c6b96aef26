import { accountCommands } from './account-commands.ts';
import { audienceCommands } from './audience-commands.ts';
import type { Command } from './command.ts';
import { contactCommands } from './contact-commands.ts';
import { groupCommands } from './group-commands.ts';
import { groupImportCommands } from './group-import-commands.ts';
import { groupJoiningCommands } from './group-joining-commands.ts';
import { groupMemberCommands } from './group-member-commands.ts';
import { groupMessageCommands } from './group-message-commands.ts';
import { groupMuteCommands } from './group-mute-commands.ts';
import { profileCommands } from './profile-commands.ts';
import { pushCommands } from './push-commands.ts';
import { roamingCommands } from './roaming-commands.ts';
import { sendCommands } from './send-commands.ts';
import { stateCommands } from './state-commands.ts';
import { unreadCommands } from './unread-commands.ts';
import { wordCommands } from './word-commands.ts';

/** Every command of `/v4`. Routing, OpenAPI and the reference are made from it; what is not here does not exist (60009). */
export const commands: readonly Command[] = [
  ...accountCommands,
  ...stateCommands,
  ...sendCommands,
  ...pushCommands,
  ...audienceCommands,
  ...roamingCommands,
  ...unreadCommands,
  ...contactCommands,
  ...groupCommands,
  ...groupMemberCommands,
  ...groupJoiningCommands,
  ...groupMuteCommands,
  ...groupMessageCommands,
  ...groupImportCommands,
  ...profileCommands,
  ...wordCommands,
];

export function pathOf({ service, name }: Pick<Command, 'service' | 'name'>): string {
  return `/v4/${service}/${name}`;
}
