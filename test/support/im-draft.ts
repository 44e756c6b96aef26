import type { Account, BeforeSend } from '../../src/im/index.ts';
import type { Draft, SendInput } from '../../src/im/services.ts';

/** MsgBody of one text. */
export const textBody = (text: string) => [{ MsgType: 'TIMTextElem' as const, MsgContent: { Text: text } }];

/** A send as a terminal of the account would make it, with a MsgRandom of its own. */
export function sendInput(
  from: Account,
  to: Account,
  draft: Partial<Draft> = {},
  more: Partial<SendInput> = {},
): SendInput {
  return {
    from,
    to,
    draft: {
      body: textBody('hello'),
      random: Math.floor(Math.random() * 4_294_967_296),
      lifetimeSec: 604_800,
      visibility: 'both',
      tellSender: true,
      counts: true,
      ...draft,
    },
    authority: 'self',
    origin: { platform: 'Android', address: '' },
    deadline: AbortSignal.timeout(10_000),
    ...more,
  };
}

/** An app's backend that is always asked. */
export const asks = (ask: BeforeSend['ask']): BeforeSend => ({ wants: () => true, ask });
