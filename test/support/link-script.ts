import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { type WebSocket, WebSocketServer } from 'ws';

/**
 * A service of one's own making for tests of `ImClient`: it keeps conversations as docs/reference/link.md says, over real
 * WebSockets, and can be told to do wrong: to lose events, to answer late or not at all, to cut links at any request.
 */
export interface ScriptedMessage {
  /** In the order of all messages. */
  no: number;
  seq: number;
  from: string;
  to: string;
  time: number;
  text: string;
  clientId?: string | undefined;
  isRecalled?: boolean;
  /** It does not count as unread. */
  isUncounted?: boolean;
  /** The receiver does not see it. */
  isHidden?: boolean;
}

export interface ScriptedRequest {
  readonly id: number;
  readonly do: string;
  readonly fields: Record<string, unknown>;
  readonly link: ScriptedLink;
}

/** What happens to a request: an answer of its own; `silence`; `cut`, before or after it was carried out; undefined: as always. */
export type Script =
  | { ok: object }
  | { error: { name: string; code?: number; retryable?: boolean; reason?: string; field?: string } }
  | 'silence'
  | 'cut-before'
  | 'cut-after'
  | undefined;

export interface ScriptedLink {
  readonly name: string;
  account: string;
  platform: string;
  /** Raw frames. */
  send(frame: unknown): void;
  bye(code: number, name: string, more?: object): void;
  /** No goodbye. */
  cut(): void;
  /** From now on it says nothing, and hears nothing. */
  freeze(): void;
}

export interface ScriptedService {
  readonly url: string;
  readonly requests: ScriptedRequest[];
  readonly links: ScriptedLink[];
  /** Told of each request before it is carried out. */
  script: (request: ScriptedRequest) => Script | Promise<Script>;
  epoch: string;
  heartbeatSec: number;
  /** Unix seconds. */
  now: number;
  /** Offline pages have so many messages. */
  pageMessages: number;
  /** Requests of a kind so far. */
  count(what: string): number;
  /** Stores a message and tells the links of both. */
  post(
    from: string,
    to: string,
    text: string,
    options?: { isSilent?: boolean; isUncounted?: boolean; isHidden?: boolean; exceptLink?: ScriptedLink },
  ): ScriptedMessage;
  /** Messages between two. */
  messages(one: string, other: string): ScriptedMessage[];
  /** The conversation of two begins anew, as when an account is deleted and made again. */
  restart(one: string, other: string): void;
  recall(one: string, other: string, seq: number, options?: { isSilent?: boolean }): void;
  read(account: string, peer: string, seq: number, exceptLink?: ScriptedLink): { readSeq: number; unread: number };
  unread(account: string, peer: string): number;
  delivered(account: string, peer: string): number;
  /** The event of a message, as an account's links get it. */
  event(account: string, message: ScriptedMessage): Record<string, unknown>;
  say(account: string, event: object, exceptLink?: ScriptedLink): void;
  /** No new link is let in; those that are there are cut. */
  stop(): void;
  start(): void;
}

interface Conversation {
  messages: ScriptedMessage[];
  recallNo: number;
  recalls: { seq: number; no: number }[];
  read: Map<string, number>;
  delivered: Map<string, number>;
  hidden: Map<string, number>;
  cleared: Map<string, number>;
}

