import t from 'tap';
import type { PushMessage, PushReceiver, PushText } from '../../src/push/message.ts';
import { cutText, jsonBytes } from '../../src/push/text/cutting.ts';
import { composeText, pushText } from '../../src/push/text/push-text.ts';
import { checkValue } from '../../src/server/config/index.ts';
import { type PushChannel, PushSchema, type PushSettings } from '../../src/store/index.ts';
import { type MessageElement, parseMessageBody, parseOfflinePushInfo } from '../../src/wire/index.ts';

t.setTimeout(120_000);

/** How a push reads: content, line, titles, sounds; all that PUSH §3.1 and §3.2 say. */

/** Settings as an app would have them. */
function settingsOf(given: object = {}): PushSettings {
  const { value, findings } = checkValue(PushSchema, given);
  if (findings.length > 0) throw new Error(JSON.stringify(findings));
  return value as PushSettings;
}

const nobodysChoice: PushReceiver = {
  language: undefined,
  c2cSound: undefined,
  groupSound: undefined,
  videoSound: undefined,
};

const text = (Text: string): object => ({ MsgType: 'TIMTextElem', MsgContent: { Text } });
const custom = (fields: object): object => ({
  MsgType: 'TIMCustomElem',
  MsgContent: { Data: 'secret data', ...fields },
});
const location = { MsgType: 'TIMLocationElem', MsgContent: { Latitude: 1, Longitude: 2, Desc: 'a hill' } };
const face = { MsgType: 'TIMFaceElem', MsgContent: { Index: 1, Data: 'smile' } };
const sound = { MsgType: 'TIMSoundElem', MsgContent: { UUID: 'x' } };
const file = { MsgType: 'TIMFileElem', MsgContent: { UUID: 'x', FileName: 'plan.pdf' } };
const image = {
  MsgType: 'TIMImageElem',
  MsgContent: { UUID: 'x', ImageFormat: 1, ImageInfoArray: [{ Type: 1, URL: 'http://x/' }] },
};
const video = { MsgType: 'TIMVideoFileElem', MsgContent: { VideoUUID: 'x' } };

interface Case {
  body?: object[];
  info?: object;
  from?: Partial<PushMessage['from']>;
  group?: PushMessage['group'];
  receiver?: Partial<PushReceiver>;
  settings?: object;
  channel?: PushChannel;
}

/** What a message that the service took looks like as a push. */
function compose({ body = [text('hello')], info, from, group, receiver, settings, channel = 'apns' }: Case) {
  const parsed = parseMessageBody(body, { maxBytes: 4_000_000 });
  if (!parsed.ok) throw new Error(parsed.reason);
  const parsedInfo = info === undefined ? undefined : parseOfflinePushInfo(info);
  if (parsedInfo?.ok === false) throw new Error(parsedInfo.reason);
  const message: PushMessage = {
    kind: group === undefined ? 'c2c' : 'group',
    from: { account: 'ID_yyy', nick: '', card: '', ...from },
    group,
    body: parsed.value as readonly MessageElement[],
    info: parsedInfo?.value,
    collapseId: '1-1',
  };
  const all = [message, { ...nobodysChoice, ...receiver }, settingsOf(settings), channel] as const;
  const composed = composeText(...all);
  t.same(pushText(...all), typeof composed === 'string' ? composed : composed.text);
  return composed;
}

function pushOf(given: Case): PushText {
  const composed = compose(given);
  if (typeof composed === 'string') throw new Error(`there is no push: ${composed}`);
  return composed.text;
}

/** The line, or title and body. */
function shown(given: Case): string | [string, string] {
  const { title, prefix, content } = pushOf(given);
  return title === undefined ? prefix + content : [title, prefix + content];
}

const owners = { id: '@TGS#1', name: 'xxx业主群' };
const android = { channel: 'fcm' as const };

t.test('[S2] one line: one-to-one with the nickname, without one the content alone', async (t) => {
  t.equal(shown({ from: { nick: '张三' } }), '张三: hello');
  t.equal(shown({}), 'hello', 'no account id');
  t.equal(shown({ from: { nick: '张三', card: 'of some group' } }), '张三: hello');
});

