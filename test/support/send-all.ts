import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { signUserSig } from '../../src/auth/index.ts';
import type { OpenedDatabase } from '../../src/store/index.ts';

/** What system tests share that send many messages while processes are killed. */

export const sdkAppId = 1_400_000_000;
export const secret = 'a secret of sixteen or more';
export const conversations = 50;
const senders = 40;

/** A message that was acknowledged. */
export interface Sent {
  readonly key: string;
  readonly number: number;
}

/** Sends messages over REST, each until it is acknowledged, however often the service is killed meanwhile. */
export async function sendAll(
  t: Test,
  url: () => string,
  count: number,
  /** Once there are the accounts. */
  prepare: () => Promise<void> = async () => {},
): Promise<{ sent: Sent[]; done: Promise<void> }> {
  const userSig = signUserSig({
    sdkAppId,
    identifier: 'admin',
    secret,
    expireSec: 86_400,
    issuedAtSec: Math.floor(Date.now() / 1_000) - 10,
  });
  const query = new URLSearchParams({
    sdkappid: String(sdkAppId),
    identifier: 'admin',
    usersig: userSig,
    random: '1',
    contenttype: 'json',
  });
  const call = async (command: string, body: object): Promise<Record<string, unknown>> => {
    const response = await fetch(`${url()}/v4/${command}?${query}`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(5_000),
    });
    return (await response.json()) as Record<string, unknown>;
  };
  const accounts = Array.from({ length: conversations * 2 }, (_, index) => `p${index}`);
  t.equal((await call('im_open_login_svc/multiaccount_import', { Accounts: accounts })).ErrorCode, 0);
  await prepare();
  const sent: Sent[] = [];
  let next = 0;
  let isOver = false;
  t.teardown(() => {
    isOver = true;
  });
  const sendOne = async (number: number): Promise<void> => {
    const pair = number % conversations;
    while (!isOver) {
      const answer = await call('openim/sendmsg', {
        From_Account: `p${pair * 2}`,
        To_Account: `p${pair * 2 + 1}`,
        MsgSeq: number,
        MsgRandom: number,
        MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `message ${number}` } }],
      }).catch(() => undefined);
      if (answer?.ErrorCode === 0) {
        sent.push({ key: String(answer.MsgKey), number });
        return;
      }
      await delay(50);
    }
  };
  const worker = async (): Promise<void> => {
    while (next < count) await sendOne(next++);
  };
  return { sent, done: Promise.all(Array.from({ length: senders }, worker)).then(() => undefined) };
}

/** The database as everybody else reaches it: by URL, over its unix socket. */
export function urlOf({ target }: OpenedDatabase): string {
  if (!('host' in target)) throw new Error('not the embedded one');
  const { host, port, user, password, database } = target;
  const where = new URLSearchParams({ host, port: String(port) });
  return `postgres://${user}:${password}@localhost/${database}?${where}`;
}
