/** The page that shows a visitor which headers the backend received. */

/** What each header that qalgate adds stands for, in the order in which the page shows them. */
const explanations: Record<string, string> = {
  'x-forwarded-for': "The user's address: exactly one, believed only as far as qalgate's trusted proxies go.",
  'qal-identifier': 'The terminal: the same over all its sessions, and no other terminal can claim it.',
  'qal-account': 'The account that logged in by UserSig. Authorise by this one.',
  'qal-req-seq-no': 'The number of this request, unique over processes and restarts.',
  'qal-sdk-app-id': 'The app.',
  'qal-sdk-version': 'Version of the SDK in the app.',
  'qal-app-version': 'Version of the app.',
  'qal-app-channel': 'Where the app was installed from.',
  'qal-apn': '`wifi`, or the name of the carrier’s access point.',
  'qal-rat': 'Radio technology of the network.',
  'qal-rat-generation': 'Generation of the radio technology: 2 to 5.',
  'qal-os': 'Operating system.',
  'qal-os-version': 'Version of the operating system.',
  'qal-device': 'Device model.',
  'qal-brand': 'Maker of the device.',
  'qal-screen-width': 'Pixels.',
  'qal-screen-height': 'Pixels.',
  'qal-imei': 'Identity of the device; only for apps that switched it on.',
  'qal-imsi': 'Identity of the subscriber; only for apps that switched it on.',
};

/** Pairs of name and value from Node's flat list. */
export function headerPairs(rawHeaders: readonly string[]): [name: string, value: string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) pairs.push([rawHeaders[i] ?? '', rawHeaders[i + 1] ?? '']);
  return pairs;
}

/** Reads a value as qalgate writes it: as it stands, or percent-encoded UTF-8 behind the mark `UTF-8''`. */
export function decodeQalValue(value: string): string {
  if (!value.startsWith("UTF-8''")) return value;
  try {
    return decodeURIComponent(value.slice("UTF-8''".length));
  } catch {
    return value;
  }
}

/** The page, as HTML in which nothing that a client sent can act. */
export function headersPage(method: string, url: string, rawHeaders: readonly string[]): string {
  const pairs = headerPairs(rawHeaders);
  const received = new Set(pairs.map(([name]) => name.toLowerCase()));
  const known = pairs.filter(([name]) => name.toLowerCase() in explanations);
  const others = pairs.filter(([name]) => !(name.toLowerCase() in explanations));
  const order = Object.keys(explanations);
  known.sort(([a], [b]) => order.indexOf(a.toLowerCase()) - order.indexOf(b.toLowerCase()));
  const absent = order.filter((name) => !received.has(name));
  const hint = received.has('qal-req-seq-no')
    ? 'Trust the first table as far as nothing but qalgate can connect to this backend.'
    : 'This request did not come through qalgate, so anybody may have written anything below.';

  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>What the backend received</title>
<link rel="stylesheet" href="/files/style.css">
<h1>What the backend received</h1>
<p><code>${escapeHtml(method)} ${escapeHtml(url)}</code></p>
<p>${hint}</p>
<h2>Headers of qalgate</h2>
<table>${known.map(([name, value]) => row(name, decodeQalValue(value), explanations[name.toLowerCase()])).join('')}</table>
<p>Not sent with this request: ${absent.map((name) => `<code>${name}</code>`).join(' ') || 'none'}.
Most of them need a session: <code>POST /.qal/v1/session</code>.</p>
<h2>Headers of the client</h2>
<table>${others.map(([name, value]) => row(name, value)).join('')}</table>
<p>Try <a href="/headers">/headers</a>, /echo, <a href="/slow?ms=2000">/slow?ms=2000</a>,
<a href="/fail?status=503">/fail?status=503</a>, <a href="/stream?chunks=5&amp;ms=500">/stream?chunks=5&amp;ms=500</a>,
<a href="/bytes?n=1000">/bytes?n=1000</a>, /early-hints, <a href="/files/hello.txt">/files/hello.txt</a>,
<a href="/cache/">/cache/</a> and <a href="/chat/">/chat/</a> (pages that use the SDK), and /ws by WebSocket.</p>
</html>
`;
}

function row(name: string, value: string, explanation = ''): string {
  return `<tr><th>${escapeHtml(name)}<td><code>${escapeHtml(value)}</code><td>${explanation}`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
