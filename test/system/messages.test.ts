import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { signUserSig } from '../../src/auth/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { createImClient, type ImClient, textOf } from '../../src/sdk/im/index.ts';
import { openDatabase } from '../../src/store/index.ts';
import { makeDataDir, makeTestLogger, until } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { type Service, spawnService } from '../support/service.ts';

// The whole file, also when it runs by itself.
t.setTimeout(280_000);

const sdkAppId = 1_400_000_000;
const secret = 'a secret of sixteen or more';
const pairs = 25;
/** Messages of one client that may be on their way at once. */
const inFlight = 3;

interface Person {
  name: string;
  peer: string;
  client: ImClient;
  /** Texts in the order in which they were sent. */
  sent: string[];
  /** Those that the service acknowledged. */
  acknowledged: Set<string>;
  received: string[];
}

t.test(
  '[M16][M13][M15][H4] 50 clients send while the program is killed ten times and PostgreSQL three times',
  { timeout: 240_000 },
  async (t) => {
    const dataDir = await makeDataDir(t);
    const port = await freePort();
    const apps = [{ sdkAppId, secret, im: { appPerSec: 0, commandPerSec: 0 } }];
    const options = {
      dataDir,
      args: ['--roles', 'im,ops'],
      env: { QALGATE_LISTEN_IM: `127.0.0.1:${port}`, QALGATE_APPS: JSON.stringify(apps), QALGATE_LOG_ACCESS: 'false' },
    };
    let service: Service = await spawnService(options);
    t.teardown(() => service.process.kill('SIGKILL'));

    const issuedAtSec = Math.floor(Date.now() / 1_000) - 10;
    const people = Array.from({ length: pairs * 2 }, (_, index): Person => {
      const name = `p${index}`;
      const client = createImClient({
        url: `http://127.0.0.1:${port}`,
        sdkAppId,
        platform: 'Linux',
        // So that a test need not wait for what a person would.
        limits: {
          backoffMs: 50,
          maxBackoffMs: 500,
          requestTimeoutMs: 3_000,
          sendTimeoutMs: 120_000,
          loginTimeoutMs: 60_000,
        },
      });
      const person: Person = {
        name,
        peer: `p${index ^ 1}`,
        client,
        sent: [],
        acknowledged: new Set(),
        received: [],
      };
      client.onNewMessage((message) => {
        if (!message.isSelf) person.received.push(textOf(message));
      });
      t.teardown(() => client.close());
      return person;
    });
    await Promise.all(
      people.map(({ client, name }) =>
        client.login(name, signUserSig({ sdkAppId, identifier: name, secret, expireSec: 86_400, issuedAtSec })),
      ),
    );

    let isOver = false;
    async function chat(person: Person): Promise<void> {
      const conversation = person.client.getConversation(person.peer);
      const sendOne = async (): Promise<void> => {
        const text = `${person.name} ${person.sent.length}`;
        person.sent.push(text);
        await conversation.sendMessage(text).done;
        person.acknowledged.add(text);
      };
      const lane = async (): Promise<void> => {
        while (!isOver) {
          await sendOne();
          await delay(5);
        }
      };
      await Promise.all(Array.from({ length: inFlight }, lane));
    }
    const chats = Promise.all(people.map(chat));
    // Where something else fails first, that is what is to be told.
    chats.catch(() => {});

    const acknowledged = () => people.reduce((sum, person) => sum + person.acknowledged.size, 0);
    const goesOn = async (): Promise<void> => {
      const before = acknowledged();
      await until(() => acknowledged() > before + 200, 60_000);
    };
    for (let kill = 1; kill <= 13; kill++) {
      await goesOn();
      if (kill % 4 === 0) {
        const started = service.log.findLast(({ event }) => event === 'store.postgres.started');
        process.kill(Number(started?.pid), 'SIGKILL');
      } else {
        service.process.kill('SIGKILL');
        await service.exited;
        service = await spawnService(options);
      }
    }
    await goesOn();
    isOver = true;
    await chats;
    t.equal(
      people.reduce((sum, { sent, acknowledged }) => sum + sent.length - acknowledged.size, 0),
      0,
      'every message was acknowledged in the end, by a retry where the first answer was lost',
    );

    const { logger } = makeTestLogger();
    const db = await openDatabase(
      { logger, metrics: createMetrics() },
      { dataDir, database: 'embedded', use: 'command' },
    );
    t.teardown(() => db.close());
    const { rows } = await db.pool.query<{ sender: string; text: string }>(
      `select a.identifier as sender, body::jsonb -> 0 -> 'MsgContent' ->> 'Text' as text
       from message m join account a on a.id = m.sender_id order by m.conversation_id, m.seq`,
    );
    const stored = new Map(people.map(({ name }) => [name, [] as string[]]));
    for (const { sender, text } of rows) stored.get(sender)?.push(text);

    await until(
      () => people.every(({ peer, received }) => received.length >= (stored.get(peer)?.length ?? 0)),
      60_000,
    ).catch(() => t.fail('not all was delivered'));
    for (const person of people) {
      t.strictSame(stored.get(person.name), person.sent, `${person.name}: stored exactly once, in the order sent`);
      const peer = people.find(({ name }) => name === person.peer);
      t.strictSame(person.received, peer?.sent, `${person.name}: received exactly once, in order`);
    }
    t.comment(`${rows.length} messages`);
    t.ok(rows.length > 2_000);
    await Promise.all(people.map(({ client }) => client.close()));
    await db.close();
    service.process.kill('SIGTERM');
    t.match(await service.exited, { code: 0 });
  },
);
