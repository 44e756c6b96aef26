import { type Connection, type ConnectionOptions, openConnection } from './connection.ts';
import { createDelivery, type Delivery } from './delivery.ts';
import { ImError } from './error.ts';
import type { Emit } from './events.ts';
import { know, noteMessage, noteOwn } from './head.ts';
import { createHistory, type History } from './history.ts';
import { createInbox } from './inbox.ts';
import type { ImLimits } from './limits.ts';
import type { Link, LinkEnd, Welcome } from './link.ts';
import type { Stored } from './message.ts';
import { createOutbox, type Outbox } from './outbox.ts';
import { type Ask, createReports, type Reports } from './reports.ts';
import type { Signals } from './signals.ts';
import type { ImStore } from './store.ts';
import { createSync, type Extension, type Sync } from './sync.ts';

export interface SessionDeps {
  readonly account: string;
  readonly store: ImStore;
  readonly signals: Signals;
  readonly emit: Emit;
  readonly limits: ImLimits;
  readonly clock: () => number;
  readonly random: () => number;
  readonly withRecents: boolean;
  /** Undefined: only conversations of two are heard of. */
  readonly extension: Extension | undefined;
}

/** Everything of one account from login to logout: what came, what goes, and the connection over which it does. */
export interface Session {
  readonly signals: Signals;
  readonly account: string;
  readonly store: ImStore;
  readonly outbox: Outbox;
  readonly reports: Reports;
  readonly history: History;
  readonly delivery: Delivery;
  readonly isClosed: boolean;
  /** Of the last connection. */
  readonly welcome: Welcome | undefined;
  /** Undefined: there is no connection. */
  ask(): Ask | undefined;
  /** @throws ImError `NETWORK`: there is no connection; or as the service says */
  request: Ask;
  /** Connects; settles with the first answer of the service. @throws ImError why not; unless it is final it goes on trying */
  connect(
    options: Pick<ConnectionOptions, 'url' | 'WebSocket' | 'login' | 'platform' | 'autoReport'>,
  ): Promise<Welcome>;
  hurry(): void;
  /** Ends it here. Settles when everything is stored. */
  close(error: ImError): Promise<void>;
}

