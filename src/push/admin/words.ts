import type { SkipReason } from '../decide.ts';

const skips: Record<SkipReason, string> = {
  'push-flag': 'the sender asked that it is not pushed (PushFlag 1)',
  'no-text': 'there was nothing to show: a custom element without Desc',
  recalled: 'the message was recalled or deleted before',
  read: 'the account had read it by then',
  delivered: 'the terminal was in the foreground, and had it',
  'receive-option': 'the account does not want pushes of this group',
  left: 'the account was no member of the group any more',
  'switched-off': 'the account has switched pushes off',
  'no-device': 'the device has no token any more',
  'logged-out': 'the terminal had logged out',
  kicked: 'another terminal had ended its login',
  'other-login':
    'the account has logged in on another terminal of the same kind since the token was set, which set none',
  away: 'the terminal had not been there for too long (push.awayDays)',
  desktop: 'a computer of the account was in the foreground (push.notWithDesktop)',
};

/**
 * What keeps a push that waits: pauses of its app, of its campaign, a quarter of an hour, its service for its device, or its terminal, which is
 * there itself.
 */
export type Hold = 'app' | 'campaign' | 'quiet' | 'device' | 'foreground';

const holds: Record<Hold, string> = {
  app: 'waits: pushes of the app are paused',
  campaign: 'waits: its campaign is paused',
  quiet: 'waits: campaigns send nothing through FCM within two minutes of full, half and quarter hours',
  device: 'waits: its service wants no more for the device at the moment',
  foreground: 'waits to see whether the terminal, in the foreground, takes the message itself',
};

/** What became of a push, for people. Pure. */
export function whyOf({
  outcome,
  reason,
  attempts,
  isOpened,
  hold,
}: {
  outcome: string | null;
  reason: string | null;
  attempts: number;
  /** The app said that it was opened by it. */
  isOpened: boolean;
  hold: Hold | undefined;
}): string {
  const last = reason === null ? '' : `: ${reason}`;
  switch (outcome) {
    case null: {
      if (hold === 'app' || hold === 'campaign') return `${holds[hold]}${last}`;
      if (attempts > 0) return `waits for another attempt, after ${attempts}; the last came to${last || ' nothing'}`;
      return hold === undefined ? 'waits for its turn' : holds[hold];
    }
    case 'accepted':
      return isOpened
        ? 'its service took it, and the app was opened by it'
        : 'its service took it; that is not to say that anybody saw it';
    case 'skipped':
      return `not pushed: ${skips[reason as SkipReason] ?? reason}`;
    case 'expired':
      return `it was too late for it${last}`;
    case 'gone':
      return `its service says that the token is dead${last}`;
    case 'dead':
      return `given up${last}; retry sends it again`;
    default:
      return `dropped${last}`;
  }
}
