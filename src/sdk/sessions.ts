import type { DeviceReport, NetworkReport, SdkAppId } from '../wire/index.ts';
import { abortable, within } from './deadline.ts';
import { codeOf, QalError, type QalErrorCode } from './error.ts';
import type { Identity, Token } from './identity.ts';
import type { QalLimits } from './limits.ts';
import type { SessionEndpoint, Terminal } from './session-endpoint.ts';
import type { QalStorage } from './storage.ts';
import { loadTerminal, saveTerminal } from './terminal.ts';

export interface SessionDeps {
  readonly endpoint: SessionEndpoint;
  readonly clock: () => number;
  /** From 0 up to, not including, 1. */
  readonly random: () => number;
  readonly storage: QalStorage;
}

export interface SessionOptions {
  readonly sdkAppId: SdkAppId;
  /** Under which the terminal's identity is stored. */
  readonly terminalKey: string;
  readonly device: DeviceReport;
  readonly network: NetworkReport;
  readonly limits: QalLimits;
}

/** Gets sessions and keeps them going: one call at a time, renewed before they end, with back-off when that fails. */
export interface Sessions {
  readonly network: NetworkReport;
  /** The session to send with a request; asks for one when there is none. */
  token(identity: Identity, signal?: AbortSignal): Promise<Token>;
  /** The server did not accept it: it is not used again. @param again nor the one before: asking for more has to wait */
  reject(identity: Identity, value: string, again: boolean): void;
  /** The network changed (A12). */
  reportNetwork(identity: Identity, network: NetworkReport): Promise<void>;
  /** Ends a session on the server. */
  end(token: Token): Promise<void>;
}

/** Refusals that another UserSig can turn around. */
const canTurnAround = /^USERSIG_(?:EXPIRED|REVOKED|KEY_MISMATCH)$/;

/** A session is not sent in its last moments, for it would end on the way: this long, or a tenth of its life. */
const marginMs = 5_000;

export function createSessions(deps: SessionDeps, options: SessionOptions): Sessions {
  const { endpoint, clock, random, storage } = deps;
  const { sdkAppId, terminalKey, device, limits } = options;
  let network: NetworkReport = { ...options.network };
  let terminal: Promise<Terminal | undefined> | undefined;
  let reporting: Promise<void> = Promise.resolve();

  async function askUserSig(identity: Identity, refused: QalErrorCode | undefined): Promise<string> {
    const ask = async (signal: AbortSignal): Promise<string> =>
      (await identity.getUserSig?.({ signal, refused })) ?? '';
    try {
      return await within(limits.sessionTimeoutMs, 'getUserSig', identity.ended.signal, ask);
    } catch (cause) {
      if (cause instanceof QalError) throw cause;
      throw new QalError('LOGIN_FAILED', 'getUserSig failed', { retryable: true, cause });
    }
  }

  async function create(identity: Identity): Promise<Token> {
    await identity.after;
    terminal ??= loadTerminal(storage, terminalKey);
    const known = await terminal;
    const sent = network;
    let refused: QalErrorCode | undefined;
    for (;;) {
      if (identity.account !== undefined) identity.userSig ??= await askUserSig(identity, refused);
      const startedMs = clock();
      try {
        const answer = await endpoint.create(
          {
            sdkAppId,
            identifier: identity.account,
            userSig: identity.userSig,
            terminal: known,
            device,
            network: sent,
          },
          identity.ended.signal,
        );
        // The secret changes when the server's key does: what it said last is what counts.
        terminal = Promise.resolve(answer.terminal);
        if (answer.terminal.secret !== known?.secret) await saveTerminal(storage, terminalKey, answer.terminal);
        const lifeMs = answer.expiresInSec * 1_000;
        identity.sentNetwork = sent;
        return {
          value: answer.session,
          qalIdentifier: answer.qalIdentifier,
          usableUntilMs: startedMs + lifeMs - Math.min(marginMs, lifeMs / 10),
          // Around 80 %, so that a fleet that started together does not renew together.
          renewAtMs: startedMs + lifeMs * (0.75 + 0.1 * random()),
        };
      } catch (error) {
        if (codeOf(error).startsWith('USERSIG_')) identity.userSig = undefined;
        if (refused !== undefined || !canTurnAround.test(codeOf(error))) throw error;
        refused = codeOf(error) as QalErrorCode;
      }
    }
  }

  /** Full jitter, and no sooner than the server said, within `maxBackoffMs`. */
  function backOff(identity: Identity, error: unknown): void {
    const ceilingMs = Math.min(limits.maxBackoffMs, limits.backoffMs * 2 ** identity.failures);
    identity.failures += 1;
    const askedMs = (error as Partial<QalError>).retryAfterMs ?? 0;
    const waitMs = Math.max(random() * ceilingMs, Math.min(askedMs, limits.maxBackoffMs));
    identity.backoff = { untilMs: clock() + waitMs, error };
  }

  function renew(identity: Identity): Promise<Token> {
    if (identity.renewal !== undefined) return identity.renewal;
    const waitMs = (identity.backoff?.untilMs ?? 0) - clock();
    // More than any wait is a clock that was set back.
    if (waitMs > 0 && waitMs <= limits.maxBackoffMs) return Promise.reject(identity.backoff?.error);
    const renewal = establish(identity);
    identity.renewal = renewal;
    // Nobody may be waiting for a silent one.
    renewal.catch(() => {});
    return renewal;
  }

  async function establish(identity: Identity): Promise<Token> {
    try {
      const token = await create(identity);
      Object.assign(identity, { token, failures: 0, backoff: undefined });
      // The network changed while the session was on its way.
      if (identity.sentNetwork !== network) report(identity).catch(() => {});
      return token;
    } catch (error) {
      backOff(identity, error);
      throw error;
    } finally {
      identity.renewal = undefined;
    }
  }

  function isUsable(token: Token | undefined): token is Token {
    return token !== undefined && clock() < token.usableUntilMs;
  }

  /** Tells the server of the network, one report at a time; the latest is what counts. */
  function report(identity: Identity): Promise<void> {
    const next = reporting.then(async () => {
      for (;;) {
        const { token } = identity;
        const sent = network;
        if (!isUsable(token) || identity.sentNetwork === sent) return;
        try {
          const value = await endpoint.updateNetwork(token.value, sent, identity.ended.signal);
          // A session that was renewed meanwhile knows its own network.
          if (identity.token !== token) continue;
          identity.token = { ...token, value };
          identity.sentNetwork = sent;
        } catch (error) {
          // The next use asks for a session, with the new network.
          const isRefused = codeOf(error).startsWith('SESSION_');
          if (identity.token === token) identity.token = isRefused ? undefined : { ...token, renewAtMs: 0 };
          if (!isRefused) throw error;
        }
      }
    });
    reporting = next.catch(() => {});
    return next;
  }

  return {
    get network() {
      return network;
    },
    async token(identity, signal) {
      identity.ended.signal.throwIfAborted();
      const { token } = identity;
      if (isUsable(token)) {
        if (clock() >= token.renewAtMs) renew(identity).catch(() => {});
        return token;
      }
      const renewed = await abortable(renew(identity), signal);
      identity.ended.signal.throwIfAborted();
      return renewed;
    },
    reject(identity, value, again) {
      if (identity.token?.value !== value) return;
      identity.token = undefined;
      if (again) backOff(identity, new QalError('SESSION_INVALID', 'new sessions are refused', { retryable: true }));
    },
    async reportNetwork(identity, changed) {
      network = { ...changed };
      // Another network may reach the server.
      identity.backoff = undefined;
      await report(identity);
    },
    end: (token) => endpoint.end(token.value),
  };
}
