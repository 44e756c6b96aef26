import t from 'tap';
import { openTestDatabase } from '../support/database.ts';
import { type MovableClock, openIm } from '../support/im.ts';
import { ImModel } from '../support/im-model.ts';
import { TestTerminal } from '../support/im-terminal.ts';

/**
 * Random operations against the reference model, over real links and REST, with several terminals, on a clock that only
 * moves when it is told to. `MODEL_OPERATIONS` and `MODEL_SEED` for other walks.
 */
const operations = Number(process.env.MODEL_OPERATIONS ?? 20_000);
const seed = Number(process.env.MODEL_SEED ?? 20_261_126);
const compareEvery = 200;
// The whole file, also when it runs by itself.
t.setTimeout(640_000);

const names = ['ann', 'bea', 'cem', 'dan'];
const platforms = ['Android', 'Web', 'iOS'];
const offlineBytes = 3_000;
const bytesOf = (text: string) => Buffer.byteLength(JSON.stringify(bodyOf(text)));
const bodyOf = (text: string) => [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }];

function createRandom(start: number) {
  let state = start % 2_147_483_647;
  const next = () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  return {
    chance: (probability: number) => next() < probability,
    below: (limit: number) => Math.floor(next() * limit),
    of: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T,
  };
}

t.test(
  '[M14][M15][M5][M8][M9] 20,000 random operations agree with the model on every terminal',
  { timeout: 600_000 },
  async (t) => {
    let nowMs = Date.UTC(2026, 10, 26, 12);
    const clock: MovableClock = Object.assign(() => nowMs, {
      advance(sec: number) {
        nowMs += sec * 1_000;
      },
    });
    const database = await openTestDatabase(t);
    const service = await openIm(t, { database, deps: { clock }, app: { multiTerminal: 'all', offlineBytes } });
    const { mailbox, accounts } = service.im;
    await service.im.maintain();
    const random = createRandom(seed);
    const model = new ImModel(Math.floor(nowMs / 1_000));
    const numbers = new Map(
      await Promise.all(
        names.map(async (name) => [name, await accounts.ensure(1_400_000_000, name as never)] as const),
      ),
    );
    const accountOf = (name: string) => numbers.get(name) as Awaited<ReturnType<typeof accounts.ensure>>;
    const terminals = names.flatMap((name) => platforms.map((platform) => new TestTerminal(service, name, platform)));
    const connected = (name?: string) =>
      terminals.filter(({ account, isConnected }) => isConnected && (name === undefined || account === name));
    const done: Record<string, number> = {};
    let text = 0;
    /** Own messages by REST of which the sender's terminals are not told: they find them with the next one. */
    const quiet = new Set<string>();

    const pair = (): [string, string] => {
      const from = random.of(names);
      return [from, random.of(names.filter((name) => name !== from))];
    };

    async function send(): Promise<string> {
      const [from, to] = pair();
      const message = {
        text: `text ${text++} ${'.'.repeat(random.below(200))}`,
        visibleTo: 'both',
        counts: true,
        lifetimeSec: 604_800,
      } as const;
      const terminal = random.of(connected(from));
      if (terminal !== undefined && random.chance(0.7)) {
        const lifetimeSec = random.chance(0.1) ? 3_600 : message.lifetimeSec;
        const expected = model.send(from, to, { ...message, lifetimeSec });
        const request = { clientId: `${text}`, lifetimeSec, body: bodyOf(message.text) };
        const sent = await terminal.send(`c2c:${to}`, request);
        t.equal(sent.seq, expected, `seq of ${message.text}`);
        if (random.chance(0.2)) t.match(await terminal.send(`c2c:${to}`, request), { seq: expected, repeat: true });
        return 'send';
      }
      const sync = random.of([undefined, 1, 2]);
      const counts = random.chance(0.85);
      if (sync === undefined) quiet.add(message.text);
      model.send(from, to, { ...message, counts, visibleTo: sync === 2 ? 'receiver' : 'both' });
      const answer = await service.call('openim/sendmsg', {
        From_Account: from,
        To_Account: to,
        MsgRandom: text,
        MsgBody: bodyOf(message.text),
        ...(sync === undefined ? {} : { SyncOtherMachine: sync }),
        ...(counts ? {} : { SendMsgControl: ['NoUnread'] }),
      });
      t.equal(answer.ErrorCode, 0, `${answer.ErrorInfo}`);
      return 'send by REST';
    }

    async function read(): Promise<string> {
      const [account, peer] = pair();
      const terminal = random.of(connected(account));
      const end = model.conversation(account, peer).messages.length;
      const seq = random.chance(0.5) || end === 0 ? undefined : 1 + random.below(end);
      if (terminal === undefined) {
        await service.call('openim/admin_set_msg_read', { Report_Account: account, Peer_Account: peer });
        model.read(account, peer);
        return 'read by REST';
      }
      const answer = await terminal.link.ok('read', {
        conversation: `c2c:${peer}`,
        ...(seq === undefined ? {} : { seq }),
      });
      model.read(account, peer, seq);
      t.equal(answer.unread, model.unread(account, peer), 'unread after reading');
      return 'read';
    }

    async function recall(): Promise<string> {
      const [from, to] = pair();
      const own = model.view(from, to).filter((message) => message.from === from && !message.recalled);
      const message = random.of(random.chance(0.6) ? own.slice(-3) : own);
      const terminal = random.of(connected(from));
      if (message === undefined || terminal === undefined) return 'nothing';
      const answer = await terminal.link.ask('recall', { conversation: `c2c:${to}`, seq: message.seq });
      if (model.nowSec - message.time > 120) t.match(answer, { error: { name: 'RECALL_TOO_LATE' } });
      else {
        t.match(answer, { ok: {} }, `recall ${message.seq}`);
        model.recall(from, to, message.seq);
      }
      return 'recall';
    }

    async function acknowledge(): Promise<string> {
      const terminal = random.of(connected());
      if (terminal === undefined) return 'nothing';
      await terminal.settle();
      const peer = random.of(names.filter((name) => name !== terminal.account));
      const through = await terminal.acknowledge(`c2c:${peer}`);
      const side = model.side(terminal.account, peer);
      side.acknowledged = Math.max(side.acknowledged, through);
      return 'acknowledge';
    }

    async function change(): Promise<string> {
      const terminal = random.of(terminals);
      if (!terminal.isConnected) {
        const resume = random.chance(0.5);
        await terminal.connect({ resume });
        return resume ? 'resume' : 'login';
      }
      if (random.chance(0.1)) await terminal.settle();
      await terminal.cut();
      return 'cut';
    }

    async function kick(): Promise<string> {
      const name = random.of(names);
      const links = connected(name);
      t.equal((await service.call('im_open_login_svc/kick', { Identifier: name })).ErrorCode, 0);
      for (const terminal of links) {
        t.match(await terminal.link.closed, { code: 4101 });
        await terminal.cut();
      }
      const old = await service.openLink();
      const login = {
        sdkAppId: 1_400_000_000,
        identifier: name,
        userSig: service.userSig(name, { ago: 0 }),
        platform: 'Web',
      };
      t.match(
        await old.ask('login', login),
        { error: { name: 'USERSIG_REVOKED' } },
        '[I4] a UserSig of then is no good',
      );
      pass(2_000);
      return 'kick';
    }

    function pass(ms: number): void {
      nowMs += ms;
      model.nowSec = Math.floor(nowMs / 1_000);
    }

    /** Hours pass. Links would be closed for their silence, sooner or later: here at once. */
    async function wait(): Promise<string> {
      for (const terminal of connected()) {
        if (random.chance(0.5)) await terminal.settle();
        await terminal.cut();
      }
      pass((1 + random.below(30)) * 3_600_000);
      await service.im.maintain();
      for (const terminal of terminals) if (random.chance(0.6)) await terminal.connect();
      return 'wait';
    }

    async function compare(): Promise<void> {
      for (const name of names) {
        const account = accountOf(name);
        const views = await mailbox.recents(account);
        const shown = views.map(({ peer, time, unread, last }) => ({ peer, time, unread, last: textOf(last?.body) }));
        t.strictSame(
          shown.map(({ time }) => time),
          shown.map(({ time }) => time).toSorted((a, b) => b - a),
          'newest first',
        );
        shown.sort((a, b) => b.time - a.time || (a.peer < b.peer ? -1 : 1));
        t.strictSame(shown, model.recents(name), `recents of ${name}`);
        const total = model.peers(name).reduce((sum, peer) => sum + model.unread(name, peer), 0);
        t.equal(await mailbox.unreadTotal(account), total, `unread of ${name}`);
        const { messages } = await mailbox.offline(account);
        t.strictSame(
          messages.map(({ body }) => textOf(body)),
          model.offline(name, offlineBytes, bytesOf),
          `offline of ${name}`,
        );
        const peers = names.filter((other) => other !== name);
        const seen = (peer: string) =>
          model.view(name, peer).map(({ seq, from, text, recalled }) => [seq, from, recalled ? '' : text]);
        for (const peer of peers) {
          const history = await mailbox.history(account, accountOf(peer), { limit: 10_000, maxBytes: 10_000_000 });
          t.strictSame(
            history.messages.map(({ seq, from, body }) => [seq, from, textOf(body)]),
            seen(peer),
            `history of ${name} with ${peer}`,
          );
        }
        for (const terminal of connected(name)) {
          await terminal.settle();
          const untold = peers.flatMap((peer) => {
            const { through } = terminal.conversation(`c2c:${peer}`);
            return model
              .view(name, peer)
              .filter(({ seq, from, text }) => seq > through && !(from === name && quiet.has(text)));
          });
          t.strictSame(untold, [], `what ${terminal.platform} of ${name} was not told of`);
          await terminal.resync();
          for (const peer of peers) {
            const expected = seen(peer);
            const alive = new Set(expected.map(([seq]) => seq));
            const held = [...terminal.conversation(`c2c:${peer}`).messages]
              .filter(([seq]) => alive.has(seq))
              .sort(([a], [b]) => a - b)
              .map(([seq, { from, text }]) => [seq, from, text]);
            t.strictSame(held, expected, `what ${terminal.platform} of ${name} has of ${peer}`);
          }
        }
      }
    }

    for (let step = 1; step <= operations; step++) {
      const dice = random.below(1_000);
      const operate =
        dice < 500
          ? send
          : dice < 680
            ? read
            : dice < 760
              ? recall
              : dice < 860
                ? acknowledge
                : dice < 985
                  ? change
                  : dice < 992
                    ? kick
                    : wait;
      const what = await operate();
      done[what] = (done[what] ?? 0) + 1;
      pass(1 + random.below(400));
      if (step % compareEvery === 0 || step === operations) await compare();
      if (!t.passing()) {
        t.comment(`seed ${seed}, step ${step}`);
        break;
      }
    }
    t.comment(`seed ${seed}: ${JSON.stringify(done)}`);
  },
);

function textOf(body: string | undefined): string {
  return JSON.parse(body ?? '[]')[0]?.MsgContent.Text ?? '';
}
