import fc from 'fast-check';
import t from 'tap';
import {
  describeRefusal,
  type ImErrorName,
  type ImRefusal,
  messageTypes,
  parseCustomData,
  parseMessageBody,
  parseOfflinePushInfo,
  utf8Bytes,
} from '../../src/wire/index.ts';

const maxBytes = 8_000;
const parse = (value: unknown) => parseMessageBody(value, { maxBytes });
const element = (MsgType: string, MsgContent: unknown) => ({ MsgType, MsgContent });
const text = (Text: string) => element('TIMTextElem', { Text });

function refusalOf(value: unknown, limit = maxBytes): ImRefusal {
  const parsed = parseMessageBody(value, { maxBytes: limit });
  if (parsed.ok) throw new Error(`was accepted: ${JSON.stringify(value)}`);
  return parsed;
}

/** One whole element of each type, as the API reference has them. */
const samples = [
  text('see you at noon'),
  element('TIMLocationElem', { Desc: 'the pier', Latitude: 22.5312, Longitude: -113.9345 }),
  element('TIMFaceElem', { Index: 6, Data: 'abc\u0001' }),
  element('TIMCustomElem', { Data: '{"a":1}', Desc: 'a gift', Ext: 'room=7', Sound: 'ding.aiff' }),
  element('TIMSoundElem', { UUID: '305c', Size: 62351, Second: 1.5, Url: 'https://files.example/1', Download_Flag: 2 }),
  element('TIMImageElem', {
    UUID: '1853_D61040894AC3DE44CDFFFB3EC7EB7C0F',
    ImageFormat: 255,
    ImageInfoArray: [1, 2, 3].map((Type) => ({
      Type,
      Size: 18,
      Width: 9,
      Height: 7,
      URL: `https://files.example/${Type}`,
    })),
  }),
  element('TIMFileElem', { UUID: '305c', FileSize: 1773552, FileName: 'file', DownloadFlag: 0 }),
  element('TIMVideoFileElem', {
    VideoUrl: 'https://files.example/v',
    VideoUUID: '5da38ba89d6521011e1f6f3fd6692e35',
    VideoSize: 1194603,
    VideoSecond: 5,
    VideoFormat: 'mp4',
    VideoDownloadFlag: 2,
    ThumbUrl: 'https://files.example/t',
    ThumbUUID: 'a6c170c9c599280cb06e0523d7a1f37b',
    ThumbSize: 13907,
    ThumbWidth: 720,
    ThumbHeight: 1280,
    ThumbFormat: 'JPG',
    ThumbDownloadFlag: 2,
  }),
];

t.test('every type of element is accepted, alone and mixed, in order and as it came', async (t) => {
  t.same(
    samples.map(({ MsgType }) => MsgType),
    messageTypes,
    'a sample of each',
  );
  for (const sample of samples) t.match(parse([sample]), { ok: true }, sample.MsgType);
  const parsed = parse(samples);
  t.ok(parsed.ok && parsed.value === samples, 'the same value');
  const least = [
    text(''),
    element('TIMLocationElem', { Latitude: 0, Longitude: 0 }),
    element('TIMFaceElem', { Index: -1 }),
    element('TIMCustomElem', { Data: '' }),
    element('TIMSoundElem', { Url: 'https://files.example/1' }),
    element('TIMFileElem', { UUID: 'a' }),
    element('TIMVideoFileElem', { VideoUUID: 'a' }),
  ];
  t.ok(parse(least).ok, 'what a receiver can do without may be absent');
});

t.test('fields that are not known stay as they are', async (t) => {
  const body = [
    { ...text('hi'), Later: 1 },
    element('TIMFaceElem', { Index: 1, later: { a: [null, true, 'x', 1e-7] } }),
  ];
  const before = structuredClone(body);
  const parsed = parse(body);
  t.ok(parsed.ok);
  t.same(parsed.ok && parsed.value, before);
  const withPrototype = JSON.parse('[{"MsgType":"TIMTextElem","MsgContent":{"Text":"a","__proto__":{"Text":5}}}]');
  t.ok(parse(withPrototype).ok, 'a key is a key, whatever it is called');
});

