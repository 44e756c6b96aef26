import t from 'tap';
import type { PushMessage, PushText } from '../../src/push/message.ts';
import { type ApnsPush, apnsBadge, apnsPayload } from '../../src/push/payload/apns.ts';
import { type FcmPush, fcmPayload } from '../../src/push/payload/fcm.ts';
import type { Payload, TooLarge } from '../../src/push/payload/fitting.ts';
import { pushText } from '../../src/push/text/push-text.ts';
import { checkValue } from '../../src/server/config/index.ts';
import { PushSchema, type PushSettings } from '../../src/store/index.ts';
import type { MessageElement, OfflinePushInfo } from '../../src/wire/index.ts';
import { createTextMaker } from '../support/push-texts.ts';

/** Requests as the services get them, byte for byte; and that none is too large, whatever was written (S8). */

const limit = 4_096;
const nowMs = 1_800_000_000_500;
const deadlineMs = nowMs + 86_400_000;

const line: PushText = {
  title: undefined,
  subtitle: undefined,
  prefix: 'Nickname: ',
  content: 'helloworld',
  ext: undefined,
  sound: undefined,
  counts: true,
  image: undefined,
  isMutable: false,
  channelId: undefined,
  thread: 'c2c_alice',
};

const apns = (given: Partial<ApnsPush> = {}) =>
  apnsPayload({
    text: line,
    topic: 'com.example.app',
    seq: 4,
    collapseId: '17-4',
    deadlineMs,
    dropExt: false,
    ...given,
  });
const fcm = (given: Partial<FcmPush> = {}) =>
  fcmPayload({ text: line, token: 'tok', seq: 4, collapseId: '17-4', deadlineMs, nowMs, dropExt: false, ...given });

function sent(built: Payload | TooLarge): Payload {
  if (!built.ok) throw new Error(`${built.bytes} bytes`);
  t.equal(built.bytes, Buffer.byteLength(built.body));
  return built;
}

function jsonOf(built: Payload | TooLarge): unknown {
  return JSON.parse(sent(built).body);
}

t.test('APNs: one line is a plain string; ext and seq stand beside aps', async (t) => {
  t.equal(
    sent(apns({ text: { ...line, ext: 'www.qq.com', sound: 'dingdong.aiff' }, badge: 5 })).body,
    '{"aps":{"alert":"Nickname: helloworld","badge":5,"sound":"dingdong.aiff","thread-id":"c2c_alice"},"ext":"www.qq.com","seq":4}',
  );
  t.same(
    jsonOf(apns()),
    { aps: { alert: 'Nickname: helloworld', 'thread-id': 'c2c_alice' }, seq: 4 },
    'nothing that is not said',
  );
});

t.test('APNs: with a title, or a subtitle alone, alert is an object', async (t) => {
  t.same(jsonOf(apns({ text: { ...line, title: 'T' } })), {
    aps: { alert: { title: 'T', body: 'Nickname: helloworld' }, 'thread-id': 'c2c_alice' },
    seq: 4,
  });
  t.same(jsonOf(apns({ text: { ...line, title: 'T', subtitle: 'S', prefix: '' } })), {
    aps: { alert: { title: 'T', subtitle: 'S', body: 'helloworld' }, 'thread-id': 'c2c_alice' },
    seq: 4,
  });
  t.match(jsonOf(apns({ text: { ...line, subtitle: 'S' } })), {
    aps: { alert: { subtitle: 'S', body: 'Nickname: helloworld' } },
  });
});

t.test('APNs: image and mutable-content', async (t) => {
  t.same(jsonOf(apns({ text: { ...line, image: 'https://x/y.png', isMutable: true } })), {
    aps: { alert: 'Nickname: helloworld', 'thread-id': 'c2c_alice', 'mutable-content': 1 },
    image: 'https://x/y.png',
    seq: 4,
  });
});

