/**
 * Callbacks to the app's backend: their commands, the header fields that sign them, and what a message remembers of its own
 * (API reference §10; K1, K3). Service and SDK share it.
 */

/** Commands that ask before an action, which waits for the answer (K1). */
export const beforeCommands = [
  'C2C.CallbackBeforeSendMsg',
  'Group.CallbackBeforeCreateGroup',
  'Group.CallbackBeforeApplyJoinGroup',
  'Group.CallbackBeforeInviteJoinGroup',
  'Group.CallbackBeforeSendMsg',
  'Sns.CallbackPrevFriendAdd',
  'Sns.CallbackPrevFriendResponse',
] as const;
export type BeforeCommand = (typeof beforeCommands)[number];

/** Commands that tell of what was done (K3). */
export const afterCommands = [
  'State.StateChange',
  'C2C.CallbackAfterSendMsg',
  'Group.CallbackAfterCreateGroup',
  'Group.CallbackAfterNewMemberJoin',
  'Group.CallbackAfterMemberExit',
  'Group.CallbackAfterSendMsg',
  'Group.CallbackAfterGroupFull',
  'Group.CallbackAfterGroupDestroyed',
  'Group.CallbackAfterGroupInfoChanged',
  'Sns.CallbackFriendAdd',
  'Sns.CallbackFriendDelete',
  'Sns.CallbackBlackListAdd',
  'Sns.CallbackBlackListDelete',
] as const;
export type AfterCommand = (typeof afterCommands)[number];

export const callbackCommands: readonly CallbackCommand[] = [...beforeCommands, ...afterCommands];
export type CallbackCommand = BeforeCommand | AfterCommand;

export function isAfterCommand(command: CallbackCommand): command is AfterCommand {
  return (afterCommands as readonly string[]).includes(command);
}

/** Standard Webhooks: what names, dates and signs a callback; all three are signed together with the body. */
export const callbackFields = {
  id: 'webhook-id',
  timestamp: 'webhook-timestamp',
  signature: 'webhook-signature',
  /** Ids of events of the same conversation or account that were given up right before this one, comma-separated. */
  gap: 'qalgate-gap',
  /** `true` where an operator had it sent again. */
  replay: 'qalgate-replay',
} as const;

/** What `OptPlatform` can say (API reference §10.1; `Unkown` is the vendor's spelling of 2018). */
export type OptPlatform = 'RESTAPI' | 'Web' | 'Android' | 'iOS' | 'IPad' | 'Windows' | 'Mac' | 'Linux' | 'Unkown';

/** Where an action came from: `ClientIP` and `OptPlatform`. */
export interface CallbackOrigin {
  readonly platform: OptPlatform;
  /** '' where it is not known. */
  readonly address: string;
}

/** What became of the question before an action; `unasked-*`: why there was none. */
export const beforeOutcomes = [
  'none',
  'allowed',
  'rewritten',
  'refused',
  'dropped',
  'timeout',
  'error',
  'circuit-open',
  /** The command is not switched on for the app, or has no URL. */
  'unasked-off',
  /** The caller switched it off for this message (ForbidCallbackControl). */
  'unasked-forbidden',
  /** Actions of this kind are never asked about: batch sends, imports, pushes. */
  'unasked-kind',
  /** An operator has paused the callbacks. */
  'unasked-paused',
] as const;
export type BeforeOutcome = (typeof beforeOutcomes)[number];

/** Why nobody is told of an action; `told`: there is an entry in the outbox. */
export const afterReasons = ['none', 'told', 'off', 'forbidden', 'kind'] as const;
export type AfterReason = (typeof afterReasons)[number];

/** What a stored message remembers: who has an entry in the outbox, and why its callbacks did or did not happen. */
export interface CallbackNotes {
  /** Bit 1: callbacks, bit 2: push. */
  readonly consumers: number;
  readonly before: BeforeOutcome;
  readonly after: AfterReason;
}

/** As the one number that is stored: bits 0–1 consumers, 2–5 before, 6–8 after. */
export function packCallbackNotes({ consumers, before, after }: CallbackNotes): number {
  return (consumers & 3) | (beforeOutcomes.indexOf(before) << 2) | (afterReasons.indexOf(after) << 6);
}

export function unpackCallbackNotes(packed: number): CallbackNotes {
  return {
    consumers: packed & 3,
    before: beforeOutcomes[(packed >> 2) & 15] ?? 'none',
    after: afterReasons[(packed >> 6) & 7] ?? 'none',
  };
}