t.test('[S2] one line of a group: name card, else nickname, else account, then the group', async (t) => {
  const body = [text('消息内容')];
  const standard = { body, group: owners };
  t.equal(shown({ ...standard, from: { nick: '张三', card: '2栋308业主' } }), '2栋308业主(xxx业主群): 消息内容');
  t.equal(shown({ ...standard, from: { nick: '张三' } }), '张三(xxx业主群): 消息内容');
  t.equal(shown(standard), 'ID_yyy(xxx业主群): 消息内容');
  t.equal(shown({ body, group: { id: '@TGS#1', name: '' } }), 'ID_yyy(@TGS#1): 消息内容', 'a group without a name');

  const vendor = { ...standard, settings: { line: 'vendor' } };
  t.equal(shown({ ...vendor, from: { nick: '张三' } }), '张三(xxx业主群)：消息内容');
  t.equal(shown({ ...vendor, from: { nick: '张三', card: '2栋308业主' } }), '2栋308业主(xxx业主群)：消息内容');
  t.equal(shown(vendor), 'ID_yyy(xxx业主群)：消息内容');
  t.equal(shown({ body, from: { nick: '张三' }, settings: { line: 'vendor' } }), '张三：消息内容');

  for (const line of ['standard', 'vendor']) {
    const settings = { line, separator: ':' };
    t.equal(shown({ from: { nick: 'Nickname' }, body: [text('helloworld')], settings }), 'Nickname:helloworld');
    t.equal(shown({ ...standard, settings }), 'ID_yyy(xxx业主群):消息内容');
  }
});

t.test('names stand on one line, and turn nothing round', async (t) => {
  t.equal(shown({ from: { nick: 'Bank\nYour code' } }), 'Bank Your code: hello');
  t.equal(shown({ from: { nick: 'a\u202eb\u2066c\u0000d\u2028e' } }), 'abc d e: hello');
  for (const blank of [' ', '\u202e', '\n\t', '\u2067 \u202c']) {
    t.equal(shown({ from: { nick: blank } }), 'hello', 'nothing to be seen is no nickname');
    t.equal(shown({ from: { card: blank, nick: 'n' }, group: owners }), 'n(xxx业主群): hello');
  }
  t.equal(shown({ group: { id: 'g', name: 'a\r\nb' } }), 'ID_yyy(a  b): hello');
  const arabic = 'مرحبا';
  t.equal(shown({ from: { nick: arabic } }), `${arabic}: hello`);
  t.equal(shown({ body: [text('a\nb\u202e')] }), 'a\nb\u202e', 'what was said stays as it is');
});

t.test('[S2] content: the elements one after the other, with nothing between them', async (t) => {
  const all = [text('Test'), location, face, sound, file, image, video, custom({ Desc: 'order' }), text('!')];
  t.equal(shown({ body: all }), 'Test[位置][表情][语音][文件][图片][视频]order!');
  t.equal(shown({ body: all, settings: { language: 'en' } }), 'Test[Location][Face][audio][file][image][Video]order!');
  t.equal(shown({ body: [text('hello'), custom({ Desc: 'world' })] }), 'helloworld');
  t.same(shown({ ...android, body: [text('a'), custom({ Desc: 'b' })] }), ['ID_yyy', 'a[b]'], 'in brackets on Android');
  t.equal(shown({ body: [custom({ Desc: 'b' })], settings: { iosTitle: true } })[1], 'b', 'and nowhere else');
  t.notMatch(JSON.stringify(pushOf({ body: [custom({ Desc: 'd', Ext: 'e' })] })), /secret data/, 'never Data');
});

t.test("the language is the device's, where it is one of ours, else the app's", async (t) => {
  const cases: [language: string | undefined, app: string, word: string][] = [
    [undefined, 'zh', '[图片]'],
    [undefined, 'en', '[image]'],
    ['en', 'zh', '[image]'],
    ['en-US', 'zh', '[image]'],
    ['EN_gb', 'zh', '[image]'],
    ['zh', 'en', '[图片]'],
    ['zh-Hant-TW', 'en', '[图片]'],
    ['zh_CN', 'en', '[图片]'],
    ['fr-FR', 'en', '[image]'],
    ['fr', 'zh', '[图片]'],
    ['', 'en', '[image]'],
    ['zhx', 'en', '[image]'],
    ['enm-Latn', 'zh', '[图片]'],
  ];
  for (const [language, app, word] of cases) {
    t.equal(shown({ body: [image], receiver: { language }, settings: { language: app } }), word, `${language} ${app}`);
  }
});

