/**
 * The public surface of `ImClient` as types: checked with the rest of the project, where the types are Node's, and by
 * bundle.test.ts with those of a browser. Nothing here runs.
 */
import {
  createGroups,
  type GroupChange,
  type GroupNotice,
  type GroupProfile,
  type Groups,
  type JoinedGroup,
  type RequestName,
  type TipNotice,
  tipOf,
} from '../../src/sdk/im/groups/index.ts';
import {
  type ConnectionReason,
  type ConnectionState,
  createImClient,
  defaultImLimits,
  type ForcedOffline,
  type ImClient,
  type ImConversation,
  type ImElement,
  ImError,
  type ImErrorCode,
  type ImEvent,
  type ImLimits,
  type ImMessage,
  type ImMessageStatus,
  type ImOutgoing,
  type ImPlatform,
  imPlatforms,
  indexedDbStorage,
  type LoginInfo,
  type MessagePage,
  memoryStorage,
  type PageOptions,
  type ProfileNotice,
  type QalStorage,
  type ReadNotice,
  type RecalledNotice,
  type SendOptions,
  textOf,
} from '../../src/sdk/im/index.ts';

import {
  createPush,
  type Push,
  type PushedMessage,
  type PushSettings,
  type pushedMessageOf,
} from '../../src/sdk/im/push/index.ts';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Same<A, B>): void {}

export async function surface(): Promise<void> {
  const storage: QalStorage = memoryStorage();
  const limits: ImLimits = { ...defaultImLimits, sendTimeoutMs: 1_000 };
  const platform: ImPlatform = imPlatforms[0];
  const client = createImClient({
    url: new URL('wss://im.example.com'),
    sdkAppId: 1_400_000_000,
    platform,
    storage: indexedDbStorage({ name: 'mine' }),
    disableStorage: false,
    disableAutoReport: false,
    disableRecentContact: false,
    // The platform's own fits.
    WebSocket,
    clock: () => 0,
    random: () => 0.5,
    limits,
    onEvent(event) {
      same<typeof event, ImEvent>(true);
      if (event.type === 'storage-failed') same<typeof event.operation, 'get' | 'set' | 'delete' | 'keys'>(true);
      if (event.type === 'request-failed') same<typeof event.error, ImError>(true);
    },
  });
  same<typeof client, ImClient>(true);
  const info = await client.login('alice', 'sig');
  same<typeof info, LoginInfo>(true);
  const off: () => void = client.onNewMessage((message) => same<typeof message, ImMessage>(true));
  off();
  client.onConnection((state, reason) => {
    same<typeof state, ConnectionState>(true);
    same<typeof reason, ConnectionReason | undefined>(true);
  });
  client.onForceOffline((notice) => same<typeof notice, ForcedOffline>(true));
  client.onUserSigExpired((error) => same<typeof error.code, ImErrorCode>(true));
  client.onRecalled((notice) => same<typeof notice, RecalledNotice>(true));
  client.onRead((notice) => same<typeof notice, ReadNotice>(true));
  client.onStatus((message) => same<typeof message.status, ImMessageStatus>(true));
  client.onProfile((notice) => same<typeof notice, ProfileNotice>(true));
  client.onConversation((conversation) => same<typeof conversation, string>(true));
  client.onRefresh(async () => {});
  const conversation = client.getConversation('bob');
  same<typeof conversation, ImConversation>(true);
  const options: SendOptions = { lifetimeSec: 60, custom: 'x', push: { PushFlag: 1 } };
  const outgoing = conversation.sendMessage('hi', options);
  same<typeof outgoing, ImOutgoing>(true);
  same<Awaited<typeof outgoing.done>, ImMessage>(true);
  const element: ImElement = { MsgType: 'TIMTextElem', MsgContent: { Text: 'x' } };
  conversation.sendOnlineMessage([element]);
  const paging: PageOptions = { count: 5, before: outgoing };
  const page = await conversation.getMessage(paging);
  same<typeof page, MessagePage>(true);
  const text: string = textOf(page.messages[0] ?? outgoing);
  await conversation.setReadMessage(page.messages[0]);
  await conversation.delete({ messages: true });
  throw new ImError('NETWORK', text, { retryable: true, cause: storage });
}

export async function groupSurface(client: ImClient): Promise<void> {
  const groups = createGroups(client, { maxMissed: 100 });
  same<typeof groups, Groups>(true);
  groups.onMessage((message, group) => {
    same<typeof message, ImMessage>(true);
    same<typeof group, string>(true);
    same<ReturnType<typeof tipOf>, TipNotice | undefined>(true);
    tipOf(message);
  });
  groups.onTip((tip) => same<typeof tip, TipNotice>(true));
  groups.onChange((change) => same<typeof change, GroupChange>(true));
  groups.onNotice(async (notice) => {
    same<typeof notice, GroupNotice>(true);
    if (notice.request !== undefined) await groups.answer(notice.request, { agrees: true });
  });
  const group = await groups.create({ type: 'Public', name: 'Tea', members: ['bob'], custom: { level: '1' } });
  same<Awaited<ReturnType<Groups['get']>>, GroupProfile>(true);
  const [joined] = (await groups.list({ type: 'Public', limit: 5 })).groups;
  same<typeof joined, JoinedGroup | undefined>(true);
  const [request] = (await groups.requests()).requests;
  const name: RequestName | undefined = request;
  if (name !== undefined) await groups.answer(name, { agrees: false, words: 'no' });
  const conversation = groups.conversation(group);
  same<typeof conversation, ImConversation>(true);
  conversation.sendMessage('hi', { priority: 'High' });
  // @ts-expect-error one owns a group by `transfer`
  await groups.modifyMember(group, { account: 'bob', role: 'Owner' });
  // @ts-expect-error there is no such option
  await groups.modify(group, { applyOption: 'Anybody' });
}

export function mistakes(client: ImClient): void {
  // @ts-expect-error no such platform
  createImClient({ url: '', sdkAppId: 1, platform: 'BeOS' });
  // @ts-expect-error a platform is needed
  createImClient({ url: '', sdkAppId: 1 });
  // @ts-expect-error a login needs a UserSig
  void client.login('alice');
  // @ts-expect-error what was sent is read only
  client.getConversation('bob').sendMessage('x').seq = 3;
}

export async function pushSurface(client: ImClient): Promise<void> {
  const push = createPush(client);
  same<typeof push, Push>(true);
  const isKnown = await push.setToken({ channel: 'apns', token: '00', environment: 'sandbox', language: 'zh' });
  same<typeof isKnown, boolean>(true);
  // @ts-expect-error there is no such service
  await push.setToken({ channel: 'huawei', token: '00' });
  const { removeToken, background, foreground } = push;
  for (const told of [removeToken(), background(), background(3), foreground()])
    same<typeof told, Promise<boolean>>(true);
  const settings = await push.settings();
  same<typeof settings, PushSettings>(true);
  await push.setSettings({ isOn: false, c2cSound: null });
  const payload: unknown = {};
  const opened = push.opened(payload);
  same<typeof opened, PushedMessage | undefined>(true);
  same<ReturnType<typeof pushedMessageOf>, PushedMessage | undefined>(true);
}
