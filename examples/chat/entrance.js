/** The form in which a name is taken, and the app's backend, which makes a UserSig of it. */
import { byId } from './dom.js';

const loginMs = 10_000;
/** The backend may be up before the messaging service is. */
const attempts = 5;
const rememberedKey = 'qalgate-chat-name';

/**
 * What the app's backend says about a user: a real one looks first who that is.
 *
 * @param {string} name
 * @returns {Promise<{ sdkAppId: number, identifier: string, userSig: string, url: string, expires: number }>}
 * @throws {Error} with a text for the user
 */
export async function requestLogin(name) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch('login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ name }),
      signal: AbortSignal.timeout(loginMs),
    }).catch(() => undefined);
    const answer = await response?.json().catch(() => undefined);
    if (response?.ok && answer !== undefined) return answer;
    if (attempt === attempts || (response !== undefined && response.status < 500)) {
      throw new Error(answer?.error ?? 'The server cannot be reached.');
    }
    await new Promise((resolve) => setTimeout(resolve, 300 * attempt));
  }
}

/**
 * Shows the form until a name was accepted.
 *
 * @param {(name: string) => Promise<void>} logIn what it throws is shown
 * @param {{ name?: string, error?: string }} [start]
 */
export function showEntrance(logIn, { name, error = '' } = {}) {
  const form = /** @type {HTMLFormElement} */ (byId('login'));
  const field = /** @type {HTMLInputElement} */ (byId('name'));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector('button'));
  const say = (/** @type {string} */ text) => {
    byId('login-error').textContent = text;
    field.setAttribute('aria-invalid', String(text !== ''));
  };

  form.onsubmit = async (event) => {
    event.preventDefault();
    const given = field.value.trim();
    say('');
    button.disabled = true;
    try {
      await logIn(given);
      remember(given);
      byId('entrance').hidden = true;
    } catch (error) {
      say(error instanceof Error ? error.message : String(error));
      field.focus();
    } finally {
      button.disabled = false;
    }
  };
  field.value = name ?? remembered();
  say(error);
  byId('entrance').hidden = false;
  field.select();
}

function remembered() {
  try {
    return localStorage.getItem(rememberedKey) ?? '';
  } catch {
    return ''; // the browser keeps nothing
  }
}

/** @param {string} name */
function remember(name) {
  try {
    localStorage.setItem(rememberedKey, name);
  } catch {
    // Then it is typed again.
  }
}
