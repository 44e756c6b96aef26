import type { AppSettings } from '../../store/index.ts';
import { type BeforeCommand, beforeCommands, type CallbackCommand } from '../../wire/index.ts';
import { readDecision, refusalOfSilence } from '../before/decision.ts';
import { type Endpoint, endpointOf } from '../endpoint/endpoint.ts';
import type { Post, Poster, PostResult, PreparedPost } from '../endpoint/poster.ts';
import { judge } from '../relay/retry.ts';
import { sampleFields } from '../sample.ts';
import { curlLine } from './curl-line.ts';

/** A callback that was sent to try a backend out, to the byte, and what came of it. */
export interface TestReport {
  readonly webhookId: string;
  readonly command: CallbackCommand;
  /** Whether the app gets that command by its settings. */
  readonly isSwitchedOn: boolean;
  readonly url: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: string;
  /** What the signature is of. */
  readonly signedText: string;
  /** Sends the same again, from a shell. */
  readonly curl: string;
  /** Absent: it was only made, not sent. */
  readonly result?: TestResult;
}

export interface TestResult {
  readonly tookMs: number;
  /** Of an answer. */
  readonly status?: number;
  /** Its body, cut. */
  readonly answer?: string;
  /** Why there was none. */
  readonly failure?: string;
  readonly detail?: string;
  /** What a callback of the command with such an answer does, in a sentence. */
  readonly meaning: string;
  /** Whether that is what a backend wants: it decided something, or has it. */
  readonly isGood: boolean;
}

export interface TestEvent {
  readonly app: AppSettings;
  readonly command: CallbackCommand;
  /** Where it goes instead of where the app has its callbacks sent. */
  readonly url?: string | undefined;
  readonly webhookId: string;
  readonly nowMs: number;
}

const beforeMs = 2_000;
/** Somebody waits for it, whose own request has a time-out. */
const maxMs = 8_000;
const shownChars = 2_000;

/** The endpoint of a command, whether or not the app gets it; undefined: there is no URL, or no key. */
export function testEndpoint({ app, command, url }: Pick<TestEvent, 'app' | 'command' | 'url'>): Endpoint | undefined {
  const { callbacks } = app;
  if (callbacks.secret === undefined) return undefined;
  const commands = url === undefined ? callbacks.commands : [];
  const tried = { ...callbacks, events: 'all' as const, commands, ...(url === undefined ? {} : { url }) };
  return endpointOf({ ...app, callbacks: tried }, command);
}

/** Makes it, and sends it once where `isSent`: through the same poster as all callbacks, so it reaches no address that they may not (K8). */
export async function sendTestEvent(
  poster: Pick<Poster, 'prepare' | 'post'>,
  event: TestEvent & { endpoint: Endpoint; isSent: boolean },
): Promise<TestReport> {
  const { app, command, webhookId, nowMs, endpoint, isSent } = event;
  const fields = sampleFields(command, nowMs);
  const body = JSON.stringify({ CallbackCommand: command, ...fields });
  const post: Post = { endpoint, command, webhookId, origin: { platform: 'RESTAPI', address: '127.0.0.1' }, body };
  const prepared: PreparedPost = poster.prepare(post);
  const timeoutMs = isBefore(command) ? beforeMs : Math.min(endpoint.timeoutMs, maxMs);
  const report: TestReport = {
    webhookId,
    command,
    isSwitchedOn: endpointOf(app, command) !== undefined,
    url: prepared.url,
    fields: prepared.fields,
    body: prepared.body,
    signedText: prepared.signedText,
    curl: curlLine(prepared, endpoint, Math.ceil(timeoutMs / 1_000)),
  };
  if (!isSent) return report;
  const deadline = performance.now() + timeoutMs;
  const result = await poster.post(post, { deadline, answer: 'whole', prepared });
  const meaning = isBefore(command) ? decisionText(app, command, fields, result) : reportText(app, result);
  return { ...report, result: { ...describeResult(result), ...meaning } };
}

function isBefore(command: CallbackCommand): command is BeforeCommand {
  return (beforeCommands as readonly string[]).includes(command);
}

function describeResult(result: PostResult): Omit<TestResult, 'meaning' | 'isGood'> {
  const tookMs = Math.round(result.tookMs);
  if (result.kind === 'failed') return { tookMs, failure: result.failure, detail: result.detail };
  const { status, body } = result;
  const isCut = body.length > shownChars;
  return { tookMs, status, answer: isCut ? `${body.slice(0, shownChars)}…` : body };
}

type Meaning = Pick<TestResult, 'meaning' | 'isGood'>;

function decisionText(
  app: AppSettings,
  command: BeforeCommand,
  fields: Readonly<Record<string, unknown>>,
  result: PostResult,
): Meaning {
  const reading = readDecision({ command, fields, messageBytes: app.im.messageBytes }, result);
  if (reading.kind === 'silent') {
    const own = app.callbacks.commands.find((one) => one.command === command)?.onSilence;
    const refusal = refusalOfSilence(command, reading.outcome);
    const then =
      (own ?? app.callbacks.onSilence) === 'refuse'
        ? `the action is refused${refusal.kind === 'refuse' ? ` with ${refusal.code}` : ''}, as the app has it`
        : 'the action goes on';
    return { meaning: `No usable answer (${reading.detail}): ${then}.`, isGood: false };
  }
  const { decision, detail } = reading;
  const note = detail === undefined ? '' : ` (${detail})`;
  switch (decision.kind) {
    case 'refuse':
      return { meaning: `The action is refused; the caller gets ${decision.code}: ${decision.reason}.`, isGood: true };
    case 'drop':
      return { meaning: 'The action is dropped, and the caller hears of success.', isGood: true };
    default:
      break;
  }
  if (decision.body !== undefined) return { meaning: 'The action goes on with the other content.', isGood: true };
  if (decision.refusedMembers !== undefined || decision.results !== undefined) {
    return { meaning: `The action goes on, but not for all${note}.`, isGood: true };
  }
  return { meaning: `The action goes on${note}.`, isGood: decision.outcome === 'allowed' };
}

function reportText({ callbacks }: AppSettings, result: PostResult): Meaning {
  const verdict = judge(result);
  switch (verdict.kind) {
    case 'delivered':
      return { meaning: 'It counts as delivered.', isGood: true };
    case 'gone':
      return {
        meaning: 'The backend wants no more: callbacks to this URL are paused until they are resumed.',
        isGood: false,
      };
    case 'never':
      return { meaning: 'It would become a dead letter: trying again cannot help.', isGood: false };
    default: {
      const then = callbacks.retry
        ? 'it would be tried again'
        : 'it would become a dead letter: the app has retries off';
      return { meaning: `It does not count as delivered: ${then}.`, isGood: false };
    }
  }
}