t.test('no text, no push', async (t) => {
  for (const channel of ['apns', 'fcm'] as const) {
    const nick = { nick: 'n' };
    t.equal(compose({ channel, from: nick, body: [custom({})] }), 'no-text');
    t.equal(compose({ channel, from: nick, body: [custom({ Desc: '' })], group: owners }), 'no-text');
    t.equal(compose({ channel, from: nick, body: [text(''), custom({ Ext: 'e', Sound: 's' })] }), 'no-text');
    // Nothing of the custom element is left.
    t.equal(compose({ channel, body: [custom({ Desc: 'd' })], info: { Title: 'T', Ext: 'e' } }), 'no-text');
    t.equal(compose({ channel, body: [custom({ Desc: 'd' })], info: {} }), 'no-text');
    t.type(compose({ channel, body: [custom({ Desc: 'd' })] }), 'object');
    t.type(compose({ channel, body: [custom({})], info: { Desc: 'd' } }), 'object');
  }
});

t.test('[S5] PushFlag 1: none, before anything else', async (t) => {
  for (const channel of ['apns', 'fcm'] as const) {
    t.equal(compose({ channel, info: { PushFlag: 1, Desc: 'd' } }), 'push-flag');
    t.equal(compose({ channel, body: [custom({})], info: { PushFlag: 1 } }), 'push-flag');
    t.type(compose({ channel, info: { PushFlag: 0 } }), 'object');
  }
});

t.test('[S5] OfflinePushInfo: Desc is the whole text, and takes the place of the prefix, too', async (t) => {
  const info = { Desc: 'New order' };
  t.equal(shown({ info, from: { nick: 'n' } }), 'New order');
  t.equal(shown({ info, from: { nick: 'n' }, group: owners }), 'New order');
  t.same(shown({ ...android, info, from: { nick: 'n' } }), ['n', 'New order']);
  t.same(shown({ ...android, info, from: { nick: 'n' }, group: owners }), ['xxx业主群', 'New order']);
  t.equal(shown({ info: { Desc: '' }, from: { nick: 'n' } }), 'n: hello', 'an empty text is none');
  t.same(shown({ ...android, info, body: [custom({ Desc: 'd' })] }), ['ID_yyy', 'New order'], 'without brackets');
});

t.test('[S5] OfflinePushInfo is there: nothing of the custom element counts', async (t) => {
  const body = [text('a'), custom({ Desc: 'd', Ext: 'e', Sound: 's.aiff' })];
  const settings = { sound: '' };
  const without = pushOf({ body, settings });
  t.match(without, { content: 'ad', ext: 'e', sound: 's.aiff' });
  for (const info of [{}, { PushFlag: 0 }, { Title: '' }]) {
    t.match(pushOf({ body, settings, info }), { content: 'a', ext: undefined, sound: undefined });
  }
  t.match(pushOf({ body, settings, info: { Ext: 'mine', ApnsInfo: { Sound: 'm.aiff' } } }), {
    content: 'a',
    ext: 'mine',
    sound: 'm.aiff',
  });
});

t.test('[S5] titles: Title, on iOS ApnsInfo.Title before it, and SubTitle; the line stays as it is', async (t) => {
  const info = { Title: 'T', ApnsInfo: { Title: 'A', SubTitle: 'S' } };
  const nick = { nick: 'n' };
  t.match(pushOf({ info, from: nick }), { title: 'A', subtitle: 'S', prefix: 'n: ', content: 'hello' });
  t.match(pushOf({ ...android, info, from: nick }), { title: 'T', subtitle: undefined, prefix: '', content: 'hello' });
  t.same(shown({ info: { Title: 'T' }, from: nick, group: owners }), ['T', 'n(xxx业主群): hello']);
  t.same(shown({ ...android, info: { Title: 'T' }, from: nick, group: owners }), ['T', 'n: hello']);
  const empty = { Title: '', ApnsInfo: { Title: '', SubTitle: '' } };
  t.match(pushOf({ info: empty, from: nick }), { title: undefined, subtitle: undefined });
  t.same(shown({ ...android, info: empty, from: nick }), ['n', 'hello']);
  t.same(shown({ info: { Title: 'T', ApnsInfo: { Title: '' } } }), ['T', 'hello']);
  t.match(pushOf({ info: { ApnsInfo: { SubTitle: 'S' } } }), { title: undefined, subtitle: 'S' });
});

