/** The page of /callbacks/: what came, as it comes. */
const byId = (id) => document.getElementById(id);
const maxRows = 100;
const time = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

function make(name, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  return element;
}

function rowOf({ at, command, about, verified, reason, answered, tookMs, id, attempt, gap, isReplay, body }) {
  const row = make('tr');
  row.dataset.verified = String(verified);
  row.dataset.failed = String(verified && tookMs === undefined);
  const what = make('td');
  if (body === '') what.textContent = command;
  else {
    const details = make('details');
    details.append(make('summary', command), make('pre', pretty(body)));
    what.append(details);
  }
  const notes = [
    attempt > 1 ? `time ${attempt}` : '',
    isReplay ? 'sent again by an operator' : '',
    gap === undefined ? '' : `given up before it: ${gap.join(', ')}`,
  ].filter((note) => note !== '');
  row.append(
    make('td', time.format(new Date(at))),
    what,
    make('td', about),
    make('td', verified ? 'yes' : `no: ${reason}`),
    make('td', answered),
    make('td', tookMs === undefined ? '' : `${tookMs} ms`),
    make('td', [id, ...notes].join(', ')),
  );
  return row;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2);
  } catch {
    return text;
  }
}

function add(callbacks) {
  // The newest stands first, and is the last to be put there.
  for (const callback of callbacks.toReversed()) byId('callbacks').prepend(rowOf(callback));
  while (byId('callbacks').childElementCount > maxRows) byId('callbacks').lastChild.remove();
}

const events = new EventSource('/callbacks/events');
events.addEventListener('all', ({ data }) => {
  byId('callbacks').replaceChildren();
  add(JSON.parse(data));
  byId('state').textContent = 'The newest 100, as they come.';
});
events.addEventListener('callback', ({ data }) => add([JSON.parse(data)]));
events.addEventListener('mode', ({ data }) => {
  document.querySelector(`input[name=mode][value=${JSON.parse(data)}]`).checked = true;
});
events.addEventListener('error', () => {
  byId('state').textContent = 'The connection is lost; trying again …';
});

byId('mode').addEventListener('change', async ({ target }) => {
  const response = await fetch('/callbacks/mode', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ mode: target.value }),
  });
  if (!response.ok) byId('state').textContent = (await response.json()).error;
});
