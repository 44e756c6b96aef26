import { keyFingerprint } from '../key-fingerprint.ts';
import { explainComputed } from './computed-signature.ts';
import { type Fit, findFit } from './find-fit.ts';
import { type Difference, describeDifference, firstDifference } from './first-difference.ts';
import { type NotedHeaders, type ReceivedField, readFields, signaturesOf, timeReadings } from './received-fields.ts';
import { changesBetween, type Original } from './rewritings.ts';

/** A callback as a backend received it, and what we know of it. */
export interface Received {
  readonly headers: NotedHeaders;
  /** As the backend checked it. */
  readonly body: Buffer;
  /** The app's signing keys, newest first. */
  readonly secrets: readonly string[];
  /** When it was received, by the backend's clock, in milliseconds since the epoch. Unknown: it is measured by now. */
  readonly receivedMs?: number;
  readonly nowMs: number;
  readonly toleranceSec?: number;
  /** What our own record says was sent. */
  readonly sent?: { readonly id: string; readonly body: string };
  /** The signature that the backend computed itself. */
  readonly computed?: string;
}

export type FindingCode =
  | 'SIGNATURE_RIGHT'
  | 'NO_KEY'
  | 'HEADER_MISSING'
  | 'HEADER_MALFORMED'
  | 'HEADER_RENAMED'
  | 'ID_ALTERED'
  | 'TIMESTAMP_ALTERED'
  | 'TIMESTAMP_TOO_OLD'
  | 'TIMESTAMP_TOO_NEW'
  | 'SIGNATURE_ALTERED'
  | 'SIGNATURE_BY_OLDER_KEY'
  | 'SIGNATURE_BY_OTHER_KEY'
  | 'BODY_EMPTY'
  | 'BODY_REWRITTEN'
  | 'COMPUTED_RIGHT'
  | 'COMPUTED_WRONG';

export interface Finding {
  readonly code: FindingCode;
  /** A sentence or two; no secret is in it. */
  readonly text: string;
  /** Of BODY_REWRITTEN. */
  readonly difference?: Difference;
}

export interface Diagnosis {
  /** Whether a backend with the app's keys and a right clock accepts it as it stands here. */
  readonly verifies: boolean;
  readonly findings: readonly Finding[];
  /** Fingerprints of the app's keys, newest first. */
  readonly keys: readonly string[];
}

/** What makes no backend refuse it. */
const harmless: readonly FindingCode[] = ['HEADER_RENAMED', 'SIGNATURE_BY_OLDER_KEY'];

/** Finds out why the verification of a callback fails, by trying what usually happens to one on the way. Pure; never throws. */
export function diagnose(received: Received): Diagnosis {
  const { headers, body, secrets, sent, computed } = received;
  const fields = readFields(headers);
  const all = [fields.id, fields.timestamp, fields.signature];
  const [id = '', time = '', signature = ''] = all.map(({ values }) => values.join(', '));
  const keys = keyNames(secrets);

  const findings = all.flatMap(fieldFindings);
  if (secrets.length === 0) {
    findings.push({ code: 'NO_KEY', text: 'The app has no key for callbacks: nothing can be checked.' });
  }
  if (body.length === 0) {
    const text = 'The body is empty: most often something read it before the check. No callback has an empty body.';
    findings.push({ code: 'BODY_EMPTY', text });
  }
  let fit: Fit | undefined;
  if (secrets.length > 0 && all.every(({ values }) => values.length > 0)) {
    fit = findFit({ id, time, signature, body, secrets, ...(sent === undefined ? {} : { sent }) });
    if (fit === undefined) findings.push(...foreignKeyFindings({ id, body, sent, keys }));
    else findings.push(...fitFindings(fit, { id, time, body, keys }));
  }
  const isRight = fit !== undefined && findings.every(({ code }) => harmless.includes(code));
  if (isRight) {
    const text =
      `The signature is right: ${keys[fit?.key ?? 0]} signed exactly this. A backend that refuses it has another key, checks ` +
      'other bytes than these, or has its clock wrong.';
    findings.push({ code: 'SIGNATURE_RIGHT', text });
  }
  const late = timeFindings(fit?.time.text ?? timeReadings(time)[0]?.text, received);
  findings.push(...late);
  if (computed !== undefined) {
    const of = { id: fit?.id.text ?? id, timestamp: fit?.time.text ?? time, secrets };
    findings.push(computedFinding(computed, of, [body, fit?.original.bytes ?? body], keys));
  }
  return { verifies: isRight && late.length === 0, findings, keys: secrets.map(keyFingerprint) };
}

/** How the keys are called, by their places. */
function keyNames(secrets: readonly string[]): string[] {
  return secrets.map((secret, place) => {
    const which = secrets.length === 1 ? "the app's key" : place === 0 ? 'the newest key' : 'the older key';
    return `${which} (${keyFingerprint(secret)})`;
  });
}

function fieldFindings({ name, values, writtenAs }: ReceivedField): Finding[] {
  if (values.length === 0) {
    const text = `There is no ${name}: something on the way does not hand it on, or it was no callback.`;
    return [{ code: 'HEADER_MISSING', text }];
  }
  const findings: Finding[] = [];
  if (writtenAs !== undefined) {
    const text = `${name} stands there as ${JSON.stringify(writtenAs.slice(0, 60))}: a library may not find it by that name.`;
    findings.push({ code: 'HEADER_RENAMED', text });
  }
  const fault = faultOf(name, values);
  if (fault !== undefined) findings.push({ code: 'HEADER_MALFORMED', text: `${name} ${fault}.` });
  return findings;
}

