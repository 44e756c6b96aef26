/**
 * Who may call what (I5): one table, command × caller. What stands not here nobody may call.
 *
 * Callers of the access listener: `guest` (no valid session), `terminal` (anonymous session), `self` (session bound to
 * an account). Callers of the im listener: `guest` (no valid UserSig), `self` (an account by its UserSig), `administrator` (an
 * account that the app names as one). Callers of the ops listener: `viewer` and `operator` (bearer token), `local` (no token,
 * from loopback).
 */
export const callers = ['guest', 'terminal', 'self', 'administrator', 'viewer', 'operator', 'local'] as const;
export type Caller = (typeof callers)[number];

const permissions = {
  'session.create': ['guest', 'terminal', 'self'],
  'session.network.update': ['terminal', 'self'],
  'session.delete': ['terminal', 'self'],
  'im.docs.read': ['guest'],
  'im.account.import': ['administrator'],
  'im.account.kick': ['administrator'],
  'im.account.delete': ['administrator'],
  'im.account.check': ['administrator'],
  'im.state.read': ['administrator'],
  'im.message.send': ['administrator'],
  'im.message.import': ['administrator'],
  'im.message.recall': ['administrator'],
  'im.message.history': ['administrator'],
  'im.message.read': ['administrator'],
  'im.unread.read': ['administrator'],
  'im.contacts.read': ['administrator'],
  'im.contacts.delete': ['administrator'],
  'im.group.create': ['administrator'],
  'im.group.dismiss': ['administrator'],
  'im.group.read': ['administrator'],
  'im.group.write': ['administrator'],
  'im.group.transfer': ['administrator'],
  'im.group.list': ['administrator'],
  'im.group.member.read': ['administrator'],
  'im.group.member.write': ['administrator'],
  'im.group.mute': ['administrator'],
  'im.group.notify': ['administrator'],
  'im.group.import': ['administrator'],
  'im.group.message.send': ['administrator'],
  'im.group.message.recall': ['administrator'],
  'im.group.message.history': ['administrator'],
  'im.group.message.delete': ['administrator'],
  'im.group.unread.write': ['administrator'],
  'im.profile.read': ['administrator'],
  'im.profile.write': ['administrator'],
  'im.words.read': ['administrator'],
  'im.words.write': ['administrator'],
  'im.push.send': ['administrator'],
  'im.push.read': ['administrator'],
  'im.audience.read': ['administrator'],
  'im.audience.write': ['administrator'],
  'im.link.message.send': ['self'],
  'im.link.message.recall': ['self'],
  'im.link.mailbox.read': ['self'],
  'im.link.mailbox.write': ['self'],
  'im.link.profile.read': ['self'],
  'im.link.profile.write': ['self'],
  'im.link.group.read': ['self'],
  'im.link.group.write': ['self'],
  'im.link.state.report': ['self'],
  'im.link.push.read': ['self'],
  'im.link.push.write': ['self'],
  'ops.health.read': ['local', 'viewer', 'operator'],
  'ops.metrics.read': ['local', 'viewer', 'operator'],
  'ops.app.list': ['viewer', 'operator'],
  'ops.app.read': ['viewer', 'operator'],
  'ops.app.create': ['operator'],
  'ops.app.update': ['operator'],
  'ops.app.delete': ['operator'],
  'ops.session.kick': ['operator'],
  'ops.config.read': ['viewer', 'operator'],
  'ops.cache.read': ['viewer', 'operator'],
  'ops.cache.purge': ['operator'],
  'ops.callback.read': ['viewer', 'operator'],
  'ops.callback.write': ['operator'],
  'ops.callback.verify': ['operator'],
  'ops.callback.test': ['operator'],
  'ops.group.read': ['viewer', 'operator'],
  'ops.campaign.read': ['viewer', 'operator'],
  'ops.campaign.write': ['operator'],
  'ops.push.read': ['viewer', 'operator'],
  'ops.push.write': ['operator'],
  'ops.queue.page': ['guest', 'local', 'viewer', 'operator'],
  'ops.queue.read': ['viewer', 'operator'],
  'ops.queue.write': ['operator'],
} as const satisfies Record<string, readonly Caller[]>;

export type Command = keyof typeof permissions;
export const commands = Object.keys(permissions) as Command[];

/** Is it a command of the table? Total: any input. */
export function isCommand(value: unknown): value is Command {
  return typeof value === 'string' && Object.hasOwn(permissions, value);
}

/** May this caller call this command? Default: no, also for a caller or a command that the table does not know. */
export function mayCall(caller: Caller, command: Command): boolean {
  const allowed: readonly Caller[] = Object.hasOwn(permissions, command) ? permissions[command] : [];
  return allowed.includes(caller);
}
