/**
 * A phone in a terminal: it logs in, has a device token, goes to the background and comes back as one types. It shows what an app does for
 * pushes, and is something to push to where there is no phone. How to use it: README.md.
 */
import { createInterface } from 'node:readline/promises';
import { createImClient, textOf } from '../../src/sdk/im/node/index.ts';
import { createPush } from '../../src/sdk/im/push/index.ts';

const kinds = {
  ios: { platform: 'iOS', channel: 'apns' },
  android: { platform: 'Android', channel: 'fcm' },
} as const;

const [app = '', account = '', kind = '', token = ''] = process.argv.slice(2);
const { USERSIG: userSig = '', IM_URL: url = 'http://127.0.0.1:8081' } = process.env;
if (!/^[1-9]\d*$/.test(app) || account === '' || !(kind === 'ios' || kind === 'android') || token === '') {
  fail('usage: USERSIG=<UserSig of the account> phone.ts <app> <account> ios|android <token>');
}
if (userSig === '') fail('USERSIG is missing: `qalgate usersig <account> --app <app>` makes one');
const { platform, channel } = kinds[kind];

const client = createImClient({
  url,
  sdkAppId: Number(app),
  platform,
  onEvent(event) {
    if (event.type === 'request-failed') console.log(`${event.request}: ${wordsOf(event.error)}`);
  },
});
const push = createPush(client);
client.onNewMessage(({ conversation, from, body }) => console.log(`${conversation}  ${from}: ${textOf({ body })}`));
client.onConnection((state) => console.log(state));
client.onForceOffline(({ error }) => fail(`logged out: ${error.code} ${error.message}`));
client.onUserSigExpired((error) => fail(`needs a new UserSig: ${error.code} ${error.message}`));

/** What one types, and what an app does then. */
const commands: Record<string, (word: string) => unknown> = {
  background: (unread) => push.background(unread === '' ? undefined : Number(unread)),
  foreground: () => push.foreground(),
  opened: (payload) => push.opened(JSON.parse(payload)), // by a tap on this push
  settings: async (changes) => {
    if (changes !== '') await push.setSettings(JSON.parse(changes));
    return push.settings();
  },
  remove: () => push.removeToken(),
  logout: async () => {
    await client.logout();
    process.exit(0);
  },
};

try {
  // Before the login, as an app does it: the token is told with it.
  await push.setToken({ channel, token, language: 'en' });
  await client.login(account, userSig);
} catch (error) {
  fail(wordsOf(error));
}
console.log(`${account} on ${platform}: ${Object.keys(commands).join(', ')}; Ctrl-C kills the app`);

for await (const line of createInterface({ input: process.stdin })) {
  const [, name = '', word = ''] = /^\s*(\S*)\s*(.*)$/.exec(line) ?? [];
  const command = commands[name];
  try {
    console.log(command === undefined ? `there is: ${Object.keys(commands).join(', ')}` : await command(word));
  } catch (error) {
    console.log(wordsOf(error));
  }
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code = error.name, field, allowed } = error as { code?: string; field?: string; allowed?: string };
  return [code, field && `${field}:`, error.message, allowed && `(${allowed})`].filter(Boolean).join(' ');
}

function fail(words: string): never {
  console.error(words);
  process.exit(1);
}
