/** Where a link is opened, on the im listener. */
export const linkPath = '/im/v1/link';

export interface LinkEndEntry {
  /** Close code of the WebSocket. */
  code: number;
  /** Connecting again with the same credentials would end the same way. */
  isFinal: boolean;
  message: string;
}

/**
 * How the service ends a link: `bye` carries name and code, the WebSocket closes with the code. 4000 … 4099: connect again;
 * 4100 … 4199: final. The reference page of the link has the same table.
 */
export const linkEnds = {
  SHUTDOWN: { code: 4000, isFinal: false, message: 'the service stops or restarts' },
  TOO_SLOW: { code: 4001, isFinal: false, message: 'the terminal did not take what was sent to it' },
  NO_HEARTBEAT: { code: 4002, isFinal: false, message: 'nothing was heard of the terminal' },
  LOGIN_TIMEOUT: { code: 4003, isFinal: false, message: 'no login came in time' },
  RATE_LIMITED: { code: 4004, isFinal: false, message: 'far too many frames' },
  UNAVAILABLE: { code: 4005, isFinal: false, message: 'the service cannot work just now' },
  KICKED: {
    code: 4100,
    isFinal: true,
    message: 'another terminal logged in that may not be online beside this one',
  },
  KICKED_BY_ADMIN: { code: 4101, isFinal: true, message: "the app's administrator ended the login" },
  USERSIG_EXPIRED: { code: 4102, isFinal: true, message: 'the UserSig has expired' },
  USERSIG_INVALID: { code: 4103, isFinal: true, message: 'the UserSig is not good' },
  APP_UNKNOWN: { code: 4104, isFinal: true, message: 'no app has this sdkAppId' },
  PROTOCOL: { code: 4105, isFinal: true, message: 'a frame that is not of this protocol' },
  FRAME_TOO_BIG: { code: 4106, isFinal: true, message: 'a frame over 32,768 bytes' },
  LOGGED_OUT: { code: 4107, isFinal: true, message: 'the terminal has logged out' },
  ACCOUNT_DELETED: { code: 4108, isFinal: true, message: 'the account is no more' },
  REPLACED: { code: 4109, isFinal: true, message: 'the terminal goes on over a newer link' },
} as const satisfies Record<string, LinkEndEntry>;

export type LinkEndName = keyof typeof linkEnds;
