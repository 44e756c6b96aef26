import type { BeforeOutcome, ImResult } from '../../../wire/index.ts';
import type { GroupSendInput } from '../../group-services.ts';
import { clientIdWindowMs, type Dedup } from '../../messages/repeat.ts';
import type { Sent } from '../../services.ts';
import type { Group } from '../model.ts';

/** A message whose final content is known, with the time that it has from now on. */
export interface Cleared {
  /** As it was sent, of several that are the same message as the first one was. */
  readonly input: GroupSendInput;
  /** As it was when the message came. */
  readonly group: Group;
  /** MsgBody, and its JSON text. */
  readonly body: readonly unknown[];
  readonly text: string;
  /** Unix seconds. */
  readonly time: number;
  /** What became of the question to the app's backend. */
  readonly before: BeforeOutcome;
  /** Of a time before: nobody is asked or told (API reference §4.20). */
  readonly isImport: boolean;
}

/** `silenced`: dropped by the app's backend; `dropped`: by the rate limit. Of both the sender has success, with seq 0 (G31). */
export type Outcome = 'stored' | 'repeat' | 'online-only' | 'silenced' | 'dropped' | 'refused';

/** What a send came to. */
export interface Ended {
  readonly outcome: Outcome;
  readonly result: ImResult<Sent>;
}

/** How long a repeat is the same message by MsgRandom (M13). */
const randomWindowMs = 300_000;

/** What makes a repeat one, and for how long. Never the content. An import is repeated by its time, too. */
export function groupDedupOf({
  input: { draft },
  time,
  isImport,
}: Pick<Cleared, 'input' | 'time' | 'isImport'>): Dedup {
  if (isImport) return { dedupKey: `i${draft.random}/${time}`, dedupWindowMs: clientIdWindowMs };
  if (draft.clientId !== undefined) return { dedupKey: `c${draft.clientId}`, dedupWindowMs: clientIdWindowMs };
  return { dedupKey: `r${draft.random}`, dedupWindowMs: randomWindowMs };
}

/** Success of a message that has no seq. */
export function withoutSeq({ input, time }: Pick<Cleared, 'input' | 'time'>, outcome: Outcome): Ended {
  const { random } = input.draft;
  return { outcome, result: { ok: true, value: { seq: 0, time, msgSeq: 0, random, isRepeat: false } } };
}