export async function openScript(t: Test): Promise<ScriptedService> {
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  const conversations = new Map<string, Conversation>();
  let isStopped = false;
  let linkNo = 0;
  let messageNo = 0;

  const between = (one: string, other: string): Conversation => {
    const key = JSON.stringify([one, other].sort());
    const found = conversations.get(key) ?? {
      messages: [],
      recallNo: 0,
      recalls: [],
      read: new Map(),
      delivered: new Map(),
      hidden: new Map(),
      cleared: new Map(),
    };
    conversations.set(key, found);
    return found;
  };
  const sees = (account: string, { messages, cleared }: Conversation): ScriptedMessage[] =>
    messages.filter(
      ({ from, isHidden, seq }) => (from === account || isHidden !== true) && seq > (cleared.get(account) ?? 0),
    );
  const peerOf = (account: string, { from, to }: ScriptedMessage): string => (from === account ? to : from);
  const frameOf = (account: string, message: ScriptedMessage): Record<string, unknown> => {
    const { seq, from, time, text, clientId, isRecalled, isUncounted } = message;
    return {
      conversation: `c2c:${peerOf(account, message)}`,
      seq,
      from,
      time,
      msgSeq: seq,
      random: 7,
      key: `${seq}_7_${time}`,
      body: isRecalled === true ? [] : [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
      ...(from === account && clientId !== undefined && { clientId }),
      ...(isRecalled === true && { recalled: true }),
      ...(isUncounted === true && { uncounted: true }),
    };
  };
  const ofAccount = (account: string): [peer: string, Conversation][] =>
    [...conversations].flatMap(([key, conversation]) => {
      const names = JSON.parse(key) as string[];
      const peer = names.find((name) => name !== account) ?? account;
      return names.includes(account) ? [[peer, conversation] as [string, Conversation]] : [];
    });

  const service: ScriptedService = {
    url: '',
    requests: [],
    links: [],
    script: () => undefined,
    epoch: 'one',
    heartbeatSec: 60,
    now: 1_800_000_000,
    pageMessages: 50,
    count: (what) => service.requests.filter((request) => request.do === what).length,
    post(from, to, text, { isSilent, exceptLink, ...more } = {}) {
      const { messages } = between(from, to);
      messageNo += 1;
      const place = { no: messageNo, seq: messages.length + 1, time: service.now };
      const message: ScriptedMessage = { ...place, from, to, text, ...more };
      messages.push(message);
      if (isSilent !== true) {
        for (const account of new Set([from, ...(more.isHidden === true ? [] : [to])])) {
          service.say(account, service.event(account, message), exceptLink);
        }
      }
      return message;
    },
    restart(one, other) {
      conversations.delete(JSON.stringify([one, other].sort()));
    },
    messages: (one, other) => between(one, other).messages,
    event(account, message) {
      const seen = sees(account, between(message.from, message.to));
      const prev = seen.filter(({ seq }) => seq < message.seq).at(-1)?.seq ?? 0;
      return { on: 'message', ...frameOf(account, message), prev };
    },
    recall(one, other, seq, { isSilent } = {}) {
      const conversation = between(one, other);
      const message = conversation.messages[seq - 1];
      if (message === undefined) throw new Error(`no message ${seq}`);
      message.isRecalled = true;
      conversation.recallNo += 1;
      conversation.recalls.push({ seq, no: conversation.recallNo });
      if (isSilent === true) return;
      const { recallNo } = conversation;
      service.say(one, { on: 'recalled', conversation: `c2c:${other}`, seqs: [seq], recallNo });
      service.say(other, { on: 'recalled', conversation: `c2c:${one}`, seqs: [seq], recallNo });
    },
    read(account, peer, seq, exceptLink) {
      const { read, delivered } = between(account, peer);
      read.set(account, Math.max(seq, read.get(account) ?? 0));
      delivered.set(account, Math.max(seq, delivered.get(account) ?? 0));
      const readSeq = read.get(account) ?? 0;
      const unread = service.unread(account, peer);
      service.say(account, { on: 'read', conversation: `c2c:${peer}`, readSeq, unread }, exceptLink);
      service.say(peer, { on: 'read', conversation: `c2c:${account}`, readSeq, peer: true });
      return { readSeq, unread };
    },
    unread(account, peer) {
      const conversation = between(account, peer);
      const readSeq = conversation.read.get(account) ?? 0;
      return sees(account, conversation).filter(
        ({ seq, from, isRecalled, isUncounted }) =>
          seq > readSeq && from !== account && isRecalled !== true && isUncounted !== true,
      ).length;
    },
    delivered: (account, peer) => between(account, peer).delivered.get(account) ?? 0,
    say(account, event, exceptLink) {
      for (const link of service.links) if (link.account === account && link !== exceptLink) link.send(event);
    },
    stop() {
      isStopped = true;
      for (const link of [...service.links]) link.cut();
    },
    start() {
      isStopped = false;
    },
  };

  /** What the service does with a request when no script says otherwise. */
  function carryOut({ do: what, fields, link }: ScriptedRequest): object {
    const { account } = link;
    const peer = String(fields.conversation ?? '').replace('c2c:', '');
    const conversation = peer === '' ? undefined : between(account, peer);
    const seen = conversation === undefined ? [] : sees(account, conversation);
    const limit = Number(fields.limit ?? 20);
    switch (what) {
      case 'login': {
        link.account = String(fields.identifier);
        link.platform = String(fields.platform);
        return {
          account: link.account,
          epoch: service.epoch,
          link: link.name,
          serverTime: service.now,
          heartbeatSec: service.heartbeatSec,
          offlineSec: 400,
          messageBytes: 8_000,
          frameBytes: 32_768,
        };
      }
      case 'beat':
        return { time: service.now };
      case 'send': {
        if (fields.online === true) {
          const frame = { from: account, time: service.now, msgSeq: 1, random: 2, body: fields.body };
          service.say(peer, { on: 'message', conversation: `c2c:${account}`, ...frame });
          return { time: service.now, msgSeq: 1, random: 2, key: 'k' };
        }
        const { messages } = between(account, peer);
        const known = messages.find(({ from, clientId }) => from === account && clientId === fields.clientId);
        const [element] = fields.body as { MsgContent: { Text: string } }[];
        const message = known ?? service.post(account, peer, element?.MsgContent.Text ?? '', { isSilent: true });
        message.clientId = String(fields.clientId);
        if (known === undefined) {
          service.say(account, service.event(account, message), link);
          if (peer !== account) service.say(peer, service.event(peer, message));
        }
        const { seq, time } = message;
        const { prev } = service.event(account, message);
        return { seq, prev, time, msgSeq: seq, random: 7, key: 'k', ...(known !== undefined && { repeat: true }) };
      }
      case 'ack':
        for (const [name, seq] of fields.items as [string, number][]) {
          const { delivered } = between(account, name.replace('c2c:', ''));
          delivered.set(account, Math.max(seq, delivered.get(account) ?? 0));
        }
        return {};
      case 'read':
        return service.read(account, peer, Number(fields.seq ?? seen.at(-1)?.seq ?? 0), link);
      case 'recall':
        service.recall(account, peer, Number(fields.seq));
        return { recallNo: conversation?.recallNo };
      case 'offline': {
        const due = ofAccount(account)
          .flatMap(([, one]) =>
            sees(account, one).filter(
              ({ seq, from, isRecalled }) =>
                from !== account && isRecalled !== true && seq > (one.delivered.get(account) ?? 0),
            ),
          )
          .filter(({ no }) => no > Number(fields.after ?? 0))
          .sort((a, b) => a.no - b.no);
        const page = due.slice(0, service.pageMessages);
        return {
          messages: page.map((message) => frameOf(account, message)),
          ...(page.length < due.length && { after: String(page.at(-1)?.no) }),
        };
      }
      case 'recents': {
        const rows = ofAccount(account).flatMap(([name, one]) => {
          const last = sees(account, one).at(-1);
          if (last === undefined || last.seq <= (one.hidden.get(account) ?? 0)) return [];
          return {
            conversation: `c2c:${name}`,
            last: frameOf(account, last),
            seq: last.seq,
            readSeq: one.read.get(account) ?? 0,
            unread: service.unread(account, name),
            recallNo: one.recallNo,
            deliveredSeq: one.delivered.get(account) ?? 0,
            peerReadSeq: one.read.get(name) ?? 0,
            time: last.time,
          };
        });
        return { conversations: rows.sort((a, b) => b.time - a.time).slice(0, 100) };
      }
      case 'sync': {
        const after = seen.filter(({ seq }) => seq > Number(fields.since));
        const page = after.slice(0, limit);
        const recalls = conversation?.recalls.filter(({ no }) => no > Number(fields.recallNo ?? 0)) ?? [];
        return {
          messages: page.map((message) => frameOf(account, message)),
          throughSeq: page.at(-1)?.seq ?? seen.at(-1)?.seq ?? 0,
          more: page.length < after.length,
          recalled: recalls.map(({ seq }) => seq),
          recallNo: conversation?.recallNo ?? 0,
        };
      }
      case 'history': {
        const before = seen.filter(({ seq }) => seq < Number(fields.before ?? Number.MAX_SAFE_INTEGER));
        const page = before.slice(-limit);
        return {
          messages: page.map((message) => frameOf(account, message)),
          complete: page.length === before.length,
        };
      }
      case 'unread': {
        const names = fields.conversations as string[];
        return { conversations: names.map((name) => [name, service.unread(account, name.replace('c2c:', ''))]) };
      }
      case 'hide':
        conversation?.hidden.set(account, seen.at(-1)?.seq ?? 0);
        if (fields.clear === true) conversation?.cleared.set(account, seen.at(-1)?.seq ?? 0);
        return {};
      case 'profiles':
        return {
          profiles: (fields.accounts as string[]).map((account) => ({ account, fields: { nick: account } })),
          unknown: [],
        };
      default:
        return {};
    }
  }

  async function onRequest(request: ScriptedRequest): Promise<void> {
    service.requests.push(request);
    const { id, link } = request;
    const script = await service.script(request);
    if (script === 'silence') return;
    if (script === 'cut-before') return link.cut();
    if (script !== undefined && script !== 'cut-after') return link.send({ id, ...script });
    const ok = carryOut(request);
    if (script === 'cut-after') return link.cut();
    link.send({ id, ok });
    if (request.do === 'logout') link.bye(4107, 'LOGGED_OUT', { final: true });
  }

  sockets.on('connection', (socket: WebSocket, _request: IncomingMessage) => {
    socket.on('error', () => {});
    if (isStopped) return socket.terminate();
    linkNo += 1;
    let isFrozen = false;
    const link: ScriptedLink = {
      name: `link-${linkNo}`,
      account: '',
      platform: '',
      send(frame) {
        if (!isFrozen) socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
      },
      bye(code, name, more = {}) {
        link.send({ on: 'bye', code, name, reason: name, final: code >= 4100, ...more });
        socket.close(code);
      },
      cut: () => socket.terminate(),
      freeze() {
        isFrozen = true;
      },
    };
    service.links.push(link);
    // One after another, as a link's requests to one conversation are.
    let turn = Promise.resolve();
    socket.on('message', (data: Buffer) => {
      if (isFrozen) return;
      const { id, do: what, ...fields } = JSON.parse(data.toString()) as { id: number; do: string };
      turn = turn.then(() => onRequest({ id, do: what, fields, link }));
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      service.links.splice(service.links.indexOf(link), 1);
    });
  });

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  Object.assign(service, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  t.teardown(async () => {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
    server.close();
    if (server.listening) await once(server, 'close');
  });
  return service;
}
