/** The messages of one conversation: the newest at the end, older ones as one scrolls up. */
import { avatar, byId, make, place } from './dom.js';
import { dress, messageElement } from './message-view.js';
import { tipOf } from './src/sdk/im/groups/index.ts';
import { dayName, recallText, tipText } from './words.js';

/**
 * @typedef {import('qalgate/sdk/im').ImMessage} ImMessage
 * @typedef {import('qalgate/sdk/im').ImConversation} ImConversation
 */

const pageCount = 40;
/** How long an own message can be taken back (the app's `recallSec`). */
const recallSec = 120;
/** Messages of one person within this stand together. */
const togetherSec = 300;
const nearPx = 48;

/**
 * @param {ImConversation} conversation
 * @param {{ say: (text: string) => void, titleOf: (conversation: ImConversation) => string }} deps
 */
export function openThread(conversation, { say, titleOf }) {
  const { id, type } = conversation;
  const isGroup = type === 'group';
  const scroller = byId('scroller');
  const list = byId('messages');
  const beginning = byId('beginning');
  const newest = byId('newest');
  /** Oldest first; those that wait to be sent at the end. @type {ImMessage[]} */
  let messages = [];
  /** Behind which seq those came that have none of their own: what is for those alone who are online. @type {Map<string, number>} */
  const cameAfter = new Map();
  /** Elements by message, and what they show. @type {Map<string, { signature: string, element: HTMLElement }>} */
  const shown = new Map();
  /** What was unread when the conversation was opened lies beyond. */
  const unreadFrom = conversation.unread > 0 ? conversation.readSeq : Number.POSITIVE_INFINITY;
  let isComplete = false;
  let isLoading = false;
  let isAtEnd = true;
  let isClosed = false;

  /** The message as it is now. @param {ImMessage} message */
  const now = (message) => messages.find((one) => keyOf(one) === keyOf(message)) ?? message;
  /** @type {import('./message-view.js').Actions} */
  const actions = {
    resend: (message) => void conversation.resend(now(message)),
    remove(message) {
      messages = messages.filter((one) => keyOf(one) !== keyOf(message));
      render();
      void conversation.deleteMessage(now(message));
    },
    recall: (message) => void conversation.recall(now(message)).catch((error) => say(recallText(error))),
  };

  /** Puts messages in their places; what is there already is replaced. @param {readonly ImMessage[]} some */
  function merge(some) {
    const byKey = new Map(messages.map((message) => [keyOf(message), message]));
    for (const message of some) byKey.set(keyOf(message), message);
    messages = [...byKey.values()].sort((a, b) => (placeOf(a) === placeOf(b) ? 0 : placeOf(a) < placeOf(b) ? -1 : 1));
  }

  /** What waits to be sent is at the end. @param {ImMessage} message */
  function placeOf(message) {
    return message.seq > 0 ? message.seq : (cameAfter.get(keyOf(message)) ?? Number.POSITIVE_INFINITY);
  }

  function render() {
    if (isClosed) return;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    const nowSec = Date.now() / 1_000;
    /** @type {Node[]} */
    const rows = [];
    const keys = new Set();
    let isMarked = false;
    messages.forEach((message, i) => {
      const [before, after] = [messages[i - 1], messages[i + 1]];
      const tip = tipOf(message);
      if (before === undefined || dayName(before.time) !== dayName(message.time)) {
        rows.push(divider(`day ${dayName(message.time)}`, 'day', dayName(message.time)));
      }
      if (!isMarked && !message.isSelf && message.seq > unreadFrom) {
        isMarked = true;
        rows.push(divider('unread', 'unread', 'New'));
      }
      if (tip !== undefined) {
        rows.push(divider(keyOf(message), 'tip', tipText(tip)));
        return;
      }
      const canRecall =
        message.isSelf && message.status === 'sent' && message.seq > 0 && nowSec - message.time < recallSec;
      const element = elementOf(keyOf(message), `${message.status === 'recalled'} ${message.error?.code}`, () =>
        messageElement(message, titleOf(conversation), actions, isGroup),
      );
      const [isFirst, isLast] = [!isTogether(before, message), !isTogether(message, after)];
      dress(element, { time: message.time, state: stateOf(message), isFirst, isLast, canRecall });
      rows.push(element);
    });

    /** @param {string} key @param {string} kind @param {string} text */
    function divider(key, kind, text) {
      return elementOf(key, text, () => make('li', { class: `divider ${kind}` }, make('span', {}, text)));
    }

    /** @param {string} key @param {string} signature @param {() => HTMLElement} draw */
    function elementOf(key, signature, draw) {
      const old = shown.get(key);
      const element = old?.signature === signature ? old.element : draw();
      keys.add(key);
      shown.set(key, { signature, element });
      return element;
    }

    for (const key of shown.keys()) if (!keys.has(key)) shown.delete(key);
    place(list, rows);
    beginning.textContent = isComplete ? beginningText() : '';
    beginning.classList.toggle('busy', isLoading && !isComplete);
    // What was in sight stays in sight.
    scroller.scrollTop = isAtEnd ? scroller.scrollHeight : scroller.scrollHeight - fromEnd;
    noteRead();
  }

  function beginningText() {
    const title = titleOf(conversation);
    const [none, begun] = isGroup
      ? [`No messages in ${title} yet.`, `The beginning of ${title}`]
      : [`No messages with ${title} yet.`, `The beginning of your conversation with ${title}`];
    return messages.length === 0 ? `${none} Say hello.` : begun;
  }

  /** @param {ImMessage} message */
  function stateOf({ isSelf, status, seq }) {
    if (status === 'recalled' || status === 'failed') return status;
    if (!isSelf) return 'received';
    if (status === 'sending') return 'sending';
    return seq > 0 && seq <= conversation.peerReadSeq ? 'read' : 'sent';
  }

  /** What is in sight is read; what is not is counted on the button that leads there. */
  function noteRead() {
    const { unread } = conversation;
    if (unread > 0 && isAtEnd && document.visibilityState === 'visible') void conversation.setReadMessage();
    newest.hidden = isAtEnd;
    const text = /** @type {HTMLElement} */ (newest.querySelector('span'));
    text.textContent = unread > 0 ? `${unread} new` : 'Newest';
  }

  /** @param {(options: { count: number, before?: number }) => ReturnType<ImConversation['getMessage']>} read @param {number} [before] */
  async function load(read, before) {
    const page = await read({ count: pageCount, ...(before !== undefined && { before }) });
    if (isClosed) return;
    const known = new Set(messages.map(keyOf));
    const isApart =
      before === undefined && known.size > 0 && !page.messages.some((message) => known.has(keyOf(message)));
    // Too much came meanwhile for the two to touch.
    if (isApart && page.messages.length > 0) messages = [];
    merge(page.messages);
    if (before !== undefined || messages.length === page.messages.length) isComplete = page.isComplete;
    render();
  }

  async function loadOlder() {
    const [oldest] = messages;
    if (isLoading || isComplete || isClosed || oldest === undefined || oldest.seq <= 0) return;
    isLoading = true;
    render();
    try {
      await load(conversation.getMessage, oldest.seq);
    } catch (error) {
      say(`Older messages could not be loaded: ${error instanceof Error ? error.message : error}`);
    } finally {
      isLoading = false;
      render();
      lookAgain();
    }
  }

  const observer = new IntersectionObserver(
    ([entry]) => {
      if (entry?.isIntersecting) void loadOlder();
    },
    { root: scroller, rootMargin: '300px 0px 0px' },
  );
  function lookAgain() {
    observer.unobserve(beginning);
    if (!isComplete && !isClosed) observer.observe(beginning);
  }

  const onScroll = () => {
    isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < nearPx;
    noteRead();
  };
  const toEnd = () => {
    isAtEnd = true;
    render();
  };
  // A keyboard comes up, the text field or a message grows: the end stays in sight.
  const resizes = new ResizeObserver(() => {
    if (isAtEnd) scroller.scrollTop = scroller.scrollHeight;
  });

  async function refresh() {
    try {
      await load(conversation.getMessage);
    } catch {
      // A name that nobody has taken has no messages.
      isComplete = true;
      render();
    }
    lookAgain();
  }

  function name() {
    const title = titleOf(conversation);
    byId('peer').replaceChildren(avatar(title), make('span', { class: 'name' }, title));
    render();
  }

  name();
  list.replaceChildren();
  scroller.addEventListener('scroll', onScroll, { passive: true });
  newest.addEventListener('click', toEnd);
  document.addEventListener('visibilitychange', render);
  resizes.observe(scroller);
  resizes.observe(list);
  // What is stored here is there at once.
  void load(conversation.getLocalMessage).then(refresh);

  return {
    id,
    /** It may be called otherwise now. */
    name,
    /** A message came, or is another than it was. @param {ImMessage} message */
    take(message) {
      if (message.isSelf && message.status === 'sending') isAtEnd = true;
      const key = keyOf(message);
      if (message.seq === 0 && message.status === 'sent' && !cameAfter.has(key)) {
        cameAfter.set(key, 0.5 + (messages.findLast(({ seq }) => seq > 0)?.seq ?? 0));
      }
      merge([message]);
      render();
    },
    /** @param {readonly number[]} seqs */
    recalled(seqs) {
      const emptied = messages.filter(({ seq }) => seqs.includes(seq));
      merge(emptied.map((message) => ({ ...message, status: 'recalled', body: [] })));
      render();
    },
    render,
    refresh,
    close() {
      isClosed = true;
      observer.disconnect();
      resizes.disconnect();
      scroller.removeEventListener('scroll', onScroll);
      newest.removeEventListener('click', toEnd);
      document.removeEventListener('visibilitychange', render);
    },
  };
}

/** @param {ImMessage} message */
function keyOf({ clientId, key }) {
  return clientId ?? key;
}

/** @param {ImMessage | undefined} a @param {ImMessage | undefined} b */
function isTogether(a, b) {
  if (a === undefined || b === undefined) return false;
  const isDay = dayName(a.time) === dayName(b.time);
  if (tipOf(a) !== undefined || tipOf(b) !== undefined) return false;
  return a.from === b.from && isDay && b.time - a.time < togetherSec && a.status !== 'failed';
}