t.test('bad input: every refusal names the field, the reason, and what is allowed', async (t) => {
  const content = (MsgType: string, MsgContent: object) => [text('a'), element(MsgType, MsgContent)];
  const image = (info: object) => content('TIMImageElem', { UUID: 'a', ImageFormat: 1, ImageInfoArray: [info] });
  const cases: [unknown, ImErrorName, string, string?][] = [
    [undefined, 'BODY_NOT_ARRAY', 'MsgBody: must be an array'],
    [{}, 'BODY_NOT_ARRAY', 'MsgBody: must be an array'],
    ['[]', 'BODY_NOT_ARRAY', 'MsgBody: must be an array'],
    [[], 'BODY_NOT_ARRAY', 'MsgBody: must not be empty; allowed: one element at least'],
    [['a'], 'BODY_ELEMENT', 'MsgBody[0]: must be an object; allowed: {"MsgType": string, "MsgContent": object}'],
    [
      [text('a'), null],
      'BODY_ELEMENT',
      'MsgBody[1]: must be an object; allowed: {"MsgType": string, "MsgContent": object}',
    ],
    [[[]], 'BODY_ELEMENT', 'MsgBody[0]: must be an object; allowed: {"MsgType": string, "MsgContent": object}'],
    [
      [{ MsgContent: {} }],
      'BODY_ELEMENT',
      'MsgBody[0].MsgType: must be a string; allowed: {"MsgType": string, "MsgContent": object}',
    ],
    [[{ MsgType: 'TIMTextElem' }], 'BODY_ELEMENT', 'MsgBody[0].MsgContent: must be an object'],
    [[element('TIMTextElem', 'hi')], 'BODY_ELEMENT', 'MsgBody[0].MsgContent: must be an object'],
    [[element('TIMTextElem', ['hi'])], 'BODY_ELEMENT', 'MsgBody[0].MsgContent: must be an object'],
    [
      [element('timtextelem', {})],
      'BODY_ELEMENT',
      `MsgBody[0].MsgType: is no type of element; allowed: ${messageTypes.join(', ')}`,
    ],
    [
      [element('toString', {})],
      'BODY_ELEMENT',
      `MsgBody[0].MsgType: is no type of element; allowed: ${messageTypes.join(', ')}`,
    ],
    [
      [element('TIMGroupTipElem', {})],
      'BODY_ELEMENT',
      `MsgBody[0].MsgType: is sent by the service alone; allowed: ${messageTypes.join(', ')}`,
    ],
    [[element('TIMTextElem', { text: 'a' })], 'BODY_ELEMENT', 'MsgBody[0].MsgContent.Text: is missing'],
    [content('TIMTextElem', { Text: 5 }), 'BODY_ELEMENT', 'MsgBody[1].MsgContent.Text: must be a string'],
    [content('TIMTextElem', { Text: null }), 'BODY_ELEMENT', 'MsgBody[1].MsgContent.Text: must be a string'],
    [
      content('TIMLocationElem', { Latitude: '1', Longitude: 2 }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.Latitude: must be a number',
    ],
    [content('TIMLocationElem', { Latitude: 1 }), 'BODY_ELEMENT', 'MsgBody[1].MsgContent.Longitude: is missing'],
    [
      content('TIMLocationElem', { Latitude: 1, Longitude: 2, Desc: 3 }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.Desc: must be a string',
    ],
    [
      content('TIMFaceElem', { Index: 1.5 }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.Index: must be an integer; allowed: -(2^53 - 1) … 2^53 - 1',
    ],
    [content('TIMFaceElem', { Index: 1, Data: {} }), 'BODY_ELEMENT', 'MsgBody[1].MsgContent.Data: must be a string'],
    [content('TIMCustomElem', { Desc: 'a' }), 'BODY_ELEMENT', 'MsgBody[1].MsgContent.Data: is missing'],
    [content('TIMCustomElem', { Data: 'a', Ext: 1 }), 'BODY_ELEMENT', 'MsgBody[1].MsgContent.Ext: must be a string'],
    [
      content('TIMSoundElem', { Size: 1, Second: 1 }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.UUID: is missing; allowed: UUID or Url',
    ],
    [
      content('TIMSoundElem', { UUID: 'a', Second: -1 }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.Second: must be a number that is not negative',
    ],
    [
      content('TIMSoundElem', { Url: 'a', Download_Flag: 1 }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.Download_Flag: has a value that there is not; allowed: 2',
    ],
    [
      content('TIMFileElem', { UUID: 'a', FileSize: -1 }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.FileSize: must be an integer that is not negative; allowed: 0 … 2^53 - 1',
    ],
    [
      content('TIMVideoFileElem', { ThumbUUID: 'a' }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.VideoUUID: is missing; allowed: VideoUUID or VideoUrl',
    ],
    [
      content('TIMVideoFileElem', { VideoUUID: 'a', ThumbWidth: '720' }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.ThumbWidth: must be an integer that is not negative; allowed: 0 … 2^53 - 1',
    ],
    [
      content('TIMImageElem', { UUID: 'a', ImageFormat: 9, ImageInfoArray: [] }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.ImageFormat: has a value that there is not; allowed: 0, 1, 2, 3, 4, 255',
    ],
    [
      content('TIMImageElem', { UUID: 'a', ImageFormat: 1, ImageInfoArray: {} }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.ImageInfoArray: must be an array; allowed: 1 … 10 of them',
    ],
    [
      content('TIMImageElem', { UUID: 'a', ImageFormat: 1, ImageInfoArray: [] }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.ImageInfoArray: has 0 entries; allowed: 1 … 10 of them',
    ],
    [
      image({ Type: 4, URL: 'a' }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.ImageInfoArray[0].Type: has a value that there is not; allowed: 1, 2, 3',
    ],
    [image({ Type: 1 }), 'BODY_ELEMENT', 'MsgBody[1].MsgContent.ImageInfoArray[0].URL: is missing'],
    [
      image({ Type: 1, URL: 'a', Width: null }),
      'BODY_ELEMENT',
      'MsgBody[1].MsgContent.ImageInfoArray[0].Width: must be an integer that is not negative; allowed: 0 … 2^53 - 1',
    ],
    [
      [element('TIMCustomElem', { Data: 'a' }), text('b'), element('TIMCustomElem', { Data: 'c' })],
      'BODY_ELEMENT',
      'MsgBody[2].MsgType: is a second TIMCustomElem; allowed: one in a message',
    ],
  ];
  for (const [value, error, line] of cases) {
    const refusal = refusalOf(value);
    t.equal(refusal.error, error, line);
    t.equal(describeRefusal(refusal), line);
  }
  t.equal(parseMessageBody([text('a')], { maxBytes, field: 'body' }).ok, true);
  t.match(parseMessageBody([{}], { maxBytes, field: 'body' }), { field: 'body[0].MsgType' }, "in the caller's words");
});

t.test('bad input: what no database or no JSON can hold', async (t) => {
  const extra = (later: unknown) => [element('TIMTextElem', { Text: 'a', later })];
  const at = 'MsgBody[0].MsgContent';
  const cyclic: Record<string, unknown> = {};
  cyclic.a = cyclic;
  const deep = (levels: number): unknown => (levels === 0 ? 'x' : [deep(levels - 1)]);
  const cases: [unknown, string][] = [
    [[text('a\0b')], `${at}.Text: must not hold U+0000`],
    [[text('a\ud800b')], `${at}.Text: must be well-formed Unicode`],
    [extra({ 'k\0': 1 }), `${at}.later: has a key that is no well-formed Unicode or holds U+0000`],
    [extra({ '\udc00': 1 }), `${at}.later: has a key that is no well-formed Unicode or holds U+0000`],
    [extra({ 'a b': '\0' }), `${at}.later["a b"]: must not hold U+0000`],
    [extra({ ['k'.repeat(100)]: '\0' }), `${at}.later["${'k'.repeat(40)}…"]: must not hold U+0000`],
    [extra(Number.NaN), `${at}.later: must be a finite number`],
    [extra(JSON.parse('1e400')), `${at}.later: must be a finite number`],
    [extra(undefined), `${at}.later: must be JSON`],
    [extra(5n), `${at}.later: must be JSON`],
    [extra(() => 1), `${at}.later: must be JSON`],
    [extra(new Date(0)), `${at}.later: must be JSON`],
    [extra(new Map()), `${at}.later: must be JSON`],
    [extra(Object.assign([], { toJSON: () => 1 })), `${at}.later: must be JSON`],
    [[new Array(1)], 'MsgBody[0][0]: must be JSON'],
    [extra(deep(15)), `${at}.later${'[0]'.repeat(14)}: is nested too deeply; allowed: 16 levels`],
    [extra(cyclic), `${at}.later${'.a'.repeat(14)}: is nested too deeply; allowed: 16 levels`],
  ];
  for (const [value, line] of cases) {
    const refusal = refusalOf(value);
    t.equal(refusal.error, 'BODY_ELEMENT', line);
    t.equal(describeRefusal(refusal), line);
  }
  t.ok(parse(extra(deep(14))).ok, 'as deep as may be');
  const hostile = new Proxy([], {
    get() {
      throw new Error('no');
    },
  });
  t.match(parse([hostile]), { ok: false, error: 'BODY_ELEMENT' }, 'an object that throws');
});

t.test('the size is that of the JSON text in UTF-8', async (t) => {
  for (const filler of ['a', 'é', '好', '😀', '"', '\u0001', '\n']) {
    const frame = utf8Bytes(JSON.stringify([text('')]));
    const one = utf8Bytes(JSON.stringify(filler)) - 2;
    const fits = Math.floor((1_000 - frame) / one);
    const rest = 'a'.repeat(1_000 - frame - fits * one);
    const longest = [text(filler.repeat(fits) + rest)];
    t.equal(utf8Bytes(JSON.stringify(longest)), 1_000);
    t.ok(parseMessageBody(longest, { maxBytes: 1_000 }).ok, `1,000 bytes of ${JSON.stringify(filler)}`);
    t.match(refusalOf(longest, 999), {
      error: 'MESSAGE_TOO_LONG',
      field: 'MsgBody',
      allowed: '999 bytes of JSON text',
    });
  }
  const many = Array.from({ length: 300 }, () => text(''));
  t.match(refusalOf(many), { error: 'MESSAGE_TOO_LONG' }, 'the frame of elements counts');
});

t.test('the work is bounded by the limit, not by the value', async (t) => {
  let looks = 0;
  const watched = new Proxy(['x'], {
    get(target, key) {
      looks += 1;
      return key === 'length' ? 1e9 : Reflect.get(target, key === 'toJSON' ? key : '0');
    },
  });
  t.match(refusalOf([element('TIMTextElem', { Text: 'a', later: watched })]), { error: 'MESSAGE_TOO_LONG' });
  t.ok(looks < 3 * maxBytes, `${looks} looks`);
  let wide: unknown = 'x';
  for (let i = 0; i < 13; i += 1) wide = [wide, wide, wide, wide];
  t.match(
    refusalOf([element('TIMTextElem', { Text: 'a', later: wide })]),
    { error: 'MESSAGE_TOO_LONG' },
    '4^13 leaves',
  );
});

t.test('OfflinePushInfo: its fields, others kept, at most 3,072 bytes', async (t) => {
  const whole = {
    PushFlag: 1,
    Title: 'a',
    Desc: 'b',
    Ext: 'c',
    AndroidInfo: { Sound: 'ding', HuaWeiImportance: 'LOW' },
    ApnsInfo: { Sound: 'ding', BadgeMode: 1, Title: 'a', SubTitle: 'b', Image: 'https://a.example', MutableContent: 1 },
    Later: [1],
  };
  const parsed = parseOfflinePushInfo(whole);
  t.ok(parsed.ok && parsed.value === (whole as unknown));
  t.ok(parseOfflinePushInfo({}).ok);
  const cases: [unknown, string][] = [
    [undefined, 'OfflinePushInfo: must be JSON'],
    ['{}', 'OfflinePushInfo: must be an object'],
    [[], 'OfflinePushInfo: must be an object'],
    [null, 'OfflinePushInfo: must be an object'],
    [{ PushFlag: 2 }, 'OfflinePushInfo.PushFlag: has a value that there is not; allowed: 0, 1'],
    [{ PushFlag: '1' }, 'OfflinePushInfo.PushFlag: has a value that there is not; allowed: 0, 1'],
    [{ Title: 1 }, 'OfflinePushInfo.Title: must be a string'],
    [{ Ext: {} }, 'OfflinePushInfo.Ext: must be a string'],
    [{ AndroidInfo: 'x' }, 'OfflinePushInfo.AndroidInfo: must be an object'],
    [{ AndroidInfo: { Sound: 1 } }, 'OfflinePushInfo.AndroidInfo.Sound: must be a string'],
    [
      { ApnsInfo: { BadgeMode: true } },
      'OfflinePushInfo.ApnsInfo.BadgeMode: has a value that there is not; allowed: 0, 1',
    ],
    [{ ApnsInfo: { Image: '\0' } }, 'OfflinePushInfo.ApnsInfo.Image: must not hold U+0000'],
    [{ Desc: '好'.repeat(1_100) }, 'OfflinePushInfo: is too long; allowed: 3072 bytes of JSON text'],
    [{ Later: 'x'.repeat(4_000) }, 'OfflinePushInfo: is too long; allowed: 3072 bytes of JSON text'],
  ];
  for (const [value, line] of cases) {
    const refusal = parseOfflinePushInfo(value);
    if (refusal.ok) throw new Error(`was accepted: ${line}`);
    t.equal(refusal.error, 'OFFLINE_PUSH_INFO', line);
    t.equal(describeRefusal(refusal), line);
  }
  t.ok(parseOfflinePushInfo({ Desc: 'x'.repeat(3_072 - '{"Desc":""}'.length) }).ok, '3,072 bytes');
  t.notOk(parseOfflinePushInfo({ Desc: 'x'.repeat(3_073 - '{"Desc":""}'.length) }).ok, '3,073 bytes');
  t.match(parseOfflinePushInfo({ Title: 1 }, 'push'), { field: 'push.Title' });
});

t.test('CloudCustomData: a text of at most 8,000 bytes', async (t) => {
  t.same(parseCustomData('{"a":1}'), { ok: true, value: '{"a":1}' });
  t.ok(parseCustomData('').ok);
  t.ok(parseCustomData('é'.repeat(4_000)).ok);
  t.match(parseCustomData('é'.repeat(4_000).concat('x')), { error: 'MESSAGE_TOO_LONG', field: 'CloudCustomData' });
  t.match(parseCustomData({}), { error: 'INVALID_FIELD', field: 'CloudCustomData', reason: 'must be a string' });
  t.match(parseCustomData('\0'), { error: 'INVALID_FIELD', reason: 'must not hold U+0000' });
  t.match(parseCustomData('\ud83d'), { error: 'INVALID_FIELD', reason: 'must be well-formed Unicode' });
});

t.test('whatever comes, the parsers answer, and a body that they accepted is accepted again', async (t) => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSparseArray: true,
    withNullPrototype: true,
  });
  // Bodies that are nearly right: a sample with fields taken, replaced and added.
  const nearly = fc.array(
    fc.constantFrom(...samples).chain((sample) => {
      const keys = Object.keys(sample.MsgContent as object);
      return fc
        .record({
          drop: fc.option(fc.constantFrom(...keys), { freq: 4 }),
          replace: fc.option(fc.tuple(fc.constantFrom(...keys, 'Later'), fc.oneof(fc.jsonValue(), anything)), {
            freq: 3,
          }),
        })
        .map(({ drop, replace }) => {
          const content: Record<string, unknown> = { ...(sample.MsgContent as object) };
          if (drop !== null) delete content[drop];
          if (replace !== null) content[replace[0]] = replace[1];
          return element(sample.MsgType, content);
        });
    }),
    { maxLength: 4 },
  );
  let accepted = 0;
  fc.assert(
    fc.property(fc.oneof({ weight: 1, arbitrary: anything }, { weight: 4, arbitrary: nearly }), (value) => {
      parseOfflinePushInfo(value);
      parseCustomData(value);
      const parsed = parse(value);
      if (!parsed.ok) return ['BODY_NOT_ARRAY', 'BODY_ELEMENT', 'MESSAGE_TOO_LONG'].includes(parsed.error);
      accepted += 1;
      const json = JSON.stringify(parsed.value);
      const again = parse(JSON.parse(json));
      return (
        again.ok && JSON.stringify(again.value) === json && utf8Bytes(json) <= maxBytes && !json.includes('\\u0000')
      );
    }),
    { numRuns: 3_000 },
  );
  t.ok(accepted > 100, `${accepted} accepted`);
});
