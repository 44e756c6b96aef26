/** The list of conversations. Each is a link to `#name`, so that keyboard, history and a phone's back gesture work by themselves. */
import { avatar, byId, make, place } from './dom.js';
import { briefTime, isoTime, textOf } from './words.js';

/** @typedef {import('qalgate/sdk/im').ImConversation} ImConversation */

/** @param {string} account whose list it is */
export function createSide(account) {
  /** Rows by peer, so that one that only changes stays where the focus is. @type {Map<string, HTMLElement>} */
  const rows = new Map();
  const other = account === 'alice' ? 'bob' : 'alice';

  byId('me').replaceChildren(avatar(account), make('span', { class: 'name' }, account));
  const first = byId('first');
  first.setAttribute('href', hashOf(other));
  first.textContent = `Write to ${other}`;
  const second = byId('second');
  second.setAttribute('href', `?as=${other}`);
  second.textContent = `Be ${other} in a second window`;

  /** @param {ImConversation} conversation @param {boolean} isOpen */
  function row(conversation, isOpen) {
    const { peer, unread } = conversation;
    const item = rows.get(peer) ?? make('li', {}, make('a', { class: 'conversation', href: hashOf(peer) }));
    const link = /** @type {HTMLElement} */ (item.firstElementChild);
    if (isOpen) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    const signature = JSON.stringify([lastLine(conversation), whenOf(conversation), unread]);
    if (link.dataset.signature !== signature) {
      link.dataset.signature = signature;
      link.replaceChildren(...content(conversation));
    }
    return item;
  }

  return {
    /**
     * @param {readonly ImConversation[]} conversations the latest first
     * @param {{ openPeer: string | undefined, isAll: boolean }} state `isAll`: the service has been asked
     */
    render(conversations, { openPeer, isAll }) {
      const shown = conversations.map((conversation) => {
        const item = row(conversation, conversation.peer === openPeer);
        rows.set(conversation.peer, item);
        return item;
      });
      place(byId('conversations'), shown);
      const peers = new Set(conversations.map(({ peer }) => peer));
      for (const peer of rows.keys()) if (!peers.has(peer)) rows.delete(peer);
      const isEmpty = conversations.length === 0;
      byId('app').classList.toggle('empty', isEmpty);
      byId('invitation').hidden = !isEmpty || !isAll;
      byId('choose').hidden = isEmpty;
    },
  };
}

/** @param {string} peer */
export function hashOf(peer) {
  return `#${encodeURIComponent(peer)}`;
}

/** @param {ImConversation} conversation */
function content(conversation) {
  const { peer, last, unread } = conversation;
  const time = last && make('time', { datetime: isoTime(last.time) }, whenOf(conversation));
  const count = unread > 99 ? '99+' : String(unread);
  const badge = make('span', { class: 'badge', 'aria-label': `${unread} unread` }, count);
  return [
    avatar(peer),
    make('span', { class: 'name' }, peer),
    time ?? make('time'),
    make('span', { class: last?.status === 'failed' ? 'last failed' : 'last' }, lastLine(conversation)),
    ...(unread > 0 ? [badge] : []),
  ];
}

/** @param {ImConversation} conversation */
function whenOf({ last }) {
  return last === undefined ? '' : briefTime(last.time);
}

/** @param {ImConversation} conversation */
function lastLine({ last }) {
  if (last === undefined) return 'No messages yet';
  const text = textOf(last).replace(/\s+/g, ' ').slice(0, 200);
  if (last.status === 'failed') return `Not sent: ${text}`;
  return last.isSelf && last.status !== 'recalled' ? `You: ${text}` : text;
}
