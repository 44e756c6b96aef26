/** The line that says how the connection is, and the window that says that it is over. */
import { byId } from './dom.js';
import { endText } from './words.js';

/** An interruption that is over before this is not worth a word. */
const patienceMs = 500;
const remarkMs = 5_000;

/** @returns the line at the top: about the connection, or a remark for a while */
export function createBanner() {
  const line = byId('banner');
  let state = '';
  let remark = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let stateTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let remarkTimer;

  function draw() {
    const text = remark || state;
    line.hidden = text === '';
    if (text !== '') line.textContent = text;
    line.dataset.kind = remark === '' ? 'state' : 'remark';
  }

  return {
    /** @param {string} text empty: all is well */
    setState(text) {
      clearTimeout(stateTimer);
      const change = () => {
        state = text;
        draw();
      };
      if (text === '' || state !== '') change();
      else stateTimer = setTimeout(change, patienceMs);
    },
    /** @param {string} text */
    say(text) {
      clearTimeout(remarkTimer);
      remark = text;
      draw();
      remarkTimer = setTimeout(() => {
        remark = '';
        draw();
      }, remarkMs);
    },
  };
}

/**
 * Says that the account is not logged in here any more, and asks what to do.
 *
 * @param {string} account
 * @param {Parameters<typeof endText>[1]} notice
 * @returns {Promise<'again' | 'other'>}
 */
export function askHowToGoOn(account, notice) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('ended'));
  const { title, text } = endText(account, notice);
  byId('ended-title').textContent = title;
  byId('ended-text').textContent = text;
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const choose = (/** @type {'again' | 'other'} */ answer) => () => {
      dialog.onclose = null;
      dialog.close();
      resolve(answer);
    };
    byId('ended-again').onclick = choose('again');
    byId('ended-other').onclick = choose('other');
    // Where a browser lets it be closed otherwise (`closedby` is new): that is no answer, what lies behind would not work.
    dialog.onclose = () => dialog.showModal();
  });
}
