/**
 * Whether a device is pushed to, and why not (PUSH §3.4). Asked when a message has been stored, and again right before each attempt: what
 * has happened meanwhile counts.
 */

/** Why a device was not pushed to. Bounded: metrics have it as a label. */
export const skipReasons = [
  'push-flag',
  'no-text',
  'recalled',
  'read',
  'delivered',
  'receive-option',
  'left',
  'switched-off',
  'no-device',
  'logged-out',
  'kicked',
  'other-login',
  'away',
  'desktop',
] as const;
export type SkipReason = (typeof skipReasons)[number];

export interface DeviceFacts {
  /** The login that set the token is not the terminal's last one. */
  readonly isOfOtherLogin: boolean;
  /** The terminal has not logged out. */
  readonly hasLogin: boolean;
  readonly wasKicked: boolean;
  /** It has a link, on a process that lives. */
  readonly isLinked: boolean;
  readonly isBackground: boolean;
  readonly lastThereMs: number;
  /** Its account wants pushes. */
  readonly isOn: boolean;
  /** A computer of the account is online in the foreground. */
  readonly hasDesktop: boolean;
}

export interface MessageFacts {
  readonly isRecalled: boolean;
  readonly storedMs: number;
}

/** How far the account is with the conversation. */
export interface ReadingFacts {
  readonly readSeq: number;
  /** Its terminals have stored everything up to there. */
  readonly deliveredSeq: number;
  /** Undefined: it is no conversation of a group. `left`: the account is no member any more. */
  readonly member: 'notify' | 'quiet' | 'left' | undefined;
}

export type Decision =
  | { readonly kind: 'push' }
  | { readonly kind: 'skip'; readonly reason: SkipReason }
  /** Nobody knows yet: the terminal is in the foreground, and has not acknowledged the message. */
  | { readonly kind: 'wait'; readonly untilMs: number };

/** A link in the foreground that has not acknowledged a message for so long is no good (DESIGN §6). */
export const unheardMs = 10_000;

/** Pure. */
export function decide(
  device: DeviceFacts | undefined,
  message: MessageFacts,
  reading: ReadingFacts,
  { seq, nowMs, awayDays, notWithDesktop }: { seq: number; nowMs: number; awayDays: number; notWithDesktop: boolean },
): Decision {
  if (message.isRecalled) return skip('recalled');
  if (reading.member === 'left') return skip('left');
  // S6
  if (reading.member === 'quiet') return skip('receive-option');
  if (reading.readSeq >= seq) return skip('read');
  if (device === undefined) return skip('no-device');
  if (!device.isOn) return skip('switched-off');
  // S1: never after logout or kick. S9: nor to the phone of a login before.
  if (device.wasKicked) return skip('kicked');
  if (!device.hasLogin) return skip('logged-out');
  if (device.isOfOtherLogin) return skip('other-login');
  if (notWithDesktop && device.hasDesktop) return skip('desktop');
  if (device.isLinked && !device.isBackground) {
    if (reading.deliveredSeq >= seq) return skip('delivered');
    const untilMs = message.storedMs + unheardMs;
    return untilMs > nowMs ? { kind: 'wait', untilMs } : { kind: 'push' };
  }
  if (!device.isLinked && nowMs - device.lastThereMs >= awayDays * 86_400_000) return skip('away');
  return { kind: 'push' };
}

function skip(reason: SkipReason): Decision {
  return { kind: 'skip', reason };
}
