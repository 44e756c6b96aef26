/** One message as it is shown. */
import { icon, make } from './dom.js';
import { clockTime, failureText, isoTime, senderOf, textOf } from './words.js';

/** @typedef {import('qalgate/sdk/im').ImMessage} ImMessage */

/** What can be done to a message. @typedef {{ resend(m: ImMessage): void, remove(m: ImMessage): void, recall(m: ImMessage): void }} Actions */

/**
 * What may change of a message as it stands there.
 *
 * @typedef {object} Look
 * @property {number} time Unix seconds
 * @property {'sending' | 'sent' | 'read' | 'failed' | 'recalled' | 'received'} state
 * @property {boolean} isFirst of several in a row
 * @property {boolean} isLast
 * @property {boolean} canRecall
 */

const askMs = 4_000;
const stateNames = { sending: 'Sending', sent: 'Sent', read: 'Read' };

/** @param {ImMessage} message @param {string} title of the conversation @param {Actions} actions @param {boolean} isNamed whether it says who wrote it */
export function messageElement(message, title, actions, isNamed) {
  const { isSelf, status, error } = message;
  const text = textOf(message);
  const isLarge =
    status !== 'recalled' && /^\p{Extended_Pictographic}{1,3}$/u.test(text.replace(/[\ufe0f\u200d]/g, ''));
  const who = make(
    'span',
    { class: isNamed && !isSelf ? 'hidden from' : 'hidden' },
    isSelf ? 'You' : senderOf(message),
    make('span', { class: 'hidden' }, ': '),
  );
  const words = make('span', { class: isLarge ? 'text large' : 'text', dir: 'auto' }, ...linked(text));
  const meta = make('span', { class: 'meta' }, make('time'), isSelf ? icon('sending', '') : undefined);
  const recall = isSelf ? button('Take back', 'recall', () => actions.recall(message)) : undefined;
  const bubble = make('div', { class: 'bubble' }, who, words, meta, recall);
  const row = make('li', {}, bubble);
  // Where nothing hovers a touch shows what can be done.
  bubble.addEventListener('click', () => row.toggleAttribute('data-picked'));
  if (status === 'failed') {
    const again = button('Send again', 'link', () => actions.resend(message));
    const away = button('Delete', 'link', () => actions.remove(message));
    row.append(make('p', { class: 'failure', role: 'alert' }, `${failureText(error, title)} `, again, ' ', away));
  }
  return row;
}

/** Changed in place: a message that is read is not announced anew. @param {HTMLElement} row @param {Look} look */
export function dress(row, { time, state, isFirst, isLast, canRecall }) {
  const side = row.querySelector('.recall') === null ? 'theirs' : 'own';
  row.className = `message ${side}${isFirst ? ' first' : ''}${isLast ? ' last' : ''}`;
  if (row.dataset.state === state && row.dataset.time === String(time) && row.dataset.recall === String(canRecall))
    return;
  Object.assign(row.dataset, { state, time, recall: canRecall });
  const clock = row.querySelector('time');
  clock?.setAttribute('datetime', isoTime(time));
  if (clock !== null) clock.textContent = clockTime(time);
  /** @type {HTMLElement | null} */ (row.querySelector('.recall'))?.toggleAttribute('hidden', !canRecall);
  const mark = row.querySelector('.meta svg');
  const isMarked = state === 'sending' || state === 'sent' || state === 'read';
  mark?.toggleAttribute('hidden', !isMarked);
  if (!isMarked) return;
  mark?.setAttribute('aria-label', stateNames[state]);
  mark?.firstElementChild?.setAttribute('href', `#i-${state}`);
}

/** @param {string} name @param {string} kind @param {() => void} onClick */
export function button(name, kind, onClick) {
  const element = make('button', { type: 'button', class: kind }, name);
  element.addEventListener('click', onClick);
  return element;
}

/**
 * A button for what cannot be undone: it asks once more, for a while.
 *
 * @param {string} name @param {string} question @param {string} kind @param {() => void} onClick
 */
export function sureButton(name, question, kind, onClick) {
  const element = button(name, kind, () => {
    if (element.textContent === question) return onClick();
    element.textContent = question;
    setTimeout(() => {
      element.textContent = name;
    }, askMs);
  });
  return element;
}

/** The addresses in a text can be followed; everything stays text. @param {string} text */
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,:;!?)\]}])/).map((part, i) => {
    if (i % 2 === 0 || !URL.canParse(part)) return part;
    return make('a', { href: part, target: '_blank', rel: 'noopener noreferrer' }, part);
  });
}
