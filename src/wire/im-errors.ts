/**
 * The errors of the messaging service: names that the code uses, with the vendor's number, whether the same request may
 * succeed later, and a line for people. `/v4`, the link and the SDK share them.
 * Source: API reference §15; a service of `/v4` may have a number of its own for one (`serviceCodes` of the REST edge).
 */
export interface ImErrorEntry {
  /** The vendor's number. */
  code: number;
  message: string;
  retryable: boolean;
}

export const imErrorCatalogue = {
  // The request as such.
  NOT_POST: { code: 60002, message: 'only POST is supported', retryable: false },
  NOT_JSON: { code: 60003, message: 'the body is not a JSON object', retryable: false },
  NO_CREDENTIALS: { code: 60004, message: 'identifier or usersig is missing', retryable: false },
  APP_DISABLED: { code: 60006, message: 'the sdkappid is not valid', retryable: false },
  COMMAND_RATE: { code: 60007, message: 'this command is called too often', retryable: true },
  TIMED_OUT: { code: 60008, message: 'it took too long; whether it was done is not known', retryable: true },
  NO_SUCH_COMMAND: { code: 60009, message: 'there is no such command', retryable: false },
  NOT_ADMINISTRATOR: { code: 60010, message: 'only an administrator of the app may do this', retryable: false },
  APP_RATE: { code: 60011, message: 'the app calls too often', retryable: true },
  NO_SDKAPPID: { code: 60012, message: 'sdkappid is missing', retryable: false },
  // Who calls.
  USERSIG_EXPIRED: { code: 70001, message: 'the UserSig has expired', retryable: false },
  USERSIG_EMPTY: { code: 70002, message: 'the UserSig is empty', retryable: false },
  USERSIG_MALFORMED: { code: 70003, message: 'the UserSig cannot be decoded', retryable: false },
  USERSIG_KEY_MISMATCH: { code: 70009, message: 'the UserSig was made with another key', retryable: false },
  USERSIG_IDENTIFIER_MISMATCH: { code: 70013, message: 'the UserSig is for another identifier', retryable: false },
  USERSIG_APP_MISMATCH: { code: 70014, message: 'the UserSig is for another app', retryable: false },
  APP_UNKNOWN: { code: 70020, message: 'no app has this sdkappid', retryable: false },
  USERSIG_REVOKED: { code: 70052, message: 'the UserSig was made invalid by a kick', retryable: false },
  ACCOUNT_NOT_REGISTERED: { code: 70107, message: 'no account has this name', retryable: false },
  // What it says.
  INVALID_FIELD: { code: 90010, message: 'a field has a wrong value', retryable: false },
  ACCOUNT_PARAMETER: { code: 70402, message: 'a parameter has a wrong value', retryable: false },
  BODY_ELEMENT: { code: 90002, message: 'an element of MsgBody is malformed', retryable: false },
  TO_ACCOUNT: { code: 90003, message: 'To_Account has a wrong value', retryable: false },
  MSG_SEQ: { code: 90004, message: 'MsgSeq has a wrong value', retryable: false },
  MSG_RANDOM: { code: 90005, message: 'MsgRandom has a wrong value', retryable: false },
  MSG_TIME_STAMP: { code: 90006, message: 'MsgTimeStamp has a wrong value', retryable: false },
  BODY_NOT_ARRAY: { code: 90007, message: 'MsgBody is not an array of elements', retryable: false },
  FROM_ACCOUNT: {
    code: 90008,
    message: 'From_Account has a wrong value or no account has this name',
    retryable: false,
  },
  TOO_MANY_ACCOUNTS: { code: 90011, message: 'too many accounts in one call', retryable: false },
  RECEIVER_UNKNOWN: { code: 90012, message: 'the receiver is no account of the app', retryable: false },
  LIFE_TIME: { code: 90026, message: 'MsgLifeTime has a wrong value', retryable: false },
  TO_ACCOUNT_NOT_ARRAY: { code: 90028, message: 'To_Account is not an array', retryable: false },
  TO_ACCOUNT_EMPTY: { code: 90029, message: 'To_Account is empty', retryable: false },
  SYNC_FROM_OLD_SYSTEM: { code: 90030, message: 'SyncFromOldSystem has a wrong value', retryable: false },
  SYNC_OTHER_MACHINE: { code: 90031, message: 'SyncOtherMachine has a wrong value', retryable: false },
  OFFLINE_PUSH_INFO: { code: 90043, message: 'OfflinePushInfo has a wrong value', retryable: false },
  // Pushes to many, and what they find accounts by.
  TASK_IDS_TOO_MANY: { code: 90014, message: 'too many TaskIds in one call', retryable: false },
  TASK_IDS_MISSING: { code: 90015, message: 'there are no TaskIds', retryable: false },
  TASK_ID: { code: 90016, message: 'a TaskId names no push to many', retryable: false },
  TOO_MANY_USERS: { code: 90018, message: 'too many accounts in one call', retryable: false },
  MARKS_SET: { code: 90019, message: 'what is to be set has a wrong form', retryable: false },
  ATTRIBUTE: { code: 90020, message: 'an attribute has a wrong form', retryable: false },
  MARKS_REMOVE: { code: 90021, message: 'what is to be removed has a wrong form', retryable: false },
  TAG_TWICE: { code: 90022, message: 'the same tag is asked for in both ways', retryable: false },
  MARKS_GET: { code: 90023, message: 'the list of accounts has a wrong form', retryable: false },
  PUSH_TOO_SOON: {
    code: 90024,
    message: 'the push to many before this one is less than a second ago',
    retryable: true,
  },
  PUSH_REPEATED: { code: 90025, message: 'a push to many of the last 7 days has this MsgRandom', retryable: false },
  PUSH_CONDITION: { code: 90027, message: 'Condition has a wrong form', retryable: false },
  MARK_LENGTH: { code: 90030, message: 'a tag or attribute is empty or over 50 bytes', retryable: false },
  TOO_MANY_TAGS: { code: 90032, message: 'more than 10 tags', retryable: false },
  ATTRIBUTE_UNKNOWN: { code: 90033, message: 'the app has no such attribute', retryable: false },
  TAG_LENGTH: { code: 90034, message: 'a tag is over 50 bytes', retryable: false },
  MARKED_ACCOUNT: { code: 90035, message: 'no account has this name', retryable: false },
  CONDITION_FAMILIES: { code: 90039, message: 'tags and attributes cannot be asked for together', retryable: false },
  TAG_EMPTY: { code: 90040, message: 'a tag is empty', retryable: false },
  PUSH_OFF: { code: 90045, message: 'pushes to many are switched off for the app', retryable: false },
  ACCOUNT_TAGS_FULL: { code: 90046, message: 'an account would have more than 100 tags', retryable: false },
  PUSHES_PER_DAY: { code: 90047, message: 'no more pushes to many today', retryable: false },
  MSG_KEY: { code: 90054, message: 'MsgKey has a wrong form', retryable: false },
  DIRTY_WORD: { code: 80001, message: 'the text holds a word that the app does not allow', retryable: false },
  MESSAGE_TOO_LONG: { code: 80002, message: 'the message is over the limit', retryable: false },
  REQUEST_TOO_LONG: { code: 93000, message: 'the request is over the limit', retryable: false },
  // What it asks for.
  SENDER_UNKNOWN: { code: 20003, message: 'the sender is no account of the app', retryable: false },
  REFUSED_BY_CALLBACK: { code: 20006, message: "the app's backend refused the message", retryable: false },
  RECALL_TOO_LATE: { code: 20016, message: 'the message is too old to be recalled', retryable: false },
  MESSAGE_NOT_FOUND: { code: 20022, message: 'there is no such message', retryable: false },
  ALREADY_RECALLED: { code: 20023, message: 'the message was recalled before', retryable: false },
  FORBIDDEN: { code: 20001, message: 'the caller may not do this', retryable: false },
  // Profiles.
  PROFILE_ACCOUNT_UNKNOWN: { code: 40003, message: 'no account has this name', retryable: false },
  PROFILE_DIRTY_WORD: { code: 40005, message: 'the text holds a word that the app does not allow', retryable: false },
  PROFILE_NO_READ_RIGHT: { code: 40007, message: 'the caller may not read this field', retryable: false },
  PROFILE_NO_WRITE_RIGHT: { code: 40008, message: 'the caller may not write this field', retryable: false },
  PROFILE_TAG: { code: 40009, message: 'there is no such profile field', retryable: false },
  PROFILE_TOO_LONG: { code: 40601, message: 'the value of a profile field is too long', retryable: false },
  PROFILE_VALUE: { code: 40605, message: 'the profile field does not take this value', retryable: false },
  PROFILE_TYPE: { code: 40610, message: 'the value of a profile field has a wrong type', retryable: false },
  // Dirty words.
  WORDS_INVALID: { code: 10004, message: 'the list of words is not right', retryable: false },
  // Groups.
  GROUP_PARAMETER: { code: 10004, message: 'a parameter of the group command has a wrong value', retryable: false },
  GROUP_TOO_MANY: { code: 10005, message: 'too many accounts in one call', retryable: false },
  GROUP_QUOTA: { code: 10006, message: 'the app may not have more groups', retryable: false },
  GROUP_FORBIDDEN: {
    code: 10007,
    message: 'the caller or the type of the group does not allow this',
    retryable: false,
  },
  GROUP_OWNER_STAYS: { code: 10009, message: 'the owner of such a group may not quit', retryable: false },
  GROUP_UNKNOWN: { code: 10010, message: 'there is no such group', retryable: false },
  GROUP_ALREADY_MEMBER: { code: 10013, message: 'the account is a member already', retryable: false },
  GROUP_FULL: { code: 10014, message: 'the group has no room for more members', retryable: false },
  GROUP_ID: { code: 10015, message: 'the group id is malformed', retryable: false },
  GROUP_REFUSED_BY_CALLBACK: { code: 10016, message: "the app's backend refused it", retryable: false },
  GROUP_MUTED: { code: 10017, message: 'the sender is muted in the group', retryable: false },
  GROUP_ANSWER_TOO_LONG: { code: 10018, message: 'the answer would be over 1 MB: ask for less', retryable: false },
  GROUP_ACCOUNT_UNKNOWN: { code: 10019, message: 'no account has this name', retryable: false },
  GROUP_MESSAGE_TOO_LONG: { code: 10020, message: 'the message is over the limit', retryable: false },
  GROUP_ID_TAKEN: { code: 10021, message: 'another group has this id', retryable: false },
  GROUP_RATE: { code: 10023, message: 'too many messages to the group', retryable: true },
  GROUP_REQUEST_HANDLED: { code: 10024, message: 'the request was handled already', retryable: false },
  GROUP_ID_OWN: { code: 10025, message: 'the owner has a group of this id already', retryable: false },
  GROUP_MESSAGE_UNKNOWN: { code: 10030, message: 'there is no such message', retryable: false },
  GROUP_RECALL_TOO_LATE: { code: 10031, message: 'the message is too old to be recalled', retryable: false },
  GROUP_NOT_RECALLABLE: { code: 10032, message: 'the message cannot be recalled', retryable: false },
  GROUP_TYPE_NOT_RECALLABLE: { code: 10033, message: 'groups of this type recall nothing', retryable: false },
  // The link.
  NOT_LOGGED_IN: { code: 6014, message: 'the first frame must be login', retryable: false },
  KICKED_WHILE_AWAY: { code: 6208, message: 'another terminal logged in while this one was away', retryable: true },
  RATE_LIMITED: { code: 60018, message: 'too many frames', retryable: true },
  // Us.
  DATABASE_UNAVAILABLE: { code: 91000, message: 'the database does not answer', retryable: true },
  BUSY: { code: 90994, message: 'too much is waiting already', retryable: true },
  INTERNAL: { code: 90995, message: 'an error on our side', retryable: true },
} as const satisfies Record<string, ImErrorEntry>;

export type ImErrorName = keyof typeof imErrorCatalogue;

/** An expected refusal of the messaging service: which error; where it is about a field: which, why, what would be right. */
export interface ImRefusal {
  ok: false;
  error: ImErrorName;
  /** A number of the app's own instead of the error's, 120001 … 130000 (K1). */
  code?: number;
  field?: string;
  reason?: string;
  allowed?: string;
}

export type ImResult<T = void> = { ok: true; value: T } | ImRefusal;

/** One line for people: `MsgRandom: must be an integer; allowed: 0 … 4294967295`. */
export function describeRefusal({ error, field, reason, allowed }: ImRefusal): string {
  const what = reason ?? imErrorCatalogue[error].message;
  const where = field === undefined ? what : `${field}: ${what}`;
  return allowed === undefined ? where : `${where}; allowed: ${allowed}`;
}