t.test('[S3,S5] badge: absolute, 0 too; not said of a message that does not count', async (t) => {
  const badgeOf = (given: Partial<ApnsPush>) => (jsonOf(apns(given)) as { aps: { badge?: number } }).aps.badge;
  t.equal(badgeOf({ badge: 3 }), 3);
  t.equal(badgeOf({ badge: 0 }), 0);
  t.equal(badgeOf({}), undefined);
  t.equal(badgeOf({ badge: 3, text: { ...line, counts: false } }), undefined);

  const countOf = (given: Partial<FcmPush>) =>
    (jsonOf(fcm(given)) as { message: { android: { notification: { notification_count?: number } } } }).message.android
      .notification.notification_count;
  t.equal(countOf({ badge: 3 }), 3);
  t.equal(countOf({ badge: 0 }), undefined, '0 means one more there');
  t.equal(countOf({}), undefined);
  t.equal(countOf({ badge: 3, text: { ...line, counts: false } }), undefined);
});

t.test('APNs: header fields of an alert', async (t) => {
  t.same(sent(apns()).headers, {
    'apns-topic': 'com.example.app',
    'apns-push-type': 'alert',
    'apns-priority': '10',
    'apns-expiration': '1800086400',
    'apns-collapse-id': '17-4',
  });
  t.equal(sent(apns({ deadlineMs: -5 })).headers['apns-expiration'], '0');
});

t.test(
  '[S3] the badge alone: an alert that shows nothing, at low priority, and replaces others of its kind',
  async (t) => {
    const built = apnsBadge({ badge: 0, topic: 'com.example.app', deadlineMs });
    t.equal(built.body, '{"aps":{"badge":0}}');
    t.equal(built.bytes, 19);
    t.same(built.headers, {
      'apns-topic': 'com.example.app',
      'apns-push-type': 'alert',
      'apns-priority': '5',
      'apns-expiration': '1800086400',
      'apns-collapse-id': 'badge',
    });
  },
);

t.test('a collapse id is a header field of 64 bytes at most, the same each time', async (t) => {
  const idOf = (collapseId: string) => sent(apns({ collapseId })).headers['apns-collapse-id'] ?? '';
  const longest = 'x'.repeat(64);
  t.equal(idOf(longest), longest);
  const seen = new Set<string>();
  for (const name of [`${longest}y`, `${longest}z`, '消息', 'a b', 'a\r\nb: c', 'é', '']) {
    t.match(idOf(name), /^[\w-]{43}$/);
    t.equal(idOf(name), idOf(name));
    t.match(jsonOf(fcm({ collapseId: name })), { message: { android: { notification: { tag: idOf(name) } } } });
    seen.add(idOf(name));
  }
  t.equal(seen.size, 7);
});

t.test('FCM: notification, data of texts, and how Android takes it', async (t) => {
  const text = { ...line, title: 'T', ext: '{"a":1}', sound: 'ding', channelId: 'im' };
  const built = fcm({ text, badge: 4 });
  t.same(sent(built).headers, {});
  const { message } = jsonOf(built) as { message: { android: { collapse_key: string } } };
  t.same(message, {
    token: 'tok',
    notification: { title: 'T', body: 'Nickname: helloworld' },
    data: { conv: 'c2c_alice', ext: '{"a":1}', seq: '4' },
    android: {
      priority: 'HIGH',
      ttl: '86400s',
      collapse_key: message.android.collapse_key,
      notification: { channel_id: 'im', tag: '17-4', sound: 'ding', notification_count: 4 },
    },
  });
  t.match(jsonOf(fcm()), { message: { data: { conv: 'c2c_alice' }, android: { notification: { tag: '17-4' } } } });
  t.same(Object.keys((jsonOf(fcm()) as { message: { data: object } }).message.data), ['conv', 'seq']);
});

t.test('FCM: how long it is kept, 28 days at most', async (t) => {
  const ttlOf = (leftMs: number) =>
    (jsonOf(fcm({ deadlineMs: nowMs + leftMs })) as { message: { android: { ttl: string } } }).message.android.ttl;
  t.equal(ttlOf(1_999), '1s');
  t.equal(ttlOf(0), '0s');
  t.equal(ttlOf(-1), '0s');
  t.equal(ttlOf(1e12), '2419200s');
});

