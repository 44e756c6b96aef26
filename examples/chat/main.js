/**
 * A chat for two windows, with ImClient of the SDK. Reads as an example of it, too: this file has all that is said to the client and
 * heard from it; the other files draw.
 */

import { createComposer } from './composer.js';
import { byId } from './dom.js';
import { requestLogin, showEntrance } from './entrance.js';
import { createGroupRoom } from './groups.js';
import { askHowToGoOn, createBanner } from './notices.js';
import { createSide, hashOf } from './side.js';
import { createGroupCache, createGroups } from './src/sdk/im/groups/index.ts';
import { createImClient, ImError, indexedDbStorage } from './src/sdk/im/index.ts';
import { openThread } from './thread.js';

/** A message waits so long for the connection to come back before it has failed. */
const sendTimeoutMs = 12 * 3_600_000;
/** Times that are shown grow older. */
const redrawMs = 30_000;

const asked = new URLSearchParams(location.search).get('as');
followKeyboard();
if (asked === null) showEntrance(enter);
else enter(asked).catch((error) => showEntrance(enter, { name: asked, error: error.message }));

/** @param {string} name */
async function enter(name) {
  const login = await requestLogin(name);
  // A page that is loaded again is the same user's.
  history.replaceState(history.state, '', `?as=${encodeURIComponent(login.identifier)}${location.hash}`);
  chat(login);
}

