import type { BeforeCommand, BeforeOutcome, CallbackOrigin, MessageElement, SdkAppId } from '../../wire/index.ts';

/** A question to the app's backend before an action (K1). */
export interface Question {
  readonly sdkAppId: SdkAppId;
  readonly command: BeforeCommand;
  /** Fields of the body besides CallbackCommand, by the vendor's names (API reference §10.2). */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly origin: CallbackOrigin;
  /** Who and what it is about, for look-ups. */
  readonly about: {
    readonly from?: string;
    readonly to?: string;
    readonly groupId?: string;
    readonly messageKey?: string;
  };
}

/**
 * What holds for the action. `allow` also where nobody was asked or nothing usable came (K2); `outcome` says which.
 *
 * `body`: the rewritten MsgBody, checked like a sent one. `refusedMembers`: those whom an invitation leaves out. `results`: refusals
 * of single accounts of a friend request, with the app's code.
 */
export type Decision =
  | {
      readonly kind: 'allow';
      readonly outcome: BeforeOutcome;
      readonly body?: readonly MessageElement[];
      readonly refusedMembers?: readonly string[];
      readonly results?: ReadonlyMap<string, { readonly code: number; readonly reason: string }>;
    }
  /** `code`: what the caller gets: the app's own, or the vendor's for a plain refusal (20006, 10016). */
  | { readonly kind: 'refuse'; readonly outcome: BeforeOutcome; readonly code: number; readonly reason: string }
  /** The caller gets success, and nothing happens (Group.CallbackBeforeSendMsg alone). */
  | { readonly kind: 'drop'; readonly outcome: BeforeOutcome };

export interface BeforeCalls {
  /** Whether the app wants that command; what it costs to know is a look into memory. */
  wants(sdkAppId: SdkAppId, command: BeforeCommand): boolean;
  /** Asks, once. Decides at 2,000 ms at the latest, however the backend behaves; never rejects. */
  ask(question: Question): Promise<Decision>;
}