t.test('[S2] Android, and iOS where the app wants it, have a title of their own', async (t) => {
  for (const given of [android, { settings: { iosTitle: true } }]) {
    t.same(shown({ ...given, from: { nick: '张三' } }), ['张三', 'hello']);
    t.same(shown(given), ['ID_yyy', 'hello']);
    t.same(shown({ ...given, from: { nick: '张三', card: 'c' }, group: owners }), ['xxx业主群', 'c: hello']);
    t.same(shown({ ...given, from: { nick: '张三' }, group: owners }), ['xxx业主群', '张三: hello']);
    t.same(shown({ ...given, group: owners }), ['xxx业主群', 'ID_yyy: hello']);
    t.same(shown({ ...given, group: { id: '@TGS#1', name: '' } }), ['@TGS#1', 'ID_yyy: hello']);
    t.same(shown({ ...given, info: { Title: 'T' } }), ['T', 'hello']);
  }
  t.same(shown({ ...android, group: owners, settings: { line: 'vendor' } }), ['xxx业主群', 'ID_yyy：hello']);
  t.same(shown({ ...android, group: owners, settings: { separator: ' - ' } }), ['xxx业主群', 'ID_yyy - hello']);
});

t.test("[S4] sound: the message's, else the account's of its kind, else the app's", async (t) => {
  const soundOf = (given: Case) => pushOf(given).sound;
  const receiver = { c2cSound: 'c2c', groupSound: 'group', videoSound: 'video' };
  t.equal(soundOf({}), 'default');
  t.equal(soundOf({ settings: { sound: 'app.caf' } }), 'app.caf');
  t.equal(soundOf({ settings: { sound: '' } }), undefined);
  t.equal(soundOf({ receiver }), 'c2c');
  t.equal(soundOf({ receiver, group: owners }), 'group');
  t.equal(soundOf({ receiver, body: [video] }), 'video');
  t.equal(soundOf({ receiver, body: [text('a'), video], group: owners }), 'video');
  t.equal(soundOf({ receiver: { ...receiver, videoSound: undefined }, body: [video], group: owners }), 'group');
  t.equal(soundOf({ receiver: { groupSound: 'group' } }), 'default', "another kind's is none");
  t.equal(soundOf({ receiver: { ...receiver, c2cSound: '' } }), undefined, 'the account wants none');
  t.equal(soundOf({ receiver: { ...receiver, videoSound: '' }, body: [video] }), undefined);

  const ofCustom = [text('a'), custom({ Sound: 'mine.aiff' })];
  t.equal(soundOf({ receiver, body: ofCustom }), 'mine.aiff');
  t.equal(soundOf({ ...android, receiver, body: ofCustom }), 'c2c', 'it is a file of iOS');
  t.equal(soundOf({ receiver: { c2cSound: '' }, body: ofCustom }), 'mine.aiff');
  t.equal(soundOf({ receiver, body: [text('a'), custom({ Sound: '' })] }), 'c2c', 'an empty text says nothing');

  const info = { ApnsInfo: { Sound: 'i.caf' }, AndroidInfo: { Sound: 'a' } };
  t.equal(soundOf({ receiver, info }), 'i.caf');
  t.equal(soundOf({ ...android, receiver, info }), 'a');
  t.equal(soundOf({ receiver, info: { AndroidInfo: { Sound: 'a' } } }), 'c2c');
  t.equal(soundOf({ ...android, receiver, info: { ApnsInfo: { Sound: 'i.caf' } } }), 'c2c');
  t.equal(soundOf({ receiver, info: { ApnsInfo: { Sound: '' } } }), 'c2c');
  t.equal(soundOf({ receiver, info: { ApnsInfo: { Sound: 'push.no_sound' } } }), undefined);
  t.equal(soundOf({ ...android, info: { AndroidInfo: { Sound: 'push.no_sound' } } }), undefined);

  const long = 'x'.repeat(101);
  t.equal(soundOf({ receiver, info: { ApnsInfo: { Sound: long } } }), 'c2c', 'no file has so long a name');
  t.equal(soundOf({ receiver: { c2cSound: long } }), 'default');
  t.equal(soundOf({ receiver, info: { ApnsInfo: { Sound: long.slice(1) } } }), long.slice(1));
});