export function openSession(deps: SessionDeps): Session {
  const { account, store, signals, emit, limits, clock, random } = deps;
  let connection: Connection | undefined;
  let sync: Sync | undefined;
  let startedAt: number | undefined;
  /** The login's own synchronisation was done once: from then on an interruption is caught up with. */
  let isSignedIn = false;
  let isClosed = false;
  let last: Welcome | undefined;
  let refuseLogin: (error: ImError) => void = () => {};

  const ask = (): Ask | undefined => connection?.link?.request;

  const reports = createReports({ store, signals, emit, limits, clock, ask });
  const outbox = createOutbox(
    {
      account,
      limits,
      clock,
      random,
      request: ask,
      keep(unsent) {
        store.unsent = unsent;
        void store.commit();
      },
      onSent: noteSent,
      onStatus(message) {
        signals.onStatus.emit(message);
        signals.onConversation.emit(message.conversation);
      },
    },
    store.unsent,
  );
  const delivery = createDelivery({ account, store, outbox, reports, signals, emit });
  const inbox = createInbox({
    store,
    delivery,
    reports,
    signals,
    clock,
    sync: () => sync,
    onResync() {
      emit({ type: 'resync' });
      const mine = sync;
      if (mine !== undefined) inbox.run(() => mine.catchUp().then(() => signals.onRefresh.emit()));
    },
    onTrouble: (error) => giveUp(connection?.link, error),
  });

  async function noteSent(conversation: string, stored: Stored, prev = stored.seq - 1): Promise<void> {
    const head = store.head(conversation);
    await store.load(head, [stored.seq]);
    store.put(head, noteMessage(head, stored));
    know(head, prev + 1, stored.seq);
    noteOwn(head, stored.seq, prev);
    await store.commit();
    signals.onConversation.emit(conversation);
  }

  /** The link is of no use any more: the next one begins anew. */
  function giveUp(link: Link | undefined, cause: Error): void {
    if (link !== undefined && connection?.link === link) {
      link.end(new ImError('NETWORK', 'the terminal could not follow', { cause }));
    }
  }

  function begin(welcome: Welcome, link: Link): void {
    last = welcome;
    startedAt ??= welcome.serverTime;
    sync = createSync({
      store,
      delivery,
      inbox,
      signals,
      emit,
      clock,
      ask: link.request,
      startedAt,
      withRecents: deps.withRecents,
      extension: deps.extension,
    });
    const mine = sync;
    inbox.run(async () => {
      // Another link may be up by now: it has its own turn.
      if (connection?.link !== link) return;
      try {
        if (welcome.epoch !== undefined && store.epoch !== welcome.epoch) await changeStore(welcome.epoch);
        await (isSignedIn ? mine.catchUp() : mine.signIn());
        isSignedIn = true;
        signals.onRefresh.emit();
        await reports.settle();
      } catch (error) {
        giveUp(link, error as Error);
      }
    });
    outbox.pump();
    reports.resume();
  }

  /** The seqs mean nothing any more: what the service has now is everything. */
  async function changeStore(epoch: string): Promise<void> {
    const isFirst = store.epoch === undefined;
    store.epoch = epoch;
    if (isFirst) return;
    emit({ type: 'store-changed' });
    isSignedIn = false;
    await store.reset(false);
  }

  function finished({ error, platform }: LinkEnd): void {
    const isOfUserSig = error.code.startsWith('USERSIG_');
    if (isOfUserSig) signals.onUserSigExpired.emit(error);
    else signals.onForceOffline.emit({ error, platform });
  }

  return {
    signals,
    account,
    store,
    outbox,
    reports,
    delivery,
    history: createHistory({ account, store, outbox }),
    get isClosed() {
      return isClosed;
    },
    get welcome() {
      return last;
    },
    ask,
    async request(what, fields) {
      const now = ask();
      if (now === undefined) throw new ImError('NETWORK', 'there is no connection');
      return now(what, fields);
    },
    connect(options) {
      const ended = new ImError('CLOSED', 'the account was logged in again');
      connection?.close(ended);
      refuseLogin(ended);
      isSignedIn = false;
      startedAt = undefined;
      const { promise, resolve, reject } = Promise.withResolvers<Welcome>();
      let isPending = true;
      let why = new ImError('TIMEOUT', `no login within ${limits.loginTimeoutMs} ms`);
      const timer = setTimeout(() => reject(why), limits.loginTimeoutMs);
      const settled = (): void => {
        isPending = false;
        clearTimeout(timer);
      };
      promise.then(settled, settled);
      refuseLogin = reject;
      const mine = openConnection(
        { ...options, limits, clock, random },
        {
          onState(state, reason) {
            why = reason?.error ?? why;
            signals.onConnection.emit(state, reason);
          },
          onWelcome(welcome, link) {
            begin(welcome, link);
            resolve(welcome);
          },
          onEvent(on, fields) {
            if (deps.extension === undefined && /^(group:|system)/.test(String(fields.conversation))) return;
            if (inbox.size < limits.waitingEvents) inbox.push(on, fields);
            else giveUp(mine.link, new ImError('TOO_SLOW', 'too many events wait'));
          },
          onBadFrame: () => emit({ type: 'bad-frame' }),
          onDown() {
            sync = undefined;
            inbox.clear();
          },
          onFinal(end) {
            // What `login` throws need not be told twice.
            if (isPending) reject(end.error);
            else finished(end);
          },
        },
      );
      connection = mine;
      return promise;
    },
    hurry: () => connection?.hurry(),
    async close(error) {
      isClosed = true;
      connection?.close(error);
      refuseLogin(error);
      outbox.close();
      reports.close();
      inbox.clear();
      await inbox.idle();
      await store.commit();
    },
  };
}
