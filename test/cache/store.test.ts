import fc from 'fast-check';
import t from 'tap';
import { parseResponse, policyOf, type RawFields } from '../../src/cache/core/index.ts';
import { type BodyReader, FillingBody } from '../../src/cache/filling-body.ts';
import { type Place, Store } from '../../src/cache/store.ts';
import { createStoredResponse, type StoredResponse } from '../../src/cache/stored-response.ts';
import { patternAt } from '../support/pattern.ts';

/** The store against a model that counts everything anew, and bodies that are read while they arrive. */

const nowMs = Date.UTC(2026, 10, 1);

function makeResponse(fields: RawFields, bodyBytes: number, request: Record<string, string> = {}): StoredResponse {
  const facts = parseResponse(200, fields, nowMs);
  const policy = policyOf(facts, { mode: 'rfc9111', kind: 'shared' }, { requestedMs: nowMs, receivedMs: nowMs });
  const body = Buffer.alloc(bodyBytes);
  const parts = {
    facts,
    policy,
    reason: 'OK',
    raw: fields,
    body,
    request: { fieldOf: (name: string) => request[name] },
  };
  return createStoredResponse(parts, 'shared');
}

const place = (url: string, partition = ''): Place => ({ url, key: `${url}\nroute\n${partition}` });

// ——— the store ———

t.test('[C14] bytes and responses are those of what can be found, through 1,000 operations at a time', async () => {
  const urls = ['1 http://a/', '1 http://a/x', '1 http://a/x/y', '1 http://b/', '2 http://a/x'];
  const places = urls.flatMap((url) => ['', '-', '+t a'].map((partition) => place(url, partition)));
  const tags = ['red', 'green', 'blue'];
  const operation = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant('put' as const),
        at: fc.nat(places.length - 1),
        size: fc.integer({ min: 0, max: 9_000 }),
        lang: fc.nat(5),
        vary: fc.constantFrom('', 'lang', 'lang, x'),
        tag: fc.subarray(tags),
        replace: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), at: fc.nat(places.length - 1) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('get' as const), at: fc.nat(places.length - 1) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('url' as const), url: fc.constantFrom(...urls) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('prefix' as const),
        prefix: fc.constantFrom('1 http://a/x', '1 http://', '2 ', '3 '),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('tag' as const),
        tag: fc.constantFrom(...tags),
        app: fc.constantFrom('1 ', '2 '),
      }),
    },
  );
  fc.assert(
    fc.property(
      fc.array(operation, { minLength: 1_000, maxLength: 1_000 }),
      fc.constantFrom(20_000, 60_000, 10_000_000),
      (operations, bytes) => {
        const store = new Store({ bytes });
        /** What should be there, unless it gave way. */
        const put = new Map<string, Set<StoredResponse>>();
        const found = (): [Place, readonly StoredResponse[]][] => places.map((each) => [each, peek(each)]);
        // Looking must not change what gives way next: the model notes what is there without using it.
        const peek = (each: Place): readonly StoredResponse[] => store.at(each.key);
        for (const step of operations) {
          switch (step.kind) {
            case 'put': {
              const where = places[step.at] as Place;
              const fields = [
                'ETag',
                '"x"',
                'Cache-Tag',
                step.tag.join(','),
                ...(step.vary === '' ? [] : ['Vary', step.vary]),
              ];
              const response = makeResponse(fields, step.size, { lang: String(step.lang) });
              const there = store.at(where.key);
              const replaced = step.replace ? there[0] : undefined;
              const kept = store.put(where, response, replaced);
              const after = store.at(where.key);
              if (after.includes(response) !== kept) throw new Error('what put says is not so');
              if (kept && replaced !== undefined && after.includes(replaced))
                throw new Error('the replaced one stayed');
              const same = after.filter(
                (one) => one.varyKey === response.varyKey && `${one.varyNames}` === `${response.varyNames}`,
              );
              if (same.length !== (kept ? 1 : 0)) throw new Error('a variant is there twice');
              if (kept) put.set(where.key, (put.get(where.key) ?? new Set()).add(response));
              break;
            }
            case 'remove': {
              const where = places[step.at] as Place;
              const [first] = store.at(where.key);
              if (first !== undefined) store.remove(where, first);
              if (first !== undefined && store.at(where.key).includes(first)) throw new Error('it is still there');
              break;
            }
            case 'get':
              store.at((places[step.at] as Place).key);
              break;
            case 'url':
            case 'prefix':
            case 'tag': {
              const concerned = ({ url }: Place): boolean =>
                step.kind === 'url'
                  ? url === step.url
                  : url.startsWith(step.kind === 'prefix' ? step.prefix : step.app);
              const isMeant = (each: StoredResponse): boolean => step.kind !== 'tag' || each.tags.includes(step.tag);
              const meant = found().flatMap(([each, responses]) => (concerned(each) ? responses.filter(isMeant) : []));
              const before = found().flatMap(([, responses]) => responses);
              const removed =
                step.kind === 'url'
                  ? store.removeUrl(step.url)
                  : step.kind === 'prefix'
                    ? store.removePrefix(step.prefix)
                    : store.removeTag(step.tag, step.app);
              const after = new Set(found().flatMap(([, responses]) => responses));
              if (removed !== meant.length) throw new Error(`${step.kind} ended ${removed}, not ${meant.length}`);
              if (meant.some((each) => after.has(each))) throw new Error('something purged is still there');
              if (after.size !== before.length - meant.length) throw new Error('something else was purged');
            }
          }
          let responses = 0;
          let counted = 0;
          for (const [{ key, url }, there] of found()) {
            if (there.length === 0) continue;
            responses += there.length;
            counted += 2 * (key.length + url.length);
            for (const one of there) {
              counted += one.bytes;
              if (put.get(key)?.has(one) !== true) throw new Error('something is there that was not put there');
            }
          }
          if (store.responses !== responses) throw new Error(`${store.responses} responses, found ${responses}`);
          if (store.bytes !== counted) throw new Error(`${store.bytes} bytes after ${step.kind}, found ${counted}`);
          if (store.bytes > bytes) throw new Error(`${store.bytes} bytes of ${bytes}`);
        }
        for (const prefix of ['1 ', '2 ']) store.removePrefix(prefix);
        return store.bytes === 0 && store.responses === 0 && tags.every((tag) => store.removeTag(tag, '') === 0);
      },
    ),
    { numRuns: 12 },
  );
});