t.test('FCM: four collapse keys a device at most, one a conversation', async (t) => {
  const keyOf = (thread: string) =>
    (jsonOf(fcm({ text: { ...line, thread } })) as { message: { android: { collapse_key: string } } }).message.android
      .collapse_key;
  const keys = new Set(Array.from({ length: 200 }, (_, i) => keyOf(`c2c_${i}`)));
  t.equal(keys.size, 4);
  t.equal(keyOf('c2c_1'), keyOf('c2c_1'));
});

/** What of a built request shows the content: where it begins is known. */
const contentOf = {
  apns(built: Payload, { prefix }: PushText): string {
    const { alert } = (JSON.parse(built.body) as { aps: { alert: string | { body: string } } }).aps;
    return after(typeof alert === 'string' ? alert : alert.body, prefix);
  },
  fcm(built: Payload, { prefix }: PushText): string {
    const { body } = (JSON.parse(built.body) as { message: { notification: { body: string } } }).message.notification;
    return after(body, prefix);
  },
};

function after(text: string, prefix: string): string {
  if (!text.startsWith(prefix)) throw new Error('the prefix is not there');
  return text.slice(prefix.length);
}

t.test('[S8] the text fills what is left, to the byte', async (t) => {
  for (const build of [apns, fcm] as ((given: { text: PushText }) => Payload | TooLarge)[]) {
    const text = { ...line, title: 'T', ext: 'e'.repeat(500) };
    const emptyBytes = sent(build({ text: { ...text, content: '' } })).bytes;
    const room = limit - emptyBytes;
    const whole = build({ text: { ...text, content: 'x'.repeat(room) } });
    t.match(whole, { ok: true, bytes: limit, cuts: [] });
    const cut = sent(build({ text: { ...text, content: 'x'.repeat(room + 1) } }));
    t.match(cut, { bytes: limit, cuts: ['content'] });
    t.ok(cut.body.includes(`Nickname: ${'x'.repeat(room - 3)}…"`));
    // What counts are bytes as they are written: a line end takes two, a control character six.
    const lines = Math.floor(room / 2);
    t.same(sent(build({ text: { ...text, content: '\n'.repeat(lines) } })).cuts, []);
    t.same(sent(build({ text: { ...text, content: '\n'.repeat(lines + 1) } })).cuts, ['content']);
    t.same(sent(build({ text: { ...text, content: '\u0001'.repeat(Math.floor(room / 6)) } })).cuts, []);
    t.same(sent(build({ text: { ...text, content: '\u0001'.repeat(Math.floor(room / 6) + 1) } })).cuts, ['content']);
  }
});

t.test('[S8] where nothing of the text finds room, ext goes if the app lets it; else there is no push', async (t) => {
  for (const build of [apns, fcm] as ((given: { text: PushText; dropExt?: boolean }) => Payload | TooLarge)[]) {
    const bytesWith = (ext: number) => sent(build({ text: { ...line, content: '', ext: 'e'.repeat(ext) } })).bytes;
    /** Leaves so many bytes for the content. */
    const leaving = (bytes: number) => 'e'.repeat(1 + limit - bytesWith(1) - bytes);

    const full = { ...line, ext: leaving(3), content: 'abcd' };
    t.match(build({ text: full }), { ok: true, bytes: limit, cuts: ['content'] });
    t.match(build({ text: { ...full, content: 'abc' } }), { ok: true, bytes: limit, cuts: [] });
    t.match(build({ text: full, dropExt: true }), { ok: true, cuts: ['content'] }, 'there is room for a mark');

    const tooMuch = { ...line, ext: leaving(2), content: 'abcd' };
    t.same(build({ text: tooMuch }), { ok: false, reason: 'PAYLOAD_TOO_LARGE', bytes: limit + 1, allowedBytes: limit });
    t.match(build({ text: { ...tooMuch, content: 'ab' } }), { ok: true, bytes: limit, cuts: [] });
    const without = sent(build({ text: tooMuch, dropExt: true }));
    t.same(without.cuts, ['ext']);
    t.equal(without.body, sent(build({ text: { ...tooMuch, ext: undefined } })).body);
    const both = { ...tooMuch, ext: 'e'.repeat(1_000_000), content: 'x'.repeat(1_000_000) };
    t.match(build({ text: both }), { ok: false });
    t.match(build({ text: both, dropExt: true }), { ok: true, bytes: limit, cuts: ['content', 'ext'] });
    // Not ext is it that is too large.
    const hopeless = { ...line, prefix: 'p'.repeat(limit), ext: 'e' };
    t.match(build({ text: hopeless, dropExt: true }), { ok: false, reason: 'PAYLOAD_TOO_LARGE' });
    t.match(build({ text: { ...hopeless, ext: undefined }, dropExt: true }), { ok: false });
  }
});

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });
const written = (text: string) => Buffer.byteLength(JSON.stringify(text)) - 2;