function faultOf(name: string, values: readonly string[]): string | undefined {
  const [value = ''] = values;
  if (values.length > 1) return `stands there ${values.length} times`;
  if (value === '') return 'is empty';
  if (name.endsWith('timestamp') && !/^[0-9]{1,12}$/.test(value)) return 'is no Unix time in seconds';
  if (name.endsWith('signature') && signaturesOf(value).length === 0) {
    return 'has no signature of v1, which is `v1,` and base64';
  }
  return undefined;
}

/** What had to be undone so that it fits. */
function fitFindings(
  { key, id, time, original, mended }: Fit,
  received: { id: string; time: string; body: Buffer; keys: readonly string[] },
): Finding[] {
  const findings: Finding[] = [];
  if (id.text !== received.id) {
    findings.push({ code: 'ID_ALTERED', text: `webhook-id is not as it was sent: ${id.how}.` });
  }
  if (time.text !== received.time) {
    findings.push({ code: 'TIMESTAMP_ALTERED', text: `webhook-timestamp is not as it was sent: ${time.how}.` });
  }
  if (mended.length > 0) {
    findings.push({
      code: 'SIGNATURE_ALTERED',
      text: `webhook-signature is not as it was sent: ${mended.join('; ')}.`,
    });
  }
  findings.push(...bodyFindings(original, received.body));
  if (key > 0) {
    const text =
      `Only ${received.keys[key]} fits: it was sent before the rotation. A backend that knows the newest key alone ` +
      'refuses it.';
    findings.push({ code: 'SIGNATURE_BY_OLDER_KEY', text });
  }
  return findings;
}

function bodyFindings({ bytes, wrapping }: Original, received: Buffer): Finding[] {
  const difference = firstDifference(bytes, received);
  if (difference === undefined) return [];
  const changes = wrapping === undefined ? changesBetween(bytes, received) : [`it is ${wrapping}`];
  const text =
    `The body is not the bytes that were sent: ${changes.join('; ')}. Check the raw body, before any parser. In detail: ` +
    `${describeDifference(difference)}.`;
  return [{ code: 'BODY_REWRITTEN', text, difference }];
}

/** Nothing explains it but another key, or a change that is none of the usual ones. */
function foreignKeyFindings(of: {
  id: string;
  body: Buffer;
  sent: Received['sent'];
  keys: readonly string[];
}): Finding[] {
  const { id, body, sent } = of;
  const ours = of.keys.join(' nor ');
  if (sent === undefined) {
    const text =
      `No signature fits: it was made with neither ${ours}, or id, time or body were changed in a way that none of the usual ` +
      'causes explains. A key that the app had before and has no more is such another key.';
    return [
      { code: 'SIGNATURE_BY_OTHER_KEY', text: of.keys.length > 1 ? text : text.replace('neither', 'another key than') },
    ];
  }
  const findings: Finding[] = [];
  if (sent.id !== id) {
    const text = `webhook-id is not as it was sent: ${JSON.stringify(sent.id)} was sent.`;
    findings.push({ code: 'ID_ALTERED', text });
  }
  findings.push(...bodyFindings({ bytes: Buffer.from(sent.body) }, body));
  const text =
    'Not even for the id and the body that we sent does a signature fit: the time was changed, or the key was another than ' +
    `${of.keys.join(' and ')}. A key that the app had before and has no more is such another key.`;
  return [...findings, { code: 'SIGNATURE_BY_OTHER_KEY', text }];
}

function timeFindings(sent: string | undefined, { receivedMs, nowMs, toleranceSec = 300 }: Received): Finding[] {
  if (sent === undefined) return [];
  const ageSec = Math.floor((receivedMs ?? nowMs) / 1_000) - Number(sent);
  if (Math.abs(ageSec) <= toleranceSec) return [];
  const by = `${Math.abs(ageSec)} s ${ageSec > 0 ? 'before' : 'after'}`;
  const bound = `${toleranceSec} s are tolerated`;
  const text =
    receivedMs === undefined
      ? `It was signed ${by} now, by our clock; ${bound}. If it was not received just now this says nothing: tell when it was.`
      : `It was signed ${by} it was received, by the backend's clock; ${bound}. That clock is wrong, or it was held up on the ` +
        'way, or somebody sent it again.';
  return [{ code: ageSec > 0 ? 'TIMESTAMP_TOO_OLD' : 'TIMESTAMP_TOO_NEW', text }];
}

/** @param bodies what may have been signed: as received, and as sent */
function computedFinding(
  computed: string,
  of: { id: string; timestamp: string; secrets: readonly string[] },
  bodies: readonly Buffer[],
  keys: readonly string[],
): Finding {
  const by = bodies.map((body) => explainComputed(computed, { ...of, body })).find((found) => found !== undefined);
  if (by === undefined) {
    const text =
      "What the backend computed comes of none of the usual mistakes with the app's keys: it has another key, or signed other bytes.";
    return { code: 'COMPUTED_WRONG', text };
  }
  const key = keys[of.secrets.indexOf(by.secret)];
  if (by.mistakes.length === 0) {
    return { code: 'COMPUTED_RIGHT', text: `The backend computed the right signature of what is here, with ${key}.` };
  }
  const text = `The backend has ${key}, but does not compute the signature rightly: ${by.mistakes.join('; ')}.`;
  return { code: 'COMPUTED_WRONG', text };
}
