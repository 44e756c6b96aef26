import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { signUserSig } from '../../examples/backend/user-sig.ts';
import { openCuttableNetwork } from '../support/cuttable-network.ts';
import { until } from '../support/database.ts';
import { type Service, spawnService } from '../support/service.ts';

const program = '/usr/bin/chromium';
const skip = existsSync(program) ? false : `${program} is not there: install the Debian package chromium`;
const sdkAppId = 1_400_000_000;
const desktop: BrowserContextOptions = { viewport: { width: 1_000, height: 640 }, locale: 'en-GB' };
const phone: BrowserContextOptions = {
  viewport: { width: 360, height: 740 },
  locale: 'en-GB',
  isMobile: true,
  hasTouch: true,
};

/** Somebody at the chat page. */
interface Visitor {
  page: Page;
  context: BrowserContext;
  say(text: string): Promise<void>;
  /** The texts of the messages that are shown, in their order. */
  texts(): Promise<string[]>;
  /** Waits until a message is there, in a state if one is given. */
  sees(text: string, state?: string): Promise<void>;
}

/** What a page complained of: errors, warnings, breaches of its Content-Security-Policy. */
type Problems = string[];

function watch(page: Page, problems: Problems): void {
  page.on('console', (message) => problems.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => problems.push(String(error.stack)));
}

function at(page: Page): Visitor {
  const message = (text: string, state?: string) =>
    page.locator(state === undefined ? '.message' : `.message[data-state=${state}]`, {
      has: page.getByText(text, { exact: true }),
    });
  return {
    page,
    context: page.context(),
    async say(text) {
      await page.fill('#text', text);
      await page.press('#text', 'Enter');
    },
    texts: () => page.locator('.message .text').allTextContents(),
    sees: async (text, state) => await message(text, state).waitFor(),
  };
}

async function visit(
  service: Service,
  browser: Browser,
  { name, to, problems, ...options }: BrowserContextOptions & { name: string; to?: string; problems: Problems },
): Promise<Visitor> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  watch(page, problems);
  await page.goto(`${service.access}/chat/?as=${name}${to === undefined ? '' : `#${to}`}`);
  await page.locator('#app').waitFor();
  return at(page);
}

/** Calls `/v4` as the app's backend does. */
async function callRest(service: Service, command: string, body: object): Promise<void> {
  const secret = /secret ([0-9a-f]{64})/.exec(service.text.join('\n'))?.[1] ?? '';
  const issuedAtSec = Math.floor(Date.now() / 1_000);
  const query = new URLSearchParams({
    sdkappid: String(sdkAppId),
    identifier: 'admin',
    usersig: signUserSig({ sdkAppId, identifier: 'admin', secret, expireSec: 600, issuedAtSec }),
    random: '1',
    contenttype: 'json',
  });
  const response = await fetch(`${service.im}/v4/${command}?${query}`, { method: 'POST', body: JSON.stringify(body) });
  const { ErrorCode, ErrorInfo } = (await response.json()) as { ErrorCode: number; ErrorInfo: string };
  if (ErrorCode !== 0) throw new Error(`${command}: ${ErrorCode} ${ErrorInfo}`);
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => `number ${from + i}`);
}

async function openService(t: Test): Promise<{ service: Service; browser: Browser }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'qalgate-chat-'));
  const starting = spawnService({ dataDir, args: ['--demo'] });
  const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-gpu'] });
  const service = await starting;
  t.teardown(async () => {
    await browser.close();
    service.process.kill('SIGTERM');
    await service.exited;
    rmSync(dataDir, { recursive: true, force: true });
  });
  return { service, browser };
}

