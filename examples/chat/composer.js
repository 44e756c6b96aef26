/** The field in which one writes. Enter sends, Shift+Enter begins a new line. */
import { byId } from './dom.js';

/** @param {{ send: (text: string) => void }} deps */
export function createComposer({ send }) {
  const form = /** @type {HTMLFormElement} */ (byId('composer'));
  const field = /** @type {HTMLTextAreaElement} */ (byId('text'));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector('button'));
  /** What was begun in other conversations. @type {Map<string, string>} */
  const drafts = new Map();
  let open = '';

  /** As high as its text; the style says how high at most. */
  function fit() {
    button.disabled = field.value.trim() === '';
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight}px`;
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (text === '') return;
    field.value = '';
    fit();
    send(text);
    field.focus();
  });
  field.addEventListener('input', fit);
  field.addEventListener('keydown', (event) => {
    // While an input method composes, Enter chooses a word.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    form.requestSubmit();
  });

  /** @param {string} title whom one writes to */
  function name(title) {
    field.placeholder = `Message to ${title}`;
  }

  return {
    name,
    /** @param {string} next the conversation @param {string} title whom one writes to */
    turnTo(next, title) {
      if (next !== open) {
        drafts.set(open, field.value);
        open = next;
        field.value = drafts.get(open) ?? '';
        name(title);
      }
      fit();
      // On a phone this would bring up its keyboard before one has read anything.
      if (matchMedia('(hover: hover)').matches) field.focus();
    },
  };
}