/** @param {Awaited<ReturnType<typeof requestLogin>>} first */
function chat({ sdkAppId, identifier: account, userSig, url }) {
  const storage = indexedDbStorage({ name: 'qalgate-im' });
  const client = createImClient({ url, sdkAppId, platform: 'Web', storage, limits: { sendTimeoutMs } });
  const groups = createGroups(client);
  const banner = createBanner();
  const room = createGroupRoom(groups, createGroupCache(client, groups, { storage }), {
    account,
    say: banner.say,
    goTo(conversation) {
      location.hash = hashOf(conversation);
    },
    redraw() {
      if (thread !== undefined) {
        thread.name();
        composer.name(room.titleOf(client.getConversation(thread.id)));
      }
      void drawSide();
    },
  });
  const side = createSide(account, room.titleOf);
  /** @type {ReturnType<typeof openThread> | undefined} */
  let thread;
  let isDrawing = false;
  /** Neither connected nor failed since the login. */
  let isFresh = true;
  /** It will not connect again by itself. */
  let isOver = false;
  let isOpen = false;
  /** What the service has is here. */
  let isAll = false;

  const composer = createComposer({
    send(text) {
      if (thread !== undefined) client.getConversation(thread.id).sendMessage(text);
    },
  });

  // What happens.
  client.onNewMessage((message) => ofThread(message.conversation)?.take(message));
  client.onStatus((message) => ofThread(message.conversation)?.take(message));
  client.onRecalled(({ conversation, seqs }) => ofThread(conversation)?.recalled(seqs));
  client.onConversation((conversation) => {
    ofThread(conversation)?.render();
    if (conversation === 'system') room.drawBell();
    drawSide();
  });
  client.onRefresh(() => {
    isAll = true;
    void thread?.refresh();
    void room.refresh();
    drawSide();
  });
  client.onConnection((state, reason) => {
    isFresh &&= state === 'connecting';
    isOver = reason !== undefined && reason.retryInMs === undefined;
    tellConnection();
    open();
  });
  client.onForceOffline((notice) => void ended(notice));
  client.onUserSigExpired(() => void logIn());

  function tellConnection() {
    if (client.connectionState === 'connected' && navigator.onLine) banner.setState('');
    else if (isOver) banner.setState('Not logged in');
    else if (isFresh && navigator.onLine) banner.setState('Connecting…');
    else banner.setState('Offline. Messages are sent when you are back.');
  }

  /** Logs in with a UserSig, a new one unless one is given. @param {string} [given] */
  async function logIn(given) {
    isFresh = true;
    try {
      const current = given ?? (await requestLogin(account)).userSig;
      const { kickedWhileAway } = await client.login(account, current);
      if (kickedWhileAway !== undefined)
        banner.say(`While you were away ${account} was online elsewhere (${kickedWhileAway.platform}).`);
    } catch (error) {
      // The client goes on trying by itself, and the banner says so.
      if (error instanceof ImError && error.retryable) return;
      await ended({
        error:
          error instanceof ImError
            ? error
            : new ImError('NETWORK', error instanceof Error ? error.message : String(error)),
      });
    }
  }

  /** @param {Parameters<typeof askHowToGoOn>[1]} notice */
  async function ended(notice) {
    if ((await askHowToGoOn(account, notice)) === 'again') await logIn();
    else await leave();
  }

  async function leave() {
    await client.logout();
    location.replace(location.pathname);
  }

  /** @param {string} conversation */
  function ofThread(conversation) {
    return conversation === thread?.id ? thread : undefined;
  }

  /** Draws the list; what changes meanwhile is drawn right afterwards. */
  async function drawSide() {
    if (isDrawing) return;
    isDrawing = true;
    await Promise.resolve();
    isDrawing = false;
    if (client.account === undefined) return;
    const conversations = await client.getConversations();
    const unread = conversations.reduce((sum, conversation) => sum + conversation.unread, 0);
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${account} · Chat`;
    const isListed = conversations.some(({ id }) => id === thread?.id);
    if (thread !== undefined && !isListed) conversations.unshift(client.getConversation(thread.id));
    side.render(conversations, { openId: thread?.id, isAll });
  }

  /** Which conversation is open stands in the address: `#bob`, or `#group:…`. */
  function followHash() {
    const peer = decodeHash();
    const conversation = peer === undefined ? undefined : client.getConversation(peer);
    if (conversation?.id === thread?.id) return;
    thread?.close();
    thread = conversation && openThread(conversation, { say: banner.say, titleOf: room.titleOf });
    byId('app').classList.toggle('reading', thread !== undefined);
    byId('thread').hidden = thread === undefined;
    byId('nothing').hidden = thread !== undefined;
    if (conversation !== undefined) composer.turnTo(conversation.id, room.titleOf(conversation));
    byId('members').hidden = conversation?.type !== 'group';
    byId('members').onclick = () => void room.open(conversation?.peer ?? '');
    void drawSide();
  }

  let hasComeFromList = false;
  byId('conversations').addEventListener('click', () => {
    hasComeFromList = true;
  });
  byId('back').onclick = () => {
    if (hasComeFromList) history.back();
    else location.hash = '';
    hasComeFromList = false;
  };
  byId('leave').onclick = leave;
  beginConversations(account);
  // A browser notices a lost network before any connection does.
  addEventListener('offline', tellConnection);
  addEventListener('online', tellConnection);
  void logIn(userSig);

  /** Once it connects, what is stored for the account can be shown. */
  function open() {
    if (isOpen) return;
    isOpen = true;
    byId('app').hidden = false;
    addEventListener('hashchange', followHash);
    setInterval(() => {
      thread?.render();
      void drawSide();
    }, redrawMs);
    followHash();
  }
}

function decodeHash() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || undefined;
  } catch {
    return undefined;
  }
}

/** The button that asks for a name. @param {string} account */
function beginConversations(account) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('start'));
  const field = /** @type {HTMLInputElement} */ (byId('with'));
  const say = (/** @type {string} */ text) => {
    byId('with-error').textContent = text;
  };
  byId('new').onclick = () => {
    field.value = '';
    say('');
    dialog.showModal();
  };
  /** @type {HTMLElement} */ (dialog.querySelector('form')).onsubmit = (event) => {
    event.preventDefault();
    const peer = field.value.trim().normalize('NFC');
    if (peer === '') say('A name is needed.');
    else if (new TextEncoder().encode(peer).length > 32) say('No name is that long.');
    else if (peer === account) say('That is you.');
    else {
      dialog.close();
      location.hash = hashOf(peer);
    }
  };
}

/** Where a phone's keyboard covers the page rather than making it smaller, the page makes itself smaller. */
function followKeyboard() {
  const { visualViewport } = window;
  visualViewport?.addEventListener('resize', () => {
    const isCovered = window.innerHeight - visualViewport.height > 1 && visualViewport.scale === 1;
    document.documentElement.style.setProperty('--height', isCovered ? `${visualViewport.height}px` : '100dvh');
    if (isCovered) scrollTo(0, 0);
  });
}
