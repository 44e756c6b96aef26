import fc from 'fast-check';
import t from 'tap';
import { decide, mayServeOnError, parseResponse, storable } from '../../src/cache/core/index.ts';
import { explain, parseRequest } from '../../src/cache/index.ts';
import { cacheStatusOf, createGetter, openLive } from '../support/cache/live.ts';
import { modelOf } from '../support/cache/model.ts';
import { type Fields, linesOf, rawOf, requestFields, responseFields, status } from '../support/cache/random-fields.ts';
import { openProxied, originHead } from '../support/proxied.ts';
import { fieldOf, type Message, statusOf } from '../support/wire.ts';

/** What holds whatever the fields say: against a second reading of the rules, `explain`, and the proxy without a cache. */

const nowMs = Date.UTC(2026, 10, 1, 12);

t.test('[C2, C5–C10, C12] storable and decide agree with a model that was written from the rules', async () => {
  fc.assert(
    fc.property(
      fc.record({
        mode: fc.constantFrom('qal' as const, 'rfc9111' as const),
        kind: fc.constantFrom('shared' as const, 'private' as const),
        routeShared: fc.boolean(),
        session: fc.boolean(),
        method: fc.constantFrom('GET', 'GET', 'GET', 'GET', 'HEAD', 'POST'),
        status,
        request: requestFields(),
        response: responseFields(nowMs),
        nowMs: fc.constant(nowMs),
      }),
      fc.array(fc.constantFrom(0, 1, 4, 5, 9, 10, 14, 15, 16, 29, 30, 60, 70, 99, 100, 120, 1_000, 90_000, 1e7), {
        minLength: 3,
      }),
      (input, ages) => {
        const model = modelOf(input);
        const asked = parseRequest(input.method, rawOf(input.request), {
          hasSession: input.session,
          hasBody: false,
          nowMs,
        });
        const facts = parseResponse(input.status, rawOf(input.response), nowMs);
        const verdict = storable(asked, facts, input, { requestedMs: nowMs, receivedMs: nowMs });
        if (verdict.store !== model.store)
          throw new Error(`stored for ${verdict.store}, the model says ${model.store}`);
        if (verdict.store === 'no') return;
        for (const age of ages.filter((one) => one >= model.initialAge)) {
          const atMs = nowMs + (age - model.initialAge) * 1_000;
          const decision = decide(asked, verdict.policy, atMs);
          const expected = model.decide(age);
          if (decision.ageMs !== age * 1_000) throw new Error(`age ${decision.ageMs}, the model says ${age}`);
          if (decision.kind !== expected) {
            throw new Error(`at age ${age} ${decision.kind} by ${decision.rule}, the model says ${expected}`);
          }
          const onError = mayServeOnError(asked, verdict.policy, atMs);
          if (onError !== model.onError(age)) throw new Error(`at age ${age} on error ${onError}`);
        }
      },
    ),
    { numRuns: 20_000 },
  );
});

t.test('[C13] the live proxy does what explain says, at every age', async (t) => {
  for (const mode of ['qal', 'rfc9111'] as const) {
    const given = new Map<string, { fields: Fields; status: number }>();
    const live = await openLive(
      t,
      {
        onRequest(wire, message) {
          const one = given.get(message.start.split(' ')[1] ?? '');
          wire.send(`HTTP/1.1 ${one?.status} Status\r\n${linesOf(one?.fields ?? {})}Content-Length: 1\r\n\r\nx`);
        },
      },
      { access: { cache: mode } },
    );
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.gen(),
        fc.array(fc.constantFrom(0, 5, 10, 15, 30, 60, 100), { minLength: 3, maxLength: 4 }),
        async (gen, jumps) => {
          live.time.nowMs += 1_000;
          const startMs = live.time.nowMs;
          const fields = gen(responseFields, startMs);
          const ask = gen(requestFields);
          const answer = { fields, status: gen(() => status) };
          const targets = jumps.map(() => {
            count += 1;
            given.set(`/${count}`, answer);
            return `/${count}`;
          });
          for (const target of targets) await live.get(target, linesOf(ask));
          const facts = parseRequest('GET', rawOf(ask), { hasSession: false, hasBody: false, nowMs: startMs });
          const rules = { mode, kind: 'shared', routeShared: false } as const;
          const times = { requestedMs: startMs, receivedMs: startMs };
          const { store, steps, policy } = explain(facts, { status: answer.status, raw: rawOf(fields) }, rules, times);
          for (const [i, target] of targets.entries()) {
            live.time.nowMs += (jumps[i] ?? 0) * 1_000;
            const said = cacheStatusOf(await live.get(target, linesOf(ask)));
            if (store === 'no' || policy === undefined) {
              if (/; hit|fwd=stale/.test(said)) throw new Error(`${store}, but ${said}`);
              continue;
            }
            const ageMs = policy.initialAgeMs + live.time.nowMs - startMs;
            const step = steps.find(({ fromMs, toMs }) => ageMs >= fromMs && ageMs < toMs);
            const asExplained =
              step?.kind === 'revalidate'
                ? / fwd=(stale|request);/.test(said)
                : step !== undefined && said.includes('; hit;');
            if (!asExplained || !said.endsWith(`; detail=${step?.rule}`)) {
              throw new Error(`at age ${ageMs}: ${said}; explained: ${step?.kind} ${step?.rule}`);
            }
          }
        },
      ),
      { numRuns: 150 },
    );
    t.ok(count > 400);
  }
});