t.test('[C14] the variants of one place count, too, and their number is bounded', async (t) => {
  const store = new Store({ bytes: 1_000_000 });
  const one = place('1 http://a/');
  for (let i = 0; i < 100; i += 1) {
    store.put(one, makeResponse(['ETag', '"x"', 'Vary', 'lang'], 20_000, { lang: String(i) }));
    t.ok(store.bytes <= 1_000_000, `${store.bytes} bytes`);
    const sum = store.at(one.key).reduce((bytes, response) => bytes + response.bytes, 0);
    t.equal(store.bytes, store.responses === 0 ? 0 : sum + 2 * (one.key.length + one.url.length));
    t.ok(store.at(one.key).length <= 64);
  }
  store.removeUrl(one.url);
  t.equal(store.bytes, 0);
  t.equal(store.responses, 0);
});

t.test('[C14] what is larger than the store is refused, and takes nothing else with it', async (t) => {
  const store = new Store({ bytes: 30_000 });
  t.ok(store.put(place('1 http://a/'), makeResponse(['ETag', '"x"'], 1_000)));
  t.notOk(store.put(place('1 http://b/'), makeResponse(['ETag', '"x"'], 40_000)));
  t.equal(store.responses, 1);
  t.equal(store.at(place('1 http://a/').key).length, 1);
});

// ——— a body that arrives ———

interface Reading {
  reader: BodyReader;
  bytes: number;
  wrong: boolean;
  closed: boolean;
}

const largePiece = 262_144;

