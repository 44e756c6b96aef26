/**
 * Takes the pictures of the chat page that the documentation shows: `env node scripts/chat-pictures.ts [folder]`. It starts the demo
 * in a data folder of its own and needs Debian's chromium.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { signUserSig } from '../examples/backend/user-sig.ts';
import { spawnService } from '../test/support/service.ts';

const folder = process.argv[2] ?? fileURLToPath(new URL('../docs/images', import.meta.url));
const dataDir = mkdtempSync(join(tmpdir(), 'qalgate-pictures-'));
const dayMin = 24 * 60;

/** Who wrote what to whom, and how many minutes ago. */
const past: [minutesAgo: number, from: string, to: string, text: string][] = [
  [3 * dayMin, 'Émile Durand', 'alice', 'The invoice is paid, thank you!'],
  [2 * dayMin + 310, 'alice', 'marta', 'Will you be at the library on Thursday?'],
  [2 * dayMin + 300, 'marta', 'alice', 'Yes, from four. I keep you a seat by the window.'],
  [dayMin + 95, 'bob', 'alice', 'Weather looks good for Saturday. Hike to the lake?'],
  [dayMin + 92, 'alice', 'bob', 'Yes, please! Which way round?'],
  [dayMin + 90, 'bob', 'alice', 'Up through the gorge, back over the ridge. Six hours with a long lunch.'],
  [dayMin + 89, 'bob', 'alice', 'The bus leaves at 7:40, the next one only at 9.'],
  [dayMin + 60, 'alice', 'bob', 'Then 7:40. I sleep on the way back.'],
  [47, 'carol', 'alice', 'Is there still room for me on Saturday?'],
  [46, 'carol', 'alice', 'I can bring the stove.'],
];

/** What is said in front of the camera. */
const now: [from: 'alice' | 'bob', text: string][] = [
  ['bob', 'Carol asks whether she can come along. She has a stove.'],
  ['alice', 'Of course, the more the better!'],
  [
    'alice',
    'That makes three of us. Shall I book the hut for the night, in case we stay? It costs nothing to cancel until Friday evening.',
  ],
  ['bob', 'Good idea. The number is on https://lakehut.example/book'],
  ['alice', 'Done. Three beds, under your name.'],
];

/** What is said in the group. */
const inGroup: [from: 'alice' | 'bob', text: string][] = [
  ['bob', 'Who still needs a head lamp?'],
  ['alice', 'I have two. One is yours.'],
  ['bob', 'Great. Meet at the bus stop, half past seven.'],
];

async function importPast(im: string, secret: string): Promise<void> {
  const nowSec = Math.floor(Date.now() / 1_000);
  const userSig = signUserSig({ sdkAppId, identifier: 'admin', secret, expireSec: 600, issuedAtSec: nowSec });
  let serial = 0;
  const call = async (command: string, body: object): Promise<void> => {
    serial += 1;
    const query = { sdkappid: String(sdkAppId), identifier: 'admin', usersig: userSig, random: String(serial) };
    const url = `${im}/v4/${command}?${new URLSearchParams({ ...query, contenttype: 'json' })}`;
    const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    const { ErrorCode, ErrorInfo } = (await answer.json()) as { ErrorCode: number; ErrorInfo: string };
    if (ErrorCode !== 0) throw new Error(`${command}: ${ErrorCode} ${ErrorInfo}`);
  };
  await call('im_open_login_svc/multiaccount_import', { Accounts: ['alice', 'bob', 'carol', 'marta', 'Émile Durand'] });
  for (const [minutesAgo, from, to, text] of past) {
    await call('openim/importmsg', {
      SyncFromOldSystem: from === 'carol' ? 1 : 2,
      From_Account: from,
      To_Account: to,
      MsgRandom: serial,
      MsgTimeStamp: nowSec - minutesAgo * 60,
      MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
    });
  }
}

const sdkAppId = 1_400_000_000;

async function open(browser: Browser, address: string, options: BrowserContextOptions): Promise<Page> {
  const context = await browser.newContext({ locale: 'en-GB', ...options });
  const page = await context.newPage();
  await page.goto(address);
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
  await page.locator('.message.own[data-state=read]', { hasText: text }).waitFor();
}

/** Makes a group, talks in it, and opens its window. */
async function showGroup(desktop: Page, phone: Page): Promise<void> {
  await desktop.getByRole('button', { name: 'New group' }).click();
  await desktop.getByLabel('Name', { exact: true }).fill('Lake hut');
  await desktop.getByLabel('Who is invited').fill('bob, carol, marta');
  await desktop.getByLabel('Who comes in').selectOption('Private');
  await desktop.keyboard.press('Enter');
  await desktop.locator('#thread h1', { hasText: 'Lake hut' }).waitFor();
  // Others see a private group once its owner has said something.
  for (const text of ['Everything about Saturday goes here.']) await sayInGroup(desktop, text);
  await phone.click('#back');
  await phone.locator('.conversation', { hasText: 'Lake hut' }).tap();
  for (const [from, text] of inGroup) await sayInGroup(from === 'alice' ? desktop : phone, text);
  await desktop.locator('.message.theirs', { hasText: inGroup.at(-1)?.[1] ?? '' }).waitFor();
  await desktop.getByRole('button', { name: 'Members' }).click();
  await desktop.locator('#group-list li').nth(3).waitFor();
}

async function sayInGroup(page: Page, text: string): Promise<void> {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
  await page.locator('.message.own[data-state=sent]', { hasText: text }).waitFor();
}

const service = await spawnService({ dataDir, args: ['--demo'] });
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
try {
  await importPast(service.im, /secret ([0-9a-f]{64})/.exec(service.text.join('\n'))?.[1] ?? '');
  const desktop = await open(browser, `${service.access}/chat/?as=alice#bob`, {
    viewport: { width: 1180, height: 870 },
  });
  const phone = await open(browser, `${service.access}/chat/?as=bob#alice`, {
    viewport: { width: 360, height: 740 },
    deviceScaleFactor: 2,
    isMobile: true,
    hasTouch: true,
    colorScheme: 'dark',
  });
  await Promise.all([desktop, phone].map((page) => page.waitForSelector('.message')));
  for (const [from, text] of now) await say(from === 'alice' ? desktop : phone, text);
  for (const page of [desktop, phone]) await page.locator('#text').blur();
  await desktop.mouse.move(600, 20);
  await desktop.screenshot({ path: join(folder, 'chat-desktop.png') });
  await phone.screenshot({ path: join(folder, 'chat-phone.png') });
  await showGroup(desktop, phone);
  await desktop.screenshot({ path: join(folder, 'chat-group.png') });
} finally {
  await browser.close();
  service.process.kill('SIGTERM');
  await service.exited;
  rmSync(dataDir, { recursive: true });
}