/** How many clusters of the text end where `length` units end; undefined: none ends there. */
function clustersTo(text: string, length: number): number | undefined {
  if (length === 0) return 0;
  let count = 0;
  for (const { index, segment } of segmenter.segment(text)) {
    count += 1;
    if (index + segment.length === length) return count;
    if (index + segment.length > length) return undefined;
  }
  return undefined;
}

/** Of `original`, `shown` is the whole, or was cut at a bound, and no sooner than `room` and `maxClusters` made it necessary. */
function faultOf(shown: string, original: string, maxClusters: number, roomBytes: number): string | undefined {
  if (shown === original) return undefined;
  if (!shown.endsWith('…')) return 'has no mark';
  const kept = shown.slice(0, -1);
  if (!original.startsWith(kept)) return 'is no beginning of it';
  const count = clustersTo(original, kept.length);
  if (count === undefined) return 'is cut within a cluster';
  if (count + 1 > maxClusters) return 'is too long';
  let next = '';
  let all = count;
  for (const { segment } of segmenter.segment(original.slice(kept.length, kept.length + 20_000))) {
    if (all === count) next = segment;
    all += 1;
    if (all > maxClusters) break;
  }
  if (all <= maxClusters && written(original) <= roomBytes) return 'would have fitted whole';
  if (count + 2 <= maxClusters && written(kept + next) + 3 <= roomBytes) return 'could have kept more';
  return undefined;
}

