import { isDeepStrictEqual } from 'node:util';
import {
  type BeforeCommand,
  type BeforeOutcome,
  describeRefusal,
  type MessageElement,
  parseMessageBody,
} from '../../wire/index.ts';
import type { PostFailure, PostResult } from '../endpoint/poster.ts';

/**
 * What holds for the action. `allow` also where nobody was asked or nothing usable came (K2); `outcome` says which.
 *
 * `body`: the rewritten MsgBody, checked like a sent one. `refusedMembers`: those whom an invitation leaves out. `results`: refusals
 * of single accounts of a friend request, with the app's code. With one of these two the outcome is `refused`, though the rest goes on.
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

/** Why a call decided nothing. */
export type SilenceReason =
  | PostFailure
  /** Another status than 200. */
  | 'status'
  /** The answer came compressed, though nobody said that we take that. */
  | 'encoded'
  | 'not-json'
  /** JSON, but without the fields of an answer, or with two that contradict one another. */
  | 'fields'
  /** An ErrorCode that has no meaning for the command. */
  | 'code'
  /** A MsgBody that nobody could have sent. */
  | 'rewrite'
  /** A RefusedMembers_Account or ResultItem that is none. */
  | 'list';

/** What came of a call. `detail` is for people: it names fields, and quotes nothing of a message or of what the backend wrote. */
export type Reading =
  | { readonly kind: 'decided'; readonly decision: Decision; readonly detail?: string; readonly reason?: SilenceReason }
  | {
      readonly kind: 'silent';
      readonly outcome: 'timeout' | 'error';
      readonly reason: SilenceReason;
      readonly detail: string;
      /**
       * Whether the endpoint answered readably all the same: then it is not dead, and the breaker hears of a success. Or else
       * whoever writes messages that a backend rewrites badly could have the others' messages go unasked.
       */
      readonly isReadable: boolean;
    };

export interface AskedOf {
  readonly command: BeforeCommand;
  /** Fields of the question: an answer can only refuse those who stand in it. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Of a message of this app, at most. */
  readonly messageBytes: number;
}

type Answer = Readonly<Record<string, unknown>>;

interface Rule {
  /** What ErrorCode 1 means to the caller. */
  readonly refusal?: number;
  /** Codes, first to last, that refuse and go to the caller as they are, with ErrorInfo. */
  readonly ownCodes?: readonly [first: number, last: number];
  /** Whether ErrorCode 2 drops the action silently. */
  readonly drops?: true;
  /** What any other code says: nothing usable, or that the action goes on. */
  readonly others: 'silence' | 'go-on';
  /** What an answer with ErrorCode 0 adds. */
  readonly additions?: (answer: Answer, asked: AskedOf) => Reading;
  /** The code of a refusal because of silence, where the app wants that. */
  readonly silence: number;
}

const group = { refusal: 10016, ownCodes: [10100, 10200], others: 'silence', silence: 10016 } as const;
// 38000 is the first of the codes that clients know as the app's own refusal: the vendor has none for this.
const relation = { others: 'go-on', silence: 38000 } as const;

/** What ErrorCode means, command by command (API reference §10.2). 0 always allows. */
const rules: Readonly<Record<BeforeCommand, Rule>> = {
  'C2C.CallbackBeforeSendMsg': {
    refusal: 20006,
    ownCodes: [120001, 130000],
    others: 'silence',
    additions: readRewrite,
    silence: 20006,
  },
  'Group.CallbackBeforeSendMsg': { ...group, drops: true, additions: readRewrite },
  'Group.CallbackBeforeCreateGroup': group,
  'Group.CallbackBeforeApplyJoinGroup': group,
  'Group.CallbackBeforeInviteJoinGroup': { ...group, additions: readRefusedMembers },
  'Sns.CallbackPrevFriendAdd': { ...relation, additions: readResults('FriendItem') },
  'Sns.CallbackPrevFriendResponse': { ...relation, additions: readResults('ResponseFriendItem') },
};
const accountCodes = [38000, 39000] as const;

const maxReasonChars = 500;
const maxDetailChars = 300;
const plainReason = "the app's backend refused it";
const allowed: Decision = { kind: 'allow', outcome: 'allowed' };