t.test('the chat page in a browser', { skip }, async (t) => {
  const { service, browser } = await openService(t);
  const network = await openCuttableNetwork();
  t.teardown(() => network.close());
  const problems: Problems = [];
  const ofBob: Problems = [];
  const alice = await visit(service, browser, { ...desktop, name: 'alice', problems });

  let bob: Visitor;
  await t.test('two users exchange messages', async (t) => {
    await alice.page.click('#first');
    const nasty = '<img src=x onerror="alert(1)"> & <script>alert(2)</script>';
    await alice.say('Hello Bob');
    await alice.sees('Hello Bob', 'sent');
    await alice.say(nasty);
    await alice.page.fill('#text', 'two');
    await alice.page.press('#text', 'Shift+Enter');
    await alice.page.locator('#text').pressSequentially('lines');
    await alice.page.press('#text', 'Enter');
    await alice.sees('two\nlines', 'sent');

    bob = await visit(service, browser, { ...phone, name: 'bob', problems: ofBob, proxy: network.proxy });
    await bob.page.locator('.conversation .badge', { hasText: '3' }).waitFor();
    t.equal(await bob.page.title(), '(3) bob · Chat');
    t.equal(await bob.page.locator('.conversation .last').textContent(), 'two lines');
    t.equal(await bob.page.locator('#thread').isVisible(), false, 'a phone shows the list alone');
    await bob.page.tap('.conversation');
    await bob.sees('two\nlines', 'received');
    t.same(
      await bob.texts(),
      ['Hello Bob', nasty, 'two\nlines'],
      'what was written before he first came is there, as text',
    );
    t.equal(await bob.page.locator('#messages img, #messages script').count(), 0);
    await alice.sees('two\nlines', 'read');
    await bob.page.locator('.badge').waitFor({ state: 'detached' });

    await bob.say('Hi Alice, see https://example.com/a?b=1.');
    await alice.sees('Hi Alice, see https://example.com/a?b=1.', 'received');
    const link = alice.page.locator('.message .text a');
    t.equal(await link.getAttribute('href'), 'https://example.com/a?b=1');
    await bob.sees('Hi Alice, see https://example.com/a?b=1.', 'read');
    for (const selector of ['html', '#messages', '#composer', '#conversations']) {
      const width = await bob.page.locator(selector).evaluate(({ scrollWidth }) => scrollWidth);
      t.ok(width <= 360, `${selector} fits on a phone: ${width}`);
    }
    await bob.page.click('#back');
    await bob.page.locator('#side').waitFor();

    await alice.page.locator('.message', { hasText: 'Hello Bob' }).hover();
    await alice.page.locator('.message', { hasText: 'Hello Bob' }).locator('.recall').click();
    await alice.sees('You took a message back', 'recalled');
    await bob.page.tap('.conversation');
    await bob.sees('This message was taken back', 'recalled');

    await alice.page.reload();
    await alice.sees('You took a message back', 'recalled');
    t.same(
      await alice.texts(),
      ['You took a message back', nasty, 'two\nlines', 'Hi Alice, see https://example.com/a?b=1.'],
      'it is all there after a reload',
    );
    t.same(ofBob, []);
  });

  await t.test('one goes offline, comes back, and has everything once', async (t) => {
    await bob.say('before');
    await alice.sees('before');
    const since = (texts: string[]): string[] => texts.slice(texts.indexOf('before') + 1);

    network.cut();
    await bob.context.setOffline(true); // so that the browser says so
    const banner = bob.page.locator('#banner');
    await banner.waitFor();
    t.match(await banner.textContent(), /^Offline\. Messages are sent/);
    await bob.say('from the tunnel');
    await bob.sees('from the tunnel', 'sending');
    for (const text of ['one', 'two', 'three']) await alice.say(text);
    await alice.sees('three', 'sent');

    network.join();
    await bob.context.setOffline(false);
    await bob.sees('from the tunnel', 'read');
    await bob.sees('three');
    await banner.waitFor({ state: 'hidden' });
    await alice.sees('from the tunnel');
    t.same(since(await bob.texts()), ['one', 'two', 'three', 'from the tunnel'], 'in the order of the service');
    t.same(since(await alice.texts()), ['one', 'two', 'three', 'from the tunnel']);
    t.same(
      ofBob.splice(0).filter((problem) => !/WebSocket connection to .* failed/.test(problem)),
      [],
      'a browser itself says that it could not connect',
    );

    await bob.page.close();
    for (const text of ['four', 'five']) await alice.say(text);
    await alice.sees('five', 'sent');
    const page = await bob.context.newPage();
    const again = at(page);
    watch(page, ofBob);
    await page.goto(`${service.access}/chat/?as=bob`);
    await page.locator('.badge', { hasText: '2' }).waitFor();
    await page.tap('.conversation');
    await again.sees('five');
    t.same(since(await again.texts()), ['one', 'two', 'three', 'from the tunnel', 'four', 'five']);
    t.equal(await page.locator('.divider.unread').count(), 1, 'what is new is marked');
    t.same(ofBob, []);
    await bob.context.close();
  });

  await t.test('a second login ends the first, which says so', async (t) => {
    const first = alice;
    const second = await visit(service, browser, { ...phone, name: 'alice', problems });
    const dialog = first.page.getByRole('alertdialog', { name: 'You are logged in somewhere else' });
    await dialog.waitFor();
    t.match(await dialog.textContent(), /At \d\d:\d\d alice logged in from another browser window\./);
    await first.page.keyboard.press('Escape');
    await first.page.keyboard.press('Escape');
    t.ok(await dialog.isVisible(), 'there is no way round it');

    await first.page.getByRole('button', { name: 'Log in here again' }).click();
    await second.page.getByRole('alertdialog').waitFor();
    await dialog.waitFor({ state: 'hidden' });
    await first.say('here again');
    await first.sees('here again', 'sent');

    await second.page.getByRole('button', { name: 'Use another name' }).click();
    const name = second.page.getByLabel('Your name');
    await name.fill('carol');
    await name.press('Enter');
    await second.page.locator('#app').waitFor();
    t.equal(new URL(second.page.url()).search, '?as=carol');
    await second.page.locator('#invitation').waitFor();
    await second.page.click('#leave');
    await name.waitFor();
    t.equal(await name.inputValue(), 'carol', 'the name is remembered');
    await second.context.close();
  });

  await t.test('what could not be sent is sent again, or deleted', async (t) => {
    await alice.page.getByRole('button', { name: 'New conversation' }).click();
    await alice.page.getByLabel('With').fill('dave');
    await alice.page.keyboard.press('Enter');
    for (const text of ['Anybody here?', 'Hm']) {
      await alice.say(text);
      await alice.sees(text, 'failed');
    }
    t.match(await alice.page.locator('.failure').first().textContent(), /^Nobody has taken the name “dave” yet\./);
    await alice.page.getByRole('button', { name: 'Delete' }).last().click();
    const dave = await visit(service, browser, { ...desktop, name: 'dave', problems });
    await dave.page.locator('#invitation').waitFor(); // he is logged in
    await alice.page.getByRole('button', { name: 'Send again' }).click();
    await alice.sees('Anybody here?', 'sent');
    t.same(await alice.texts(), ['Anybody here?']);
    await dave.page.locator('.badge', { hasText: '1' }).waitFor();
    await dave.context.close();
  });

  await t.test('[K1] what the backend refuses says why, and its page shows what it was asked and told', async (t) => {
    const backend = await alice.context.newPage();
    watch(backend, problems);
    await backend.goto(`${service.access}/callbacks/`);
    const row = (about: string) => backend.locator('tr[data-verified=true]', { hasText: about });
    await alice.page.goto(`${service.access}/chat/?as=alice#bob`);
    await alice.say('is this a scam?');
    await alice.sees('is this a scam?', 'failed');
    t.match(await alice.page.locator('.failure').last().textContent(), /^“scam” is not welcome here\. /);
    await alice.page.getByRole('button', { name: 'Delete' }).last().click();
    await row('alice → bob: “is this a scam?”').waitFor();
    t.match(await row('is this a scam?').textContent(), /C2C\.CallbackBeforeSendMsg.*refuse with 120001/s);
    await alice.say('oh heck');
    await row('alice → bob: “oh ****”').filter({ hasText: 'C2C.CallbackAfterSendMsg' }).waitFor();
    await backend.getByLabel('answers 500').check();
    await alice.say('never mind');
    await backend.locator('tr[data-failed=true]', { hasText: 'never mind' }).first().waitFor();
    await backend.getByLabel('answers', { exact: true }).check();
    await row('never mind').filter({ hasText: 'CallbackAfterSendMsg' }).filter({ hasText: 'OK' }).waitFor();
    await backend.close();
  });

  await t.test('[G1] [G12] [G17] [G27] a group: made, joined, talked in, looked after, dismissed', async (t) => {
    const carol = await visit(service, browser, { ...phone, name: 'carol', problems });
    const fred = await visit(service, browser, { ...desktop, name: 'fred', problems });
    await Promise.all([carol, fred].map(({ page }) => page.locator('#invitation').waitFor()));
    const tip = (of: Visitor, text: string) => of.page.locator('.divider.tip', { hasText: text }).waitFor();

    await alice.page.getByRole('button', { name: 'New group' }).click();
    await alice.page.getByLabel('Name', { exact: true }).fill('Tea club');
    await alice.page.getByLabel('Who is invited').fill('carol, fred');
    await alice.page.keyboard.press('Enter');
    await alice.page.locator('#thread h1', { hasText: 'Tea club' }).waitFor();
    await alice.say('Tea at five?');
    await alice.sees('Tea at five?', 'sent');

    const request = carol.page.locator('#requests li', { hasText: 'alice invites you to Tea club' });
    await request.waitFor();
    await carol.page.reload();
    await request.getByRole('button', { name: 'Join' }).click();
    await carol.page.locator('#requests').waitFor({ state: 'hidden' });
    await tip(carol, 'carol joined');
    await tip(alice, 'carol joined');
    await fred.page.locator('#requests').getByRole('button', { name: 'Join' }).click();
    await tip(carol, 'fred joined');
    for (const text of ['With milk', 'and sugar']) await carol.say(text);
    await alice.sees('and sugar', 'received');
    t.same(
      await alice.page.locator('.message.theirs.first .from').allTextContents(),
      ['carol: '],
      'who wrote it, once above what stands together',
    );
    await fred.sees('and sugar', 'received');
    await carol.page.click('#back');
    await alice.say('Biscuits?');
    const row = carol.page.locator('.conversation', { hasText: 'Tea club' });
    await row.locator('.badge', { hasText: '1' }).waitFor();
    t.equal(await row.locator('.last').textContent(), 'alice: Biscuits?');
    await row.tap();
    await carol.sees('Biscuits?', 'received');
    for (const selector of ['html', '#messages', '#composer']) {
      const width = await carol.page.locator(selector).evaluate(({ scrollWidth }) => scrollWidth);
      t.ok(width <= 360, `${selector} fits on a phone: ${width}`);
    }

    const members = alice.page.getByRole('dialog', { name: 'Tea club' });
    const member = (name: string) => members.locator(`[data-account=${name}]`);
    await alice.page.getByRole('button', { name: 'Members' }).click();
    t.match(await member('alice').textContent(), /alice.*owner/);
    t.equal(await member('alice').getByRole('button').count(), 0);
    await member('carol').getByRole('button', { name: 'Mute' }).click();
    await member('carol').getByText('muted').waitFor();
    await tip(carol, 'alice muted carol');
    await carol.say('mmh');
    await carol.sees('mmh', 'failed');
    t.match(await carol.page.locator('.failure').textContent(), /^You are muted in this group\./);
    await member('carol').getByRole('button', { name: 'Unmute' }).click();
    await tip(carol, 'carol may speak again');
    await carol.page.getByRole('button', { name: 'Send again' }).click();
    await alice.sees('mmh', 'received');
    await member('fred').getByRole('button', { name: 'Remove' }).click();
    await member('fred').waitFor({ state: 'detached' });
    await fred.page.getByText('alice removed you from Tea club.').waitFor();
    await fred.say('why?');
    await fred.sees('why?', 'failed');
    t.match(await fred.page.locator('.failure').textContent(), /^You are no member of this group\./);
    await members.getByLabel('Invite').fill('nobody-at-all');
    await members.getByLabel('Invite').press('Enter');
    await members
      .getByRole('alert')
      .filter({ hasText: /Nobody has taken|Could not be invited/ })
      .waitFor();

    const before = await alice.texts();
    await alice.page.reload();
    await alice.sees('mmh');
    t.same(await alice.texts(), before, 'it is all there after a reload');
    await alice.page.locator('#thread h1', { hasText: 'Tea club' }).waitFor();
    await alice.page.getByRole('button', { name: 'Members' }).click();
    await members.getByRole('button', { name: 'Dismiss the group' }).click();
    await members.getByRole('button', { name: 'Really dismiss it?' }).click();
    await carol.page.getByText('alice dismissed Tea club.').waitFor();
    await carol.say('still there?');
    await carol.sees('still there?', 'failed');
    for (const one of [carol, fred]) await one.context.close();
  });

  await t.test('[G6] [G8] [G11] [G15] [G20] a group: found by its id, asked for, renamed, handed on', async (t) => {
    const gina = await visit(service, browser, { ...phone, name: 'gina', problems });
    const tip = (of: Visitor, text: string) => of.page.locator('.divider.tip', { hasText: text }).waitFor();
    const panelOf = ({ page }: Visitor) => page.getByRole('dialog', { name: /Book club|Readers/ });
    const button = (of: Visitor, name: string) => panelOf(of).getByRole('button', { name, exact: true });
    const open = async (of: Visitor) => {
      await of.page.getByRole('button', { name: 'Members' }).click();
      await panelOf(of).waitFor();
    };

    await alice.page.getByRole('button', { name: 'New group' }).click();
    await alice.page.getByLabel('Name', { exact: true }).fill('Book club');
    await alice.page.keyboard.press('Enter');
    await alice.page.locator('#thread h1', { hasText: 'Book club' }).waitFor();
    await open(alice);
    const id = (await panelOf(alice).locator('code').textContent()) ?? '';
    t.match(id, /^@TGS#/);
    await alice.page.keyboard.press('Escape');
    await alice.page.getByRole('button', { name: 'Notices', exact: true }).waitFor(); // what she did herself is no news

    await gina.page.getByRole('button', { name: 'Find a group' }).click();
    const find = gina.page.getByRole('dialog', { name: 'Find a group' });
    await find.getByLabel('Its id').fill('no-such-group');
    await gina.page.keyboard.press('Enter');
    await find.getByRole('alert').filter({ hasText: 'There is no such group' }).waitFor();
    await find.getByLabel('Its id').fill(id);
    await gina.page.keyboard.press('Enter');
    await find.getByText('Public group, 1 member, owner alice').waitFor();
    await find.getByLabel('What you say').fill('I read a lot');
    await find.getByRole('button', { name: 'Ask to join' }).click();
    await gina.page.getByText('You have asked.').waitFor();

    const request = alice.page.locator('#requests li', { hasText: 'gina wants to join Book club: “I read a lot”' });
    await request.getByRole('button', { name: 'Let in' }).click();
    await gina.page.locator('#banner', { hasText: 'alice let you into Book club.' }).waitFor();
    await gina.page.getByRole('button', { name: 'Notices, 1 unread' }).click();
    const notices = gina.page.getByRole('dialog', { name: 'Notices' });
    await notices.getByRole('listitem').filter({ hasText: 'alice let you into Book club.' }).waitFor();
    await notices.getByRole('button', { name: 'Close' }).click();
    await gina.page.getByRole('button', { name: 'Notices', exact: true }).waitFor();
    await gina.page.locator('.conversation', { hasText: 'Book club' }).tap();
    await tip(gina, 'gina joined');

    await open(alice);
    await button(alice, 'Make admin').press('Enter');
    await tip(gina, 'alice made gina admin');
    await button(alice, 'Make plain member').waitFor();
    await alice.page.locator('[data-account=gina] :focus').waitFor(); // where it was
    await button(alice, 'Mute everybody').click();
    await panelOf(alice).getByText('Only owner and admins may write.').waitFor();
    await button(alice, 'Let everybody write').click();
    await button(alice, 'Mute everybody').waitFor();

    await open(gina);
    for (const selector of ['html', '#group', '#group-list']) {
      const width = await gina.page.locator(selector).evaluate(({ scrollWidth }) => scrollWidth);
      t.ok(width <= 360, `${selector} fits on a phone: ${width}`);
    }
    t.equal(await button(gina, 'Make admin').count(), 0, 'the owner’s alone');
    await panelOf(gina).getByLabel('Name of the group').fill('Readers');
    await gina.page.keyboard.press('Enter');
    await alice.page.locator('.divider.tip', { hasText: 'gina named it Readers' }).waitFor();
    await alice.page.locator('#thread h1', { hasText: 'Readers' }).waitFor();
    t.equal(await alice.page.locator('#text').getAttribute('placeholder'), 'Message to Readers');
    await panelOf(gina).getByLabel('Announcement').fill('No coffee on Mondays');
    await button(gina, 'Announce').click();
    await tip(alice, 'gina announces: No coffee on Mondays');
    await panelOf(gina).getByLabel('How you are called here').fill('Gina G.');
    await button(gina, 'Save').click();
    await panelOf(gina).getByText('you, gina, admin').waitFor();
    await panelOf(gina).getByLabel('What you hear of it').selectOption('AcceptNotNotify');
    await button(gina, 'Close').click();
    await gina.say('hello readers');
    await alice.sees('hello readers', 'received');
    t.equal(await alice.page.locator('.message.theirs .from').last().textContent(), 'Gina G.: ');
    await gina.page.reload();
    await gina.page.locator('#thread h1', { hasText: 'Readers' }).waitFor();
    await open(gina);
    t.equal(await panelOf(gina).getByLabel('What you hear of it').inputValue(), 'AcceptNotNotify');

    await button(alice, 'Make owner').click();
    await button(alice, 'Really hand it on?').click();
    await tip(gina, 'alice made gina the owner');
    await button(alice, 'Leave the group').click();
    await button(alice, 'Really leave it?').click();
    await panelOf(alice).waitFor({ state: 'hidden' });
    await tip(gina, 'alice left');
    await alice.page.locator('#bell').click();
    await alice.page.getByRole('dialog', { name: 'Notices' }).getByText('You left Readers.').waitFor();
    await alice.page.keyboard.press('Escape');
    await alice.page.getByRole('button', { name: 'Members' }).click();
    await alice.page.locator('#banner', { hasText: 'You are no member of this group.' }).waitFor();
    await button(gina, 'Dismiss the group').click();
    await button(gina, 'Really dismiss it?').click();
    await panelOf(gina).waitFor({ state: 'hidden' });
    await gina.context.close();
  });

  await t.test(
    '[G15] [G33] [G38] an audience: made, found, joined; what its type does not allow is not there',
    async (t) => {
      const hugo = await visit(service, browser, { ...phone, name: 'hugo', problems });
      const panelOf = ({ page }: Visitor) => page.getByRole('dialog', { name: 'Live show with everybody there' });
      const make = alice.page.getByRole('dialog', { name: 'New group' });
      await alice.page.getByRole('button', { name: 'New group' }).click();
      await alice.page.keyboard.press('Enter');
      await make.getByRole('alert').filter({ hasText: 'A name is needed.' }).waitFor();
      await make.getByLabel('Name', { exact: true }).fill('é'.repeat(16));
      await alice.page.keyboard.press('Enter');
      await make.getByRole('alert').filter({ hasText: 'name has 32 bytes; allowed:' }).waitFor();
      await make.getByLabel('Name', { exact: true }).fill('Live show with everybody there');
      await make.getByLabel('Who comes in').selectOption('AVChatRoom');
      t.notOk(await make.getByLabel('Who is invited').isVisible(), 'nobody is invited to be an audience');
      await make.getByRole('button', { name: 'Make it' }).click();
      await alice.page.locator('#thread h1', { hasText: 'Live show with everybody there' }).waitFor();
      await alice.page.getByRole('button', { name: 'Members' }).click();
      const id = (await panelOf(alice).locator('code').textContent()) ?? '';

      const find = hugo.page.getByRole('dialog', { name: 'Find a group' });
      const search = async (group: string) => {
        await find.getByLabel('Its id').fill(group);
        await hugo.page.keyboard.press('Enter');
      };
      await hugo.page.getByRole('button', { name: 'Find a group' }).click();
      await search('é');
      await find.getByRole('alert').filter({ hasText: 'No group has an id like that.' }).waitFor();
      const closed = { GroupId: 'closed', Type: 'Public', Name: 'Closed', ApplyJoinOption: 'DisableApply' };
      await callRest(service, 'group_open_http_svc/create_group', closed);
      await search('closed');
      await find.getByRole('alert').filter({ hasText: 'It takes in only whom it invites.' }).waitFor();
      t.ok(await find.getByRole('button', { name: 'Ask to join' }).isDisabled());
      await search(id);
      await find.getByText('Audience, 1 member, owner alice').waitFor();
      t.notOk(await find.getByLabel('What you say').isVisible(), 'nobody lets anybody in');
      await find.getByRole('button', { name: 'Join', exact: true }).click();
      await hugo.page.locator('#text[placeholder="Message to Live show with everybody there"]').waitFor();

      const offered = async (of: Visitor) => await panelOf(of).getByRole('button').allTextContents();
      await panelOf(alice).locator('[data-account=hugo]').getByRole('button', { name: 'Mute' }).waitFor();
      t.same(await offered(alice), [
        'Rename',
        'Announce',
        'Mute',
        'Mute everybody',
        'Save',
        'Dismiss the group',
        'Close',
      ]);
      await panelOf(alice).getByLabel('Announcement').fill('Starts at eight');
      await panelOf(alice).getByRole('button', { name: 'Announce' }).click();
      await hugo.page.locator('.divider.tip', { hasText: 'alice announces: Starts at eight' }).waitFor();
      await panelOf(alice).getByRole('button', { name: 'Mute', exact: true }).click();
      await hugo.page.locator('.divider.tip', { hasText: 'alice muted hugo' }).waitFor();
      await panelOf(alice).getByRole('button', { name: 'Close' }).click();
      await alice.say('Welcome');
      await hugo.sees('Welcome', 'received');
      t.same(
        await hugo.page.locator('#messages :is(.tip span, .text)').allTextContents(),
        ['alice announces: Starts at eight', 'alice muted hugo', 'Welcome'],
        'what has no number in the group stands where it came',
      );
      await hugo.page.getByRole('button', { name: 'Members' }).click();
      await panelOf(hugo).getByText('Starts at eight').waitFor();
      t.same(await offered(hugo), ['Leave the group', 'Close']);
      await panelOf(hugo).getByRole('button', { name: 'Close' }).click();
      const height = () => hugo.page.locator('#text').evaluate(({ clientHeight }) => clientHeight);
      const flat = await height();
      await hugo.page.click('#back');
      await hugo.page.locator('.conversation', { hasText: 'Live show' }).tap();
      await hugo.sees('Welcome', 'received');
      t.equal(await height(), flat, 'a long name makes the field no higher');
      await hugo.context.close();
    },
  );

  await t.test('older messages come as one scrolls up, and nothing jumps', async (t) => {
    await callRest(service, 'im_open_login_svc/account_import', { Identifier: 'erin' });
    for (let i = 1; i <= 60; i += 1) {
      await callRest(service, 'openim/importmsg', {
        SyncFromOldSystem: 2,
        From_Account: i % 3 === 0 ? 'alice' : 'erin',
        To_Account: i % 3 === 0 ? 'erin' : 'alice',
        MsgRandom: i,
        MsgTimeStamp: Math.floor(Date.now() / 1_000) - (61 - i) * 600,
        MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `number ${i}` } }],
      });
    }
    await alice.page.goto(`${service.access}/chat/?as=alice#erin`);
    await alice.sees('number 60');
    const scroller = alice.page.locator('#scroller');
    const isAtEnd = (): Promise<boolean> =>
      scroller.evaluate(({ scrollTop, clientHeight, scrollHeight }) => scrollTop + clientHeight >= scrollHeight - 1);
    t.ok(await isAtEnd(), 'it begins at the end');
    t.same(await alice.texts(), numbers(21, 60));

    const topOf = (text: string): Promise<number> =>
      alice.page.getByText(text, { exact: true }).evaluate((one) => one.getBoundingClientRect().top);
    // Near enough to the beginning for more to be fetched.
    await scroller.evaluate((one) => {
      one.scrollTop = 200;
    });
    const before = await topOf('number 24');
    await alice.page.getByText('number 20', { exact: true }).waitFor({ state: 'attached' });
    t.ok(Math.abs((await topOf('number 24')) - before) <= 1, 'what one reads stays where it is');
    await scroller.hover();
    while (!(await alice.texts()).includes('number 1')) await alice.page.mouse.wheel(0, -2_000);
    await alice.page.getByText('The beginning of your conversation with erin').waitFor();
    t.same(await alice.texts(), numbers(1, 60), 'all of them, in order, once');

    const erin = await visit(service, browser, { ...phone, name: 'erin', to: 'alice', problems });
    await erin.say('a new one');
    const newest = alice.page.getByRole('button', { name: '1 new' });
    await newest.click();
    await alice.sees('a new one');
    t.ok(await isAtEnd());
    await erin.sees('a new one', 'read');
    await erin.context.close();
  });

  await t.test('a backend that ended is started again, and can log in again', async (t) => {
    const login = (): Promise<number> =>
      fetch(`${service.access}/chat/login`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ name: 'alice' }),
      }).then(({ status }) => status);
    t.equal(await login(), 200);
    for (const pid of childrenOf(service.process.pid ?? 0)) {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('examples/backend/server.ts'))
        process.kill(pid, 'SIGKILL');
    }
    await service.logged('demo.backend.exited');
    t.ok(await until(async () => (await login()) === 200), 'logins work again');
  });

  t.match(service.text.join('\n'), `${service.access}/chat/?as=alice`, 'npm start says where it is');
  t.same(problems, [], 'no page had anything to complain of');
});
