/** The little that this page needs of a framework. Texts become text nodes, never HTML. */

/** @param {string} id */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`no element ${id}`);
  return element;
}

/**
 * Makes an element: `make('p', { class: 'fine', title }, 'text', otherElement)`. Attributes that are undefined or false are left out.
 *
 * @param {string} name
 * @param {Record<string, string | boolean | undefined>} attributes
 * @param {...(Node | string | undefined)} children
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children) if (child !== undefined) element.append(child);
  return element;
}

/**
 * One of the drawings in index.html.
 *
 * @param {string} name
 * @param {string} [label] what it says to whoever does not see it
 */
export function icon(name, label) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  const use = document.createElementNS(space, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.classList.add(`i-${name}`);
  if (label === undefined) svg.setAttribute('aria-hidden', 'true');
  else {
    svg.setAttribute('role', 'img');
    svg.setAttribute('aria-label', label);
  }
  svg.append(use);
  return svg;
}

/**
 * Makes these the children of an element. Those that are there already stay where they are, with focus and selection.
 *
 * @param {Element} parent
 * @param {readonly Node[]} children
 */
export function place(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  let at = parent.firstChild;
  for (const child of children) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
}

/**
 * A round picture of a name: its initials, in a colour of its own.
 *
 * @param {string} name
 */
export function avatar(name) {
  let hash = 0;
  for (const char of name) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  const words = name.split(/[^\p{L}\p{N}]+/u).filter((word) => word !== '');
  const initials = words.length > 1 ? [words[0], words.at(-1)].map(firstOf).join('') : firstOf(words[0] ?? name);
  return make('span', { class: 'avatar', 'data-colour': String(hash % 8), 'aria-hidden': 'true' }, initials);
}

/** @param {string} word */
function firstOf(word = '') {
  const [first] = new Intl.Segmenter().segment(word);
  return (first?.segment ?? '').toLocaleUpperCase();
}
