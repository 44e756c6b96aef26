/**
 * What a browser does before the board begins: asks for a token, once a tab, and sends it with each call of the board's API. The
 * token is in the tab's session storage, never in a URL or a cookie. The board itself is only loaded with a token that is known.
 */
export const queuePageScript = `'use strict';
(() => {
  const key = 'qalgate.ops.token';
  const self = document.currentScript;
  const api = new URL('api/', document.baseURI).href;
  const isApi = (url) => new URL(url, document.baseURI).href.startsWith(api);
  const forget = () => {
    sessionStorage.removeItem(key);
    location.reload();
  };

  const { open, send } = XMLHttpRequest.prototype;
  const asked = new WeakSet();
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (isApi(url)) asked.add(this);
    else asked.delete(this);
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (asked.has(this)) {
      this.setRequestHeader('Authorization', 'Bearer ' + sessionStorage.getItem(key));
      this.addEventListener('load', () => this.status === 401 && forget());
    }
    return send.call(this, body);
  };

  const load = () => {
    for (const src of self.dataset.scripts.split(' ')) {
      const script = document.createElement('script');
      script.src = src;
      script.async = false;
      document.head.append(script);
    }
  };

  const tryToken = async (token) => {
    const answer = await fetch(new URL('queues', api), { headers: { Authorization: 'Bearer ' + token } });
    if (answer.ok) return undefined;
    const body = await answer.json().catch(() => undefined);
    return body?.error?.reason ?? body?.error?.message ?? 'status ' + answer.status;
  };

  const ask = (said) => {
    const form = document.createElement('form');
    const label = document.createElement('label');
    const input = document.createElement('input');
    const button = document.createElement('button');
    const output = document.createElement('output');
    label.textContent = 'Ops token ';
    input.type = 'password';
    input.autocomplete = 'off';
    input.required = true;
    button.textContent = 'Show the queues';
    output.textContent = said ?? '';
    label.append(input);
    form.append(label, button, output);
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      button.disabled = true;
      const token = input.value.trim();
      const problem = /^[\\x21-\\x7e]+$/.test(token)
        ? await tryToken(token).catch(() => 'the service does not answer')
        : 'that is no token';
      button.disabled = false;
      output.textContent = problem ?? '';
      if (problem !== undefined) return;
      sessionStorage.setItem(key, token);
      form.remove();
      load();
    });
    document.body.append(form);
    input.focus();
  };

  if (sessionStorage.getItem(key) === null) ask();
  else load();
})();
`;

/** A style that the board's scripts put into the page; of this version, as all that is theirs. */
const boardStyle = 'sha256-r2N1TB/gHbBtBZFKg7ejmq1acVSREzucTAEw6ga4hoU=';

/** Of the page and of what it loads: everything from here, and only from here. */
export const queuePagePolicy = `default-src 'none'; script-src 'self'; style-src 'self' '${boardStyle}'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'`;

/**
 * The board's page without what the policy forbids: of the original its style sheets, its scripts, which ours loads, and its
 * settings. Pure.
 */
export function queuePage(original: string, basePath: string): string {
  const styles = [...original.matchAll(/<link\s[^>]*href="(static\/css\/[\w./-]+)"/g)].map(([, href]) => href);
  const scripts = [...original.matchAll(/<script\s[^>]*src="(static\/js\/[\w./-]+)"/g)].map(([, src]) => src);
  const settings = /<script id="__UI_CONFIG__" type="application\/json">(.*?)<\/script>/s.exec(original)?.[1];
  if (styles.length === 0 || scripts.length === 0 || settings === undefined) {
    throw new Error('the page of the board is not as it was: its style sheets, scripts or settings are not found');
  }
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<meta name="robots" content="noindex"><base href="${basePath}/"><title>qalgate queues</title>`,
    '<link rel="icon" type="image/svg+xml" id="fav-logo" href="static/images/logo.svg">',
    ...styles.map((href) => `<link rel="stylesheet" href="${href}">`),
    `</head><body><script id="__UI_CONFIG__" type="application/json">${settings}</script><div id="root"></div>`,
    `<script src="token.js" data-scripts="${scripts.join(' ')}"></script></body></html>\n`,
  ].join('');
}
