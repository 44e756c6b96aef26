/** The list of conversations. Each is a link to `#name`, so that keyboard, history and a phone's back gesture work by themselves. */
import { avatar, byId, make, place } from './dom.js';
import { tipOf } from './src/sdk/im/groups/index.ts';
import { briefTime, isoTime, senderOf, textOf } from './words.js';

/** @typedef {import('qalgate/sdk/im').ImConversation} ImConversation */

/** @param {string} account whose list it is @param {(conversation: ImConversation) => string} titleOf */
export function createSide(account, titleOf) {
  /** Rows by conversation, so that one that only changes stays where the focus is. @type {Map<string, HTMLElement>} */
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
    const { id, type, peer, unread } = conversation;
    const title = titleOf(conversation);
    const href = hashOf(type === 'group' ? id : peer);
    const item = rows.get(id) ?? make('li', {}, make('a', { class: 'conversation', href }));
    const link = /** @type {HTMLElement} */ (item.firstElementChild);
    if (isOpen) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    const signature = JSON.stringify([title, lastLine(conversation), whenOf(conversation), unread]);
    if (link.dataset.signature !== signature) {
      link.dataset.signature = signature;
      link.replaceChildren(...content(conversation, title));
    }
    return item;
  }

  return {
    /**
     * @param {readonly ImConversation[]} conversations the latest first
     * @param {{ openId: string | undefined, isAll: boolean }} state `isAll`: the service has been asked
     */
    render(conversations, { openId, isAll }) {
      const shown = conversations.map((conversation) => {
        const item = row(conversation, conversation.id === openId);
        rows.set(conversation.id, item);
        return item;
      });
      place(byId('conversations'), shown);
      const ids = new Set(conversations.map(({ id }) => id));
      for (const id of rows.keys()) if (!ids.has(id)) rows.delete(id);
      const isEmpty = conversations.length === 0;
      byId('app').classList.toggle('empty', isEmpty);
      byId('invitation').hidden = !isEmpty || !isAll;
      byId('choose').hidden = isEmpty;
    },
  };
}

/** @param {string} name of the other account, or the id of a conversation */
export function hashOf(name) {
  return `#${encodeURIComponent(name)}`;
}

/** @param {ImConversation} conversation @param {string} title */
function content(conversation, title) {
  const { last, unread } = conversation;
  const time = last && make('time', { datetime: isoTime(last.time) }, whenOf(conversation));
  const count = unread > 99 ? '99+' : String(unread);
  const badge = make('span', { class: 'badge', 'aria-label': `${unread} unread` }, count);
  return [
    avatar(title),
    make('span', { class: 'name' }, title),
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
function lastLine({ type, last }) {
  if (last === undefined) return 'No messages yet';
  const text = textOf(last).replace(/\s+/g, ' ').slice(0, 200);
  if (last.status === 'failed') return `Not sent: ${text}`;
  if (last.status === 'recalled' || tipOf(last) !== undefined) return text;
  if (last.isSelf) return `You: ${text}`;
  return type === 'group' ? `${senderOf(last)}: ${text}` : text;
}
