import t from 'tap';
import { memoryStorage, textOf } from '../../src/sdk/im/index.ts';
import { lasting, until, type WatchedClient, watchClient } from '../support/im-client.ts';
import { openScript, type Script } from '../support/link-script.ts';

/** Random numbers that are the same every time (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const peers = ['bob', 'carol', 'dave'];

/**
 * Anything at any time: messages whose events come, are lost, repeated or late; cuts, before and after a request was
 * carried out; restarts over the same storage; sends, reads, recalls, look-ups. In the end everything has to agree.
 */
async function run(t: Tap.Test, seed: number, steps: number): Promise<void> {
  const random = createRandom(seed);
  const chance = (of: number): boolean => random() < of;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const service = await openScript(t);
  service.pageMessages = 1 + Math.floor(random() * 5);
  const storage = lasting(memoryStorage({ maxBytes: chance(0.3) ? 20_000 : 20_000_000 }));
  const shown: string[] = [];
  const late: (() => void)[] = [];
  let isRough = true;
  let no = 0;

  service.script = async ({ do: what }): Promise<Script> => {
    if (!isRough) return undefined;
    if (chance(0.15)) post(pick(peers), 'alice');
    if (chance(0.3)) await new Promise((resolve) => setImmediate(resolve));
    if (chance(0.04)) return 'cut-before';
    if (chance(0.04)) return 'cut-after';
    if (what === 'send' && chance(0.1)) return { error: { name: 'BUSY', retryable: true } };
    return undefined;
  };

  function post(from: string, to: string): void {
    no += 1;
    const isSilent = isRough && chance(0.3);
    const message = service.post(from, to, `${from}-${no}`, {
      isSilent: true,
      isHidden: from !== 'alice' && chance(0.1),
    });
    if (message.isHidden === true || isSilent) return;
    const event = service.event('alice', message);
    const say = (): void => service.say('alice', event);
    if (isRough && chance(0.2)) late.push(say);
    else say();
    if (isRough && chance(0.1)) say();
  }

  async function open(): Promise<WatchedClient> {
    const watched = watchClient(t, {
      url: service.url,
      storage,
      random,
      limits: {
        backoffMs: 3,
        maxBackoffMs: 10,
        requestTimeoutMs: 500,
        messagesPerConversation: 150,
        cacheBytes: 4_000,
      },
    });
    watched.client.onNewMessage((message) => shown.push(`${message.conversation} ${message.seq} ${textOf(message)}`));
    await watched.client.login('alice', 'sig');
    return watched;
  }

  let watched = await open();
  let restarts = 0;
  let signedInAt = Number.POSITIVE_INFINITY;
  watched.client.onRefresh(() => {
    signedInAt = Math.min(signedInAt, no);
  });
  for (let step = 0; step < steps; step += 1) {
    const peer = pick(peers);
    const conversation = watched.client.getConversation(peer);
    const dice = random();
    if (dice < 0.4) post(peer, 'alice');
    else if (dice < 0.45) post('alice', peer);
    else if (dice < 0.6) conversation.sendMessage(`mine-${++no}`);
    else if (dice < 0.65) late.splice(0).map((say) => say());
    else if (dice < 0.7) service.links[0]?.cut();
    else if (dice < 0.75) await conversation.getMessage({ count: 1 + Math.floor(random() * 30) }).catch(() => {});
    else if (dice < 0.8) await conversation.setReadMessage();
    else if (dice < 0.83) {
      const message = pick(service.messages(peer, 'alice'));
      if (message !== undefined && message.isRecalled !== true && message.isHidden !== true) {
        service.recall('alice', peer, message.seq, { isSilent: chance(0.5) });
      }
    } else if (dice < 0.86) service.say('alice', { on: 'resync' });
    else if (dice < 0.88) {
      await watched.client.close();
      restarts += 1;
      watched = await open();
    } else if (dice < 0.9) service.now += 1;
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }

  isRough = false;
  for (const say of late) say();
  // Whatever was lost is found by the next link.
  await until(() => watched.client.connectionState === 'connected');
  const refreshes = watched.told.filter((one) => one === 'refresh').length;
  service.links[0]?.cut();
  await watched.until('refresh', refreshes + 1);
  const pending = async (): Promise<boolean> => {
    const pages = peers.map((peer) => watched.client.getConversation(peer).getLocalMessage({ count: 200 }));
    return (await Promise.all(pages)).some(({ messages }) => messages.some(({ status }) => status === 'sending'));
  };
  while (await pending()) await new Promise((resolve) => setTimeout(resolve, 2));

  t.equal(new Set(shown).size, shown.length, `seed ${seed}: nothing was shown twice`);
  for (const peer of peers) {
    const conversation = watched.client.getConversation(peer);
    const truth = service.messages(peer, 'alice').filter(({ isHidden, from }) => isHidden !== true || from === 'alice');
    const found: string[] = [];
    let before: number | undefined;
    do {
      const page = await conversation.getMessage({ count: 40, ...(before !== undefined && { before }) });
      found.unshift(...page.messages.map((message) => `${message.seq} ${textOf(message)} ${message.status}`));
      before = page.isComplete ? undefined : page.messages[0]?.seq;
    } while (before !== undefined);
    t.same(
      found,
      truth.map(({ seq, text, isRecalled }) => (isRecalled === true ? `${seq}  recalled` : `${seq} ${text} sent`)),
      `seed ${seed}: the history with ${peer}`,
    );
    await until(
      () => conversation.unread === service.unread('alice', peer),
      () => `seed ${seed}: ${peer} unread ${conversation.unread}, not ${service.unread('alice', peer)}`,
    );
    const sent = truth.filter(({ text }) => text.startsWith('mine-')).map(({ text }) => text);
    t.equal(new Set(sent).size, sent.length, `seed ${seed}: nothing was sent twice`);
    const numbers = sent.map((text) => Number(text.slice(5)));
    t.same(
      numbers,
      numbers.toSorted((a, b) => a - b),
      `seed ${seed}: in order`,
    );
    if (restarts > 0) continue;
    const missing = truth
      .filter(({ text, isRecalled }) => !text.startsWith('mine-') && isRecalled !== true)
      // Of what was before it the last one alone has to come.
      .filter(({ text }) => Number(text.split('-')[1]) > signedInAt)
      .map(({ seq, text }) => `c2c:${peer} ${seq} ${text}`)
      .filter((one) => !shown.includes(one));
    t.same(missing, [], `seed ${seed}: everything was shown`);
  }
  await watched.client.close();
}

declare namespace Tap {
  type Test = import('tap').Test;
}

const seeds = process.env.IM_FUZZ_SEEDS?.split(',').map(Number) ?? Array.from({ length: 12 }, (_, i) => i + 1);
for (const seed of seeds) {
  t.test(`[H4] [M13] [M14] [M15] anything at any time, seed ${seed}`, (t) => run(t, seed, 150));
}