/**
 * What the result of a call decides. Pure; never throws.
 *
 * Strict where it matters, lenient where backends differ:
 *
 * - Status 200 alone counts, and a body that is a JSON object; a byte order mark before it is passed over, as some frameworks
 *   write one; of two fields of one name the last counts, as with every usual parser. Names are case-sensitive.
 * - ErrorCode must be there and a number: `"0"` or `null` is no decision.
 * - ActionStatus may be absent or anything, because ErrorCode says it all, but `FAIL` with ErrorCode 0 contradicts itself.
 * - ErrorInfo may be absent or anything; only with a code of the app's own does it go to the caller: cut, without control
 *   characters, well-formed.
 * - `null` for MsgBody and the lists is as if absent. Anything else in them must be right as a whole: an answer counts entirely or
 *   not at all.
 * - A MsgBody that is the one that was asked about is no rewrite.
 * - Whoever was not asked about is passed over in the lists; of two entries for one account the refusal counts.
 */
export function readDecision(asked: AskedOf, result: PostResult): Reading {
  if (result.kind === 'failed') {
    const { failure } = result;
    const detail = tidy(result.detail, maxDetailChars);
    if (failure === 'timeout') return silent('timeout', failure, `no answer in time${detail && `: ${detail}`}`);
    return silent('error', failure, detail === '' ? failure : `${failure}: ${detail}`);
  }
  if (result.status !== 200) return silent('error', 'status', `HTTP ${result.status}`);
  if (result.isEncoded) return silent('error', 'encoded', 'the answer is encoded (Content-Encoding), or not UTF-8');
  const answer = parseObject(result.body);
  if (typeof answer === 'string') return silent('error', 'not-json', answer);

  const code = answer.ErrorCode;
  if (typeof code !== 'number') {
    const what = code === undefined ? 'is missing' : 'is no number';
    return silent('error', 'fields', `ErrorCode ${what}`);
  }
  if (code === 0) {
    if (answer.ActionStatus === 'FAIL') return silent('error', 'fields', 'ActionStatus is FAIL with ErrorCode 0');
    return rules[asked.command].additions?.(answer, asked) ?? decided(allowed);
  }
  return readCode(asked.command, code, answer);
}

/** What the app's backend would have answered, had it wanted to refuse, for an app that has silence refuse. */
export function refusalOfSilence(command: BeforeCommand, outcome: BeforeOutcome): Decision {
  const reason = "the app's backend gave no usable answer, and the app has it refused then";
  return { kind: 'refuse', outcome, code: rules[command].silence, reason };
}

function readCode(command: BeforeCommand, code: number, answer: Answer): Reading {
  const { refusal, ownCodes, drops, others } = rules[command];
  if (code === 1 && refusal !== undefined) {
    return decided({ kind: 'refuse', outcome: 'refused', code: refusal, reason: plainReason }, 'ErrorCode 1');
  }
  if (code === 2 && drops) return decided({ kind: 'drop', outcome: 'dropped' }, 'ErrorCode 2');
  if (ownCodes !== undefined && isWithin(code, ownCodes)) {
    const reason = reasonOf(answer.ErrorInfo);
    return decided({ kind: 'refuse', outcome: 'refused', code, reason }, `ErrorCode ${code}`);
  }
  if (others === 'silence') {
    return silent('error', 'code', `ErrorCode ${code} has no meaning for this command`, true);
  }
  // Documented so, hence no silence, and no matter of what the app wants of silence. It is shown all the same.
  const decision: Decision = { kind: 'allow', outcome: 'error' };
  return { kind: 'decided', decision, detail: `ErrorCode ${code}: ResultItem is not looked at`, reason: 'code' };
}

function readRewrite(answer: Answer, { fields, messageBytes }: AskedOf): Reading {
  const { MsgBody } = answer;
  if (isAbsent(MsgBody)) return decided(allowed);
  const parsed = parseMessageBody(MsgBody, { maxBytes: messageBytes });
  if (!parsed.ok) return silent('error', 'rewrite', tidy(describeRefusal(parsed), maxDetailChars), true);
  if (isDeepStrictEqual(parsed.value, fields.MsgBody)) return decided(allowed);
  return decided({ kind: 'allow', outcome: 'rewritten', body: parsed.value });
}