const ownFieldLine = /^(?:age|cache-status|content-length|date):/i;

function comparable(answer: Message): unknown {
  const [start, ...lines] = originHead(answer);
  return { start, lines: lines.filter((line) => !ownFieldLine.test(line)), body: answer.body };
}

t.test(
  '[A1, C13] answers of the cache differ from those without it in Age, Cache-Status, Date and framing only',
  async (t) => {
    const given = new Map<string, string>();
    const script = {
      onRequest: (wire: { send(bytes: string): void }, message: Message) => {
        const [method, target = ''] = message.start.split(' ');
        const bytes = given.get(target) ?? '';
        wire.send(method === 'HEAD' ? bytes.slice(0, bytes.indexOf('\r\n\r\n') + 4) : bytes);
      },
    };
    const plain = await openProxied(t, script);
    const live = await openLive(t, script);
    const name = fc.constantFrom(
      'X-A',
      'x-b',
      'Content-Type',
      'Server',
      'Link',
      'ETag',
      'Set-Cookie2',
      'Via',
      'Keep-Alive',
      'X-Hop',
      'Warning',
      'Cache-Tag',
      'Content-Encoding',
      'Last-Modified',
    );
    const value = fc.string({
      unit: fc.constantFrom('a', 'B', '"', ',', ';', '=', ' ', '\t', '\xff', '\\', ':'),
      maxLength: 20,
    });
    const body = fc.oneof(
      fc.string({ unit: fc.constantFrom('a', '\r', '\n', '\0', '\xff'), maxLength: 60 }),
      fc.constantFrom(0, 16_383, 16_384, 16_385, 70_000, 262_144, 262_145, 600_000).map((length) => 'x'.repeat(length)),
    );
    const getPlain = createGetter(t, plain);
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(name, value), { maxLength: 6 }),
        body,
        fc.constantFrom(
          '200 OK',
          '200 ',
          '200 Fine\xe9',
          '203 Maybe',
          '404 Not Here',
          '410 Gone',
          '204 No Content',
          '301 Moved',
        ),
        fc.constantFrom('length', 'chunked'),
        fc.boolean(),
        fc.boolean(),
        async (fields, text, statusLine, framing, dated, hop) => {
          count += 1;
          const lines = fields.map((field) => `${field.join(': ')}\r\n`).join('');
          const bare = statusLine.startsWith('204');
          const frame = bare
            ? ''
            : framing === 'chunked'
              ? 'Transfer-Encoding: chunked\r\n'
              : `Content-Length: ${text.length}\r\n`;
          const chunk = text === '' ? '' : `${text.length.toString(16)}\r\n${text}\r\n`;
          const sent = bare ? '' : framing === 'chunked' ? `${chunk}0\r\n\r\n` : text;
          const own = `${hop ? 'Connection: keep-alive, X-Hop\r\n' : ''}${dated ? `Date: ${new Date(live.time.nowMs).toUTCString()}\r\n` : ''}`;
          given.set(
            `/${count}`,
            `HTTP/1.1 ${statusLine}\r\nCache-Control: max-age=60\r\n${own}${lines}${frame}\r\n${sent}`,
          );
          const without = await getPlain(`/${count}`);
          const first = await live.get(`/${count}`);
          const second = await live.get(`/${count}`);
          if (!cacheStatusOf(second).includes('; hit;')) throw new Error(`no hit: ${cacheStatusOf(second)}`);
          for (const answer of [first, second]) {
            if (JSON.stringify(comparable(answer)) !== JSON.stringify(comparable(without))) {
              throw new Error(`${answer.raw.slice(0, 600)}\nis not\n${without.raw.slice(0, 600)}`);
            }
            const length = fieldOf(answer, 'Content-Length');
            if (length !== undefined && Number(length) !== (bare ? 0 : text.length))
              throw new Error(`Content-Length ${length}`);
            if (answer.fields.filter(([field]) => field.toLowerCase() === 'date').length !== 1) throw new Error('Date');
            if (statusOf(answer) === 204 && length !== undefined) throw new Error('a length of nothing');
          }
        },
      ),
      { numRuns: 150 },
    );
    t.equal(live.origin.requests.length, count);
  },
);
