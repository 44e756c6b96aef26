import t from 'tap';
import { openAccess, testApp } from '../support/access.ts';
import { cases } from '../support/cache/cases/index.ts';
import { fieldValue } from '../support/cache/messages.ts';
import { createTable, titleOf } from '../support/cache/runner.ts';
import { type Message, openClient, openOrigin, readResponse, respond, statusOf } from '../support/wire.ts';

/**
 * The standards' own rules as a table: what a shared cache does with which messages at which age, through the proxy on
 * real sockets. Written from the text of RFC 9111, 9110, 5861 and 9211 and the rules C0–C14, not from src/cache.
 */

const both: readonly ('rfc9111' | 'qal')[] = ['rfc9111', 'qal'];
const table = createTable(t);

t.test('the table has 300 cases at least, each with a name of its own and the section that it shows', async (t) => {
  t.ok(cases.length >= 300, `${cases.length} cases`);
  const ids = cases.map(({ id }) => id);
  t.strictSame(
    ids.filter((id, i) => ids.indexOf(id) !== i),
    [],
    'no id twice',
  );
  const unnamed = cases.filter(({ section }) => !/^(?:RFC \d{4} §\d|C\d)/.test(section));
  t.strictSame(
    unnamed.map(({ id }) => id),
    [],
    'none without its section',
  );
});

for (const entry of cases) {
  for (const mode of entry.modes ?? both) await t.test(titleOf(entry, mode), (t) => table.run(t, entry, mode));
}

t.test('no case left requests behind that its steps do not account for', async (t) => table.assertQuiet(t));

for (const mode of both) {
  await t.test(`an origin that takes no connections (${mode}) RFC 5861 §4, RFC 9111 §4.2.4`, async (t) => {
    let nowMs = Date.UTC(2026, 9, 1, 12);
    const origin = await openOrigin({
      onRequest(wire, request) {
        const bound = request.start.includes('/bound') ? ', stale-if-error=120' : '';
        wire.send(respond('stored', `Cache-Control: max-age=60${bound}\r\n`));
      },
    });
    const access = await openAccess([testApp([origin.url], { cache: mode })], { clock: () => nowMs });
    t.teardown(() => access.close());
    const get = async (path: string): Promise<Message> => {
      const client = await openClient(access.port);
      client.send(`GET ${path} HTTP/1.1\r\nHost: cache.test\r\n\r\n`);
      const answer = await readResponse(client);
      client.socket.destroy();
      return answer;
    };
    t.equal((await get('/bound')).body, 'stored');
    t.equal((await get('/plain')).body, 'stored');
    await origin.close();

    nowMs += 59_000;
    t.equal(statusOf(await get('/plain')), 200, 'what is fresh needs no origin');
    nowMs += 21_000;
    const bound = await get('/bound');
    t.equal(bound.body, 'stored', 'stale-if-error: what is stored is served');
    t.equal(fieldValue(bound, 'Age'), '80');
    t.equal(statusOf(await get('/plain')), 502, 'without permission it is an error');
    nowMs += 101_000;
    t.match(String(statusOf(await get('/bound'))), /^50[23]$/, 'and so it is behind the end of the permission');
  });
}
