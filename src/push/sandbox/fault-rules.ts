import { type ApnsFault, apnsFaultWords, parseApnsFault } from './apns-faults.ts';
import { fcmRefusals } from './fcm-answers.ts';
import { type FcmFault, fcmBreaks, parseFcmFault } from './fcm-faults.ts';

/** What becomes of pushes to tokens that begin with `prefix`. */
export interface FaultRule {
  readonly prefix: string;
  /** As each service does it; undefined: it knows nothing of the kind. */
  readonly apns: ApnsFault | undefined;
  readonly fcm: FcmFault | undefined;
  /** Of the first so many pushes that it fits. */
  readonly times: number;
}

/** All words, for whoever asks. */
export const faultWords = { apns: apnsFaultWords, fcm: [...fcmRefusals, ...fcmBreaks] as readonly string[] };

/** `<beginning of the token>=<word>`, with `*<times>` behind it where it is not for ever; undefined: it is none. Pure. */
export function parseFaultRule(text: string): FaultRule | undefined {
  const [, prefix = '', word = '', times] = /^([^=]*)=([^*]+)(?:\*([1-9][0-9]{0,5}))?$/.exec(text) ?? [];
  // Apple's answers have a status in front of their reason; either way is fine.
  const apns = parseApnsFault(word.replace(/^[0-9]{3} /, ''));
  const fcm = parseFcmFault(word);
  if (apns === undefined && fcm === undefined) return undefined;
  return { prefix, apns, fcm, times: times === undefined ? Number.POSITIVE_INFINITY : Number(times) };
}

/** Which rule is for a push; each counts its own. */
export function createFaultRules(rules: readonly FaultRule[]) {
  const left = rules.map((rule) => ({ rule, times: rule.times }));
  return {
    /** The first that fits; one that has been used up no longer does. */
    take<service extends 'apns' | 'fcm'>(service: service, token: string): FaultRule[service] {
      const found = left.find(
        ({ rule, times }) => times > 0 && rule[service] !== undefined && token.startsWith(rule.prefix),
      );
      if (found === undefined) return undefined;
      found.times -= 1;
      return found.rule[service];
    },
  };
}
