/** The page of /cache/: shows where each answer came from. Reads as documentation of QalClient, too. */
import { createQalClient, indexedDbStorage, QalError } from '/cache/src/sdk/index.ts';

const byId = (id) => document.getElementById(id);

const client = createQalClient({
  baseUrl: location.origin,
  sdkAppId: Number(document.body.dataset.app),
  device: { os: 'Web', screenWidth: screen.width, screenHeight: screen.height },
  network: { apn: 'wifi' },
  storage: indexedDbStorage(),
  onEvent: note,
});

function note(event) {
  const line = document.createElement('li');
  const time = new Date().toLocaleTimeString();
  const path = event.url === undefined ? '' : new URL(event.url).pathname;
  if (event.type === 'answered') line.textContent = `${time} ${path} answered, ${describe(event.cache)}`;
  else if (event.type === 'refreshed') line.textContent = `${time} ${path} refreshed behind it: ${event.outcome}`;
  else if (event.type === 'not-stored') line.textContent = `${time} ${path} not stored: ${event.rule}`;
  else line.textContent = `${time} the storage failed: ${event.error}`;
  byId('log').prepend(line);
  while (byId('log').childElementCount > 30) byId('log').lastChild.remove();
}

function describe({ hit, forwarded, forwardedStatus, ttlMs }) {
  if (hit) return ttlMs > 0 ? 'hit' : 'stale hit';
  if (forwardedStatus === 304) return 'still good (304)';
  return forwarded === 'bypass' || forwarded === 'method' ? 'passed by' : 'from the network';
}

async function show(row) {
  const cell = (name) => row.querySelector(`.${name}`);
  try {
    const response = await client.fetch(`/cache/answer/${row.dataset.kind}`);
    const status = (response.headers.get('Cache-Status') ?? '').split(', ').at(-1);
    const { answer } = await response.json();
    cell('answer').textContent = `No. ${answer}`;
    cell('status').textContent = status;
    cell('from').textContent = from(status);
    row.dataset.from = from(status);
    const { qalIdentifier } = await client.session();
    byId('session').textContent = `This terminal is ${qalIdentifier}.`;
  } catch (error) {
    cell('answer').textContent = '';
    cell('from').textContent = 'error';
    cell('status').textContent = error instanceof QalError ? `${error.code}: ${error.message}` : String(error);
  }
}

function from(status) {
  if (status.includes('; hit')) return status.includes('ttl=-') || status.includes('ttl=0') ? 'cache, stale' : 'cache';
  return status.includes('fwd-status=304') ? 'cache, after a 304' : 'network';
}

const rows = [...document.querySelectorAll('tr[data-kind]')];
for (const row of rows) row.querySelector('button').addEventListener('click', () => show(row));
byId('all').addEventListener('click', () => rows.forEach(show));
byId('purge').addEventListener('click', () => client.purge());
setInterval(() => {
  if (byId('repeat').checked) rows.forEach(show);
}, 1_000);
rows.forEach(show);
