import {
  type ImResult,
  messageKey,
  type OfflinePushInfo,
  optPlatformOf,
  parseCustomData,
  parseMessageBody,
  parseOfflinePushInfo,
} from '../../wire/index.ts';
import type { Draft } from '../services.ts';
import { c2cPrefix, type FieldReader } from './field-reader.ts';
import { findPeer, okJson, type Request, type RequestDeps, type RequestHandler } from './request.ts';

const maxUint32 = 4_294_967_295;
/** How long a message waits for an offline receiver, at most (M5). */
const maxLifetimeSec = 604_800;
const maxSeq = Number.MAX_SAFE_INTEGER;
const clientIdForm = { pattern: /^[\x20-\x7e]{1,64}$/, allowed: '1 … 64 printable ASCII characters' };

/** `send` and `recall` of one-to-one conversations. */
export function messageRequests(deps: RequestDeps): Record<string, RequestHandler> {
  const { apps, messages, random } = deps;

  function readDraft(fields: FieldReader, maxBytes: number): Draft {
    const content = readContent(fields, { maxBytes, random });
    const lifetimeSec = fields.optionalInteger('lifetimeSec', { min: 0, max: maxLifetimeSec }) ?? maxLifetimeSec;
    const isOnline = fields.boolean('online', false);
    return {
      ...content,
      lifetimeSec: isOnline ? 0 : lifetimeSec,
      visibility: 'both',
      // P6: the sender's other terminals.
      tellSender: true,
      counts: true,
    };
  }

  async function send(request: Request): Promise<ImResult<string>> {
    const { link, terminal, fields, deadline, turn } = request;
    const { account } = terminal;
    const draft = readDraft(fields, apps.get(account.sdkAppId)?.im.messageBytes ?? 0);
    const peer = await findPeer(deps, request, 'RECEIVER_UNKNOWN');
    if (!peer.ok) return peer;
    const sent = await messages.send({
      from: account,
      to: peer.value,
      draft,
      authority: 'self',
      linkId: link.linkId,
      origin: { platform: optPlatformOf(terminal.platform), address: link.address },
      turn,
      deadline,
    });
    if (!sent.ok) return sent;
    const { seq, time, msgSeq, random: messageRandom, isRepeat, prev } = sent.value;
    if (seq > 0) link.noteSeq(c2cPrefix + peer.value.identifier, seq);
    const facts = { time, msgSeq, random: messageRandom };
    return okJson({
      ...(seq === 0 ? {} : { seq }),
      ...(prev === undefined ? {} : { prev }),
      ...facts,
      key: messageKey(facts),
      ...(isRepeat ? { repeat: true } : {}),
    });
  }

  async function recall(request: Request): Promise<ImResult<string>> {
    const { terminal, fields } = request;
    const seq = fields.integer('seq', { min: 1, max: maxSeq });
    const peer = await findPeer(deps, request);
    if (!peer.ok) return peer;
    const done = await messages.recall({
      account: terminal.account,
      peer: peer.value,
      message: { seq },
      by: 'self',
    });
    return done.ok ? okJson({ recallNo: done.value.recallNo }) : done;
  }

  return {
    send: { permission: 'im.link.message.send', order: 'conversation', run: send },
    recall: { permission: 'im.link.message.recall', order: 'parallel', run: recall },
  };
}

/** What a message of any conversation holds. `random` 0 … 1, where the sender names none. */
export function readContent(
  fields: FieldReader,
  { maxBytes, random }: { maxBytes: number; random: () => number },
): Pick<Draft, 'body' | 'random' | 'push' | 'custom'> & { clientId: string } {
  const body = fields.take(parseMessageBody(fields.raw('body'), { maxBytes, field: 'body' }));
  const clientId = fields.text('clientId', clientIdForm);
  const push = readOptional<OfflinePushInfo>(fields, 'push', parseOfflinePushInfo);
  const custom = readOptional<string>(fields, 'custom', parseCustomData);
  return {
    body: body ?? [],
    random: fields.optionalInteger('random', { min: 0, max: maxUint32 }) ?? Math.floor(random() * (maxUint32 + 1)),
    clientId,
    ...(push === undefined ? {} : { push }),
    ...(custom === undefined ? {} : { custom }),
  };
}

function readOptional<T>(
  fields: FieldReader,
  name: string,
  parse: (value: unknown, field: string) => ImResult<T>,
): T | undefined {
  const value = fields.raw(name);
  return value === undefined ? undefined : fields.take(parse(value, name));
}