function isPattern(piece: Buffer, position: number): boolean {
  for (let at = 0; at < piece.length; at += largePiece) {
    const part = piece.subarray(at, at + largePiece);
    if (!part.equals(patternAt(position + at, part.length))) return false;
  }
  return true;
}

const bodyStep = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('push' as const),
      bytes: fc.constantFrom(1, 100, 16_384, 65_536, 70_001, 262_144),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('read' as const), who: fc.nat(5), times: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('join' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), who: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('window' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wake' as const) }) },
);

t.test('[C11] every reader gets exactly the bytes at his own pace, with a window and without', async () => {
  const windowBytes = 300_000;
  fc.assert(
    fc.property(
      fc.array(bodyStep, { minLength: 5, maxLength: 60 }),
      fc.constantFrom('complete', 'fail'),
      fc.boolean(),
      (steps, ending, lengthKnown) => {
        const total = steps.reduce((sum, step) => sum + (step.kind === 'push' ? step.bytes : 0), 0);
        const body = new FillingBody(lengthKnown ? total : undefined);
        const source = {
          paused: false,
          pause() {
            source.paused = true;
          },
          resume() {
            source.paused = false;
          },
        };
        const readings: Reading[] = [];
        const kept: { piece: Buffer; position: number }[] = [];
        let pushed = 0;
        const read = (one: Reading): boolean => {
          const piece = one.reader.next();
          if (piece === undefined) return false;
          if (piece.length === 0 || piece.length > largePiece) throw new Error(`a piece of ${piece.length} bytes`);
          if (!isPattern(piece, one.bytes)) one.wrong = true;
          kept.push({ piece, position: one.bytes });
          one.bytes += piece.length;
          return true;
        };
        const slowest = (): number =>
          Math.min(pushed, ...readings.filter((one) => !one.closed).map((one) => one.bytes));
        for (const step of steps) {
          if (step.kind === 'push') {
            // A source that was told to wait may still have what was read before, not more.
            if (source.paused) for (const one of readings) while (source.paused && !one.closed && read(one));
            body.push(Buffer.from(patternAt(pushed, step.bytes)));
            pushed += step.bytes;
            const lag = pushed - slowest();
            if (body.windowed && lag > windowBytes && !source.paused)
              throw new Error(`${lag} bytes behind, and no pause`);
          } else if (step.kind === 'join' && !body.windowed && readings.length < 6) {
            const reader = body.read(() => {});
            readings.push({ reader, bytes: 0, wrong: false, closed: false });
          } else if (step.kind === 'window' && !body.windowed) body.limitTo(windowBytes, source);
          else if (step.kind === 'wake') body.wake();
          else if (step.kind === 'read' || step.kind === 'leave') {
            const one = readings[step.who];
            if (one === undefined || one.closed) continue;
            if (step.kind === 'leave') {
              one.closed = true;
              one.reader.close();
            } else for (let i = 0; i < step.times && read(one); i += 1);
          }
          if (source.paused && body.windowed && pushed - slowest() <= windowBytes / 2) {
            throw new Error('the source waits for nobody');
          }
        }
        if (ending === 'complete') {
          const whole = body.complete();
          if (body.windowed !== (whole === undefined)) throw new Error('whole and windowed');
          if (whole !== undefined && (whole.length !== pushed || !isPattern(whole, 0))) throw new Error('not the body');
          if (whole !== undefined && whole.buffer.byteLength !== whole.length)
            throw new Error('more memory than bytes');
        } else body.fail('UPSTREAM_CLOSED', 'cut off');
        for (const one of readings.filter(({ closed }) => !closed)) {
          if (ending === 'complete') {
            while (one.reader.state === 'open') if (!read(one)) throw new Error('open, but nothing comes');
            if (one.bytes !== pushed) throw new Error(`${one.bytes} of ${pushed} bytes`);
          } else if (one.reader.state !== 'failed') throw new Error('it was cut off');
        }
        if (readings.some(({ wrong }) => wrong)) throw new Error('wrong bytes');
        // What was handed out is still the same.
        return kept.every(({ piece, position }) => isPattern(piece, position));
      },
    ),
    { numRuns: 300 },
  );
});