function readRefusedMembers(answer: Answer, { fields }: AskedOf): Reading {
  const list = answer.RefusedMembers_Account;
  if (isAbsent(list)) return decided(allowed);
  if (!Array.isArray(list)) return silent('error', 'list', 'RefusedMembers_Account must be an array', true);
  const wrong = list.findIndex((account) => typeof account !== 'string');
  if (wrong >= 0) return silent('error', 'list', `RefusedMembers_Account[${wrong}] must be a string`, true);
  const asked = accountsOf(fields.DestinationMembers, 'Member_Account');
  const refused = new Set<unknown>(list);
  const refusedMembers = [...asked].filter((account) => refused.has(account));
  if (refusedMembers.length === 0) return decided(allowed);
  return decided({ kind: 'allow', outcome: 'refused', refusedMembers }, share(refusedMembers.length, asked.size));
}

function readResults(askedField: string): (answer: Answer, asked: AskedOf) => Reading {
  return (answer, { fields }) => {
    const list = answer.ResultItem;
    if (isAbsent(list)) return decided(allowed);
    if (!Array.isArray(list)) return silent('error', 'list', 'ResultItem must be an array', true);
    const asked = accountsOf(fields[askedField], 'To_Account');
    const results = new Map<string, { code: number; reason: string }>();
    for (const [i, item] of list.entries()) {
      const { To_Account: account, ResultCode: code, ResultInfo: info } = (item ?? {}) as Answer;
      const at = `ResultItem[${i}]`;
      if (typeof account !== 'string') return silent('error', 'list', `${at}.To_Account must be a string`, true);
      if (typeof code !== 'number' || (code !== 0 && !isWithin(code, accountCodes))) {
        return silent('error', 'list', `${at}.ResultCode must be 0 or ${accountCodes.join(' … ')}`, true);
      }
      if (code === 0 || !asked.has(account) || results.has(account)) continue;
      results.set(account, { code, reason: reasonOf(info) });
    }
    if (results.size === 0) return decided(allowed);
    return decided({ kind: 'allow', outcome: 'refused', results }, share(results.size, asked.size));
  };
}

/** The answer, or what is wrong with it. */
function parseObject(body: string): Answer | string {
  const text = body.startsWith('\ufeff') ? body.slice(1) : body;
  if (text.trim() === '') return 'the answer is empty';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // What the parser says quotes the answer.
    return 'the answer is no JSON';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'the answer is no JSON object';
  return value as Answer;
}

/** The accounts that a list of the question names. */
function accountsOf(list: unknown, key: string): Set<string> {
  if (!Array.isArray(list)) return new Set();
  const accounts = list.map((item: unknown) => ((item ?? {}) as Answer)[key]);
  return new Set(accounts.filter((account) => typeof account === 'string'));
}

const isAbsent = (value: unknown): value is undefined | null => value === undefined || value === null;
const isWithin = (code: number, [first, last]: readonly [number, number]): boolean =>
  Number.isInteger(code) && code >= first && code <= last;
const share = (some: number, all: number): string => `${some} of ${all} refused`;

/** How many of the accounts of a question its answer refused, by the detail of its {@link Reading}; undefined: it did not name any. */
export function readShare(detail: string | undefined): { some: number; all: number } | undefined {
  const [, some, all] = /^(\d+) of (\d+) refused$/.exec(detail ?? '') ?? [];
  return some === undefined || all === undefined ? undefined : { some: Number(some), all: Number(all) };
}

function reasonOf(info: unknown): string {
  const reason = typeof info === 'string' ? tidy(info, maxReasonChars) : '';
  return reason === '' ? plainReason : reason;
}

/** Text of others, fit for a line that people read: one line, well-formed, not longer than that. */
function tidy(text: string, maxChars: number): string {
  // Half of a pair at the cut would become a character that nobody wrote.
  const cut = text.length <= maxChars ? text : text.slice(0, maxChars).replace(/[\ud800-\udbff]$/, '');
  return cut
    .toWellFormed()
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim();
}

function decided(decision: Decision, detail?: string): Reading {
  return { kind: 'decided', decision, ...(detail !== undefined && { detail }) };
}

function silent(outcome: 'timeout' | 'error', reason: SilenceReason, detail: string, isReadable = false): Reading {
  return { kind: 'silent', outcome, reason, detail, isReadable };
}