t.test('[S4,S5] ext, badge mode, image, channel, conversation', async (t) => {
  t.equal(pushOf({}).ext, undefined);
  t.equal(pushOf({ body: [text('a'), custom({ Ext: 'www.qq.com' })] }).ext, 'www.qq.com');
  t.equal(pushOf({ body: [text('a'), custom({ Ext: '' })] }).ext, undefined);
  t.equal(pushOf({ ...android, info: { Ext: '{"a":1}' } }).ext, '{"a":1}');

  t.equal(pushOf({}).counts, true);
  for (const channel of ['apns', 'fcm'] as const) {
    t.equal(pushOf({ channel, info: { ApnsInfo: { BadgeMode: 0 } } }).counts, true);
    t.equal(pushOf({ channel, info: { ApnsInfo: { BadgeMode: 1 } } }).counts, false);
  }

  const Image = 'https://x/y.png';
  t.match(pushOf({}), { image: undefined, isMutable: false });
  t.match(pushOf({ info: { ApnsInfo: { Image } } }), { image: Image, isMutable: true });
  t.match(pushOf({ info: { ApnsInfo: { Image, MutableContent: 0 } } }), { image: Image, isMutable: false });
  t.match(pushOf({ info: { ApnsInfo: { Image: '' } } }), { image: undefined, isMutable: false });
  t.match(pushOf({ info: { ApnsInfo: { MutableContent: 1 } } }), { image: undefined, isMutable: true });
  t.match(pushOf({ ...android, info: { ApnsInfo: { Image, MutableContent: 1 } } }), {
    image: undefined,
    isMutable: false,
  });

  const settings = { fcm: { serviceAccount: '{}', channelId: 'im' } };
  const channelIdOf = (GoogleChannelID: unknown, channel: PushChannel = 'fcm') =>
    pushOf({ channel, settings, info: { AndroidInfo: { GoogleChannelID } } }).channelId;
  t.equal(pushOf({ ...android, settings }).channelId, 'im');
  t.equal(pushOf(android).channelId, undefined);
  t.equal(channelIdOf('orders'), 'orders');
  for (const none of ['', 7, null, { a: 1 }, 'x'.repeat(101)]) t.equal(channelIdOf(none), 'im');
  t.equal(channelIdOf('orders', 'apns'), undefined);

  t.equal(pushOf({ from: { account: 'alice' } }).thread, 'c2c_alice');
  t.equal(pushOf({ group: owners }).thread, 'group_@TGS#1');
});

t.test('[S8] names and titles have lengths of their own, and the content what the app says', async (t) => {
  const cutsOf = (given: Case) => {
    const composed = compose(given);
    return typeof composed === 'string' ? composed : composed.cuts;
  };
  const family = '👨‍👩‍👧';
  const longNick = { nick: family.repeat(31) };
  t.equal(shown({ from: { nick: '名'.repeat(30) } }), `${'名'.repeat(30)}: hello`);
  t.equal(shown({ from: { nick: '名'.repeat(31) } }), `${'名'.repeat(29)}…: hello`);
  // 256 bytes hold 14 families of 18 bytes and the mark.
  t.equal(shown({ from: longNick }), `${family.repeat(14)}…: hello`);
  t.same(cutsOf({ from: longNick }), ['name']);
  t.same(cutsOf({ from: longNick, info: { Desc: 'd' } }), [], 'it is not there');
  const group = { id: 'g', name: 'g'.repeat(31) };
  t.equal(shown({ group, from: { nick: 'n' } }), `n(${'g'.repeat(29)}…): hello`);
  t.same(cutsOf({ group, from: { nick: 'n' } }), ['group']);
  t.same(shown({ ...android, group }), [`${'g'.repeat(29)}…`, 'ID_yyy: hello']);

  const info = { Title: 't'.repeat(101), ApnsInfo: { SubTitle: 's'.repeat(101) } };
  t.match(pushOf({ info }), { title: `${'t'.repeat(99)}…`, subtitle: `${'s'.repeat(99)}…` });
  t.same(cutsOf({ info }), ['title', 'subtitle']);
  t.equal(pushOf({ info: { Title: '😀'.repeat(200) } }).title, `${'😀'.repeat(99)}…`);
  t.equal(pushOf({ info: { Title: '🇩🇪'.repeat(99) } }).title, `${'🇩🇪'.repeat(63)}…`, '512 bytes');

  t.equal(pushOf({ body: [text('x'.repeat(200))] }).content, 'x'.repeat(200));
  t.equal(pushOf({ body: [text('x'.repeat(201))] }).content, `${'x'.repeat(199)}…`);
  t.same(cutsOf({ body: [text('x'.repeat(201))] }), ['content']);
  t.equal(pushOf({ body: [text(family.repeat(11))], settings: { textLength: 10 } }).content, `${family.repeat(9)}…`);
  t.equal(pushOf({ info: { Desc: 'x'.repeat(11) }, settings: { textLength: 10 } }).content, `${'x'.repeat(9)}…`);
});