t.test('[S8] 50,000 texts of all scripts: never over the limit, never a broken character, always JSON', async (t) => {
  const cases = 50_000;
  const seed = 20_181_126;
  const make = createTextMaker(seed);
  const { int, pick } = make;
  const seen = { whole: 0, cut: 0, cutByBytes: 0, dropped: 0, tooLarge: 0, noText: 0 };

  const lengths = [0, 1, 3, 12, 12, 40, 40, 120, 250, 250, 600];
  const combinations: { settings: PushSettings; channel: 'apns' | 'fcm' }[] = [];
  for (const channel of ['apns', 'fcm'] as const)
    for (const line of ['standard', 'vendor'])
      for (const iosTitle of [false, true])
        for (const dropExt of [false, true])
          for (const separator of [undefined, ' "\\\n'])
            for (const textLength of [10, 200, 4_000])
              for (const language of ['zh', 'en']) {
                const given = { line, iosTitle, dropExt, textLength, language, ...(separator && { separator }) };
                combinations.push({ settings: checkValue(PushSchema, given).value as PushSettings, channel });
              }
  t.equal(combinations.length, 192);

  for (let i = 0; i < cases; i += 1) {
    const { settings, channel } = combinations[i % combinations.length] as (typeof combinations)[number];
    const texts = Array.from({ length: 1 + int(2) }, () => make.text(pick(lengths)));
    const ext = pick([undefined, make.text(5), 'e'.repeat(int(4_200)), '\u0001'.repeat(int(300))]);
    const hasInfo = int(3) === 0;
    const info = {
      ...(int(2) === 0 ? { Desc: make.text(pick(lengths)) } : {}),
      ...(int(2) === 0 ? { Title: make.text(int(150)) } : {}),
      ...(ext === undefined ? {} : { Ext: ext }),
      ...(int(2) === 0
        ? { ApnsInfo: { SubTitle: make.text(int(150)), Sound: make.text(int(9)), Image: make.text(3).slice(0, 20) } }
        : {}),
    } as OfflinePushInfo;
    const message: PushMessage = {
      kind: int(2) === 0 ? 'c2c' : 'group',
      from: { account: make.text(int(8)).slice(0, 16), nick: make.text(int(40)), card: make.text(int(2) * int(40)) },
      group: { id: '@TGS#1', name: make.text(int(40)) },
      body: [
        ...texts.map((Text) => ({ MsgType: 'TIMTextElem', MsgContent: { Text } })),
        { MsgType: 'TIMCustomElem', MsgContent: { Data: '', ...(ext === undefined ? {} : { Ext: ext }) } },
      ] as MessageElement[],
      info: hasInfo ? info : undefined,
      collapseId: `${i}-${make.text(int(3))}`,
    };
    const nobodysChoice = { language: undefined, c2cSound: undefined, groupSound: undefined, videoSound: undefined };
    const text = pushText(message, nobodysChoice, settings, channel);
    const original = ((hasInfo && info.Desc) || texts.join('')).toWellFormed();
    const fail = (why: string) => {
      throw new Error(`case ${i} of seed ${seed}, ${channel}: ${why}`);
    };
    if (typeof text === 'string') {
      if (text !== 'no-text' || original !== '') fail(`no push: ${text}`);
      seen.noText += 1;
      continue;
    }

    const { dropExt, textLength } = settings;
    const common = {
      text,
      seq: 1 + int(1e6),
      badge: int(99),
      collapseId: message.collapseId,
      deadlineMs,
      nowMs,
      dropExt,
    };
    const token = 'x'.repeat(163);
    const built =
      channel === 'apns' ? apnsPayload({ ...common, topic: 'com.example' }) : fcmPayload({ ...common, token });
    if (!built.ok) {
      if (dropExt || built.bytes <= limit || ext === undefined) fail('has been given up for nothing');
      seen.tooLarge += 1;
      continue;
    }
    const { body, bytes, cuts, headers } = built;
    if (bytes > limit || bytes !== Buffer.byteLength(body)) fail(`${bytes} bytes`);
    if (!body.isWellFormed() || /\\ud[89a-f]/.test(body)) fail('has lone surrogates');
    if (Object.values(headers).some((value) => !/^[\x21-\x7e]{1,155}$/.test(value))) fail('has a bad header field');
    const parsed = JSON.parse(body) as { ext?: string; message?: { data: { ext?: string } } };
    const keptExt = parsed.ext ?? parsed.message?.data.ext;
    if (keptExt !== (cuts.includes('ext') ? undefined : text.ext)) fail('has another ext');
    if (cuts.includes('ext') && !dropExt) fail('dropped ext');

    const shown = contentOf[channel](built, text);
    const roomBytes = limit - (bytes - written(shown));
    const fault = faultOf(shown, original, textLength, Math.min(limit, roomBytes));
    if (fault !== undefined) fail(fault);
    if (cuts.includes('content') !== (shown !== text.content)) fail('says wrongly that it was cut');

    // Titles are cut at bounds, too; so are names, which have lost what is not for one line.
    const ownTitle = channel === 'fcm' ? info.Title : info.Title || undefined;
    if (hasInfo && ownTitle && text.title !== undefined) {
      const titleFault = faultOf(text.title, ownTitle.toWellFormed(), 100, 512);
      if (titleFault !== undefined) fail(`title ${titleFault}`);
    }
    seen[shown === original ? 'whole' : 'cut'] += 1;
    if (cuts.includes('content')) seen.cutByBytes += 1;
    if (cuts.includes('ext')) seen.dropped += 1;
  }
  t.comment(seen);
  for (const [what, count] of Object.entries(seen)) t.ok(count > 400, `${what}: ${count}`);
});