t.test('[S8] a text is cut at the last bound that leaves room for the mark', async (t) => {
  const flag = '🇩🇪';
  const skin = '👍🏽';
  const accent = 'e\u0301';
  const keycap = '1️⃣';
  for (const cluster of [
    'a',
    '中',
    '😀',
    flag,
    skin,
    accent,
    keycap,
    '👨‍👩‍👧‍👦',
    '"',
    '\\',
    '\n',
    '\u0001',
    '\r\n',
    '각',
    'நி',
  ]) {
    const bytes = jsonBytes(cluster);
    t.equal(bytes, Buffer.byteLength(JSON.stringify(cluster)) - 2, 'as it is written');
    for (let maxBytes = 3; maxBytes < 4 * bytes + 8; maxBytes += 1) {
      const { text: kept, isCut } = cutText(cluster.repeat(4), { maxBytes });
      const fits = 4 * bytes <= maxBytes;
      t.equal(isCut, !fits);
      t.equal(kept, fits ? cluster.repeat(4) : `${cluster.repeat(Math.floor((maxBytes - 3) / bytes))}…`);
    }
    for (let maxClusters = 1; maxClusters < 6; maxClusters += 1) {
      const { text: kept } = cutText(cluster.repeat(4), { maxClusters, maxBytes: 1_000 });
      t.equal(kept, maxClusters >= 4 ? cluster.repeat(4) : `${cluster.repeat(maxClusters - 1)}…`);
    }
  }
  t.same(cutText('', { maxBytes: 3 }), { text: '', isCut: false });
  t.same(cutText('ab', { maxBytes: 2 }), { text: 'ab', isCut: false }, 'what fits needs no room for a mark');
});

t.test('[S8] lone surrogates are replaced, whole pairs are not', async (t) => {
  t.same(cutText('a\ud800b\udc00', { maxBytes: 99 }), { text: 'a\ufffdb\ufffd', isCut: false });
  t.same(cutText('😀', { maxBytes: 4 }), { text: '😀', isCut: false });
  t.equal(shown({ from: { nick: 'n' }, settings: { separator: '\ud800' } }), 'n\ufffdhello');
  t.equal(shown({ group: owners, settings: { separator: '\udc00' } }), 'ID_yyy(xxx业主群)\ufffdhello');
  // The look ends within a pair.
  for (let maxBytes = 3; maxBytes < 30; maxBytes += 1) {
    const { text: kept } = cutText('😀'.repeat(20), { maxBytes });
    t.equal(kept, `${'😀'.repeat(Math.floor((maxBytes - 3) / 4))}…`);
  }
});

t.test(
  '[S8] a cluster of any length goes as a whole; a text of any length is looked at as far as needed',
  async (t) => {
    const marks = `a${'\u0301'.repeat(5_000)}`;
    t.same(cutText(`x${marks}y`, { maxBytes: 4_096 }), { text: 'x…', isCut: true });
    t.same(cutText(marks, { maxBytes: 4_096 }), { text: '…', isCut: true });
    t.equal(shown({ from: { nick: marks } }), '…: hello');
    t.equal(pushOf({ body: [text(`ok ${marks}`)], settings: { textLength: 4_000 } }).content, 'ok …');

    const megabyte = '👨‍👩‍👧'.repeat(131_072);
    t.equal(pushOf({ body: [text(megabyte)], settings: { textLength: 4_000 } }).content, `${'👨‍👩‍👧'.repeat(227)}…`);
    // Of the text that it does not look at, it asks for nothing.
    let read = 0;
    const huge = {
      length: 50_000_000,
      charCodeAt: () => 0x61,
      slice: (from: number, to: number) => {
        read += to - from;
        return 'a'.repeat(to - from);
      },
    } as unknown as string;
    t.equal(cutText(huge, { maxBytes: 4_096 }).text, `${'a'.repeat(4_093)}…`);
    t.equal(read, 4_096);
  },
);
