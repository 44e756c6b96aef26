import type { Logger } from '../../observe/index.ts';
import { failureOf } from '../failure.ts';
import type { Clock } from '../model.ts';
import type { Presence } from '../services.ts';
import { kickReason } from './departures.ts';
import type { Dispatcher } from './dispatcher.ts';
import { type Frame, parseFrame } from './frame.ts';
import type { Link, Terminal } from './link.ts';
import type { LinkDirectory } from './link-directory.ts';
import type { LinkMetrics } from './link-metrics.ts';
import type { LoginOutcome, Logins } from './login.ts';
import type { MissedLook } from './missed.ts';
import { errorText, okText, reasonOf } from './outgoing.ts';

/** Frames that may come while a login is being looked at. */
const maxEarly = 64;
/** With so many waiting no more is read; until then it is read, so that the end of the link is noticed. */
const pauseEarly = 8;
/** A link that is ended to spare us comes back after this, and as much again at random. */
const comeBackMs = 5_000;

export interface FrameHandlerDeps {
  directory: LinkDirectory;
  logins: Logins;
  dispatcher: Dispatcher;
  missed: MissedLook;
  presence: Pick<Presence, 'leave'>;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
  metrics: LinkMetrics;
}

export interface FrameHandler {
  /** A frame of a terminal. */
  received(link: Link, data: Buffer, isBinary: boolean): void;
  /** A WebSocket ping: it is heard, and counts as a frame. */
  pinged(link: Link): void;
}

/** What becomes of each frame of a terminal. */
export function createFrameHandler(deps: FrameHandlerDeps, options: { framesPerSec: number }): FrameHandler {
  const { directory, logins, dispatcher, missed, presence, clock, random, logger, metrics } = deps;
  const comeBack = () => ({ reconnectMs: Math.round(comeBackMs * (1 + random())) });

  /** Undefined: the link has been ended for it. */
  function take(link: Link): 'ok' | 'limited' | undefined {
    metrics.framesIn();
    link.heardMs = clock();
    // Whoever has much to say may send no heartbeats.
    if (link.isOpen) missed.heard(link, link.heardMs);
    const verdict = link.rate.take(performance.now(), options.framesPerSec);
    if (verdict !== 'flood') return verdict;
    link.end('RATE_LIMITED', comeBack());
    return undefined;
  }

  function handle(link: Link, data: Buffer, isLimited: boolean): void {
    const parsed = parseFrame(data);
    if (!parsed.ok) {
      link.end('PROTOCOL', { reason: `a frame ${parsed.reason}` });
      return;
    }
    const frame = parsed.value;
    const { terminal } = link;
    if (terminal === undefined) beforeLogin(link, frame);
    else if (isLimited) answerError(link, frame, { error: 'RATE_LIMITED' });
    else if (frame.do === 'beat') {
      if (frame.id !== undefined) link.send(okText(frame.id, `{"time":${Math.floor(link.heardMs / 1_000)}}`));
    } else if (frame.do === 'logout') void logout(link, terminal, frame);
    else if (frame.do === 'login') {
      answerError(link, frame, { error: 'INVALID_FIELD', field: 'do', reason: 'this link is logged in already' });
    } else dispatcher.dispatch(link, terminal, frame);
  }

  function answerError(link: Link, { id }: Frame, refusal: Omit<Parameters<typeof errorText>[1], 'ok'>): void {
    if (id !== undefined) link.send(errorText(id, { ok: false, ...refusal }));
  }

  function beforeLogin(link: Link, frame: Frame): void {
    if (frame.do !== 'login') {
      answerError(link, frame, { error: 'NOT_LOGGED_IN' });
      link.end('PROTOCOL', { reason: 'the first frame was not a login' });
      return;
    }
    link.state = 'login';
    directory.loginBegins(link);
    const { origin } = link;
    link.origin = undefined;
    void logins
      .login(frame, origin, {
        isGone: () => link.state === 'ended',
        onPlace: (linkId) => directory.named(link, linkId),
      })
      .then((outcome) => loggedIn(link, frame, outcome));
  }

  function loggedIn(link: Link, frame: Frame, outcome: LoginOutcome): void {
    if (!outcome.ok) {
      answerError(link, frame, outcome);
      const { end, by } = outcome;
      const more = end === 'UNAVAILABLE' ? comeBack() : {};
      const reason = by === undefined ? reasonOf(outcome) : kickReason(by);
      link.end(end, { reason, ...(by === undefined ? {} : { by }), ...more });
      return;
    }
    const { terminal, answer } = outcome;
    link.terminal = terminal;
    const { account, platform } = terminal;
    if (link.state === 'ended') {
      // It went while its login was being looked at. If another login took the place, presence says nothing to this.
      presence.leave(account, platform, link.linkId, 'link-closed').catch((error: unknown) => {
        logger.warn({ err: error }, 'im.link.leave.failed');
      });
      return;
    }
    link.state = 'open';
    link.lookedMs = clock();
    directory.opened(link);
    logger.debug({ sdkAppId: account.sdkAppId, accountNo: account.no, platform }, 'im.link.logged_in');
    if (frame.id !== undefined) link.send(okText(frame.id, answer));
    link.socket.resume();
    const { early } = link;
    link.early = undefined;
    for (const data of early ?? []) if (link.isOpen) handle(link, data, false);
  }

  async function logout(link: Link, terminal: Terminal, frame: Frame): Promise<void> {
    const { account, platform } = terminal;
    try {
      await presence.leave(account, platform, link.linkId, 'logout');
    } catch (error) {
      answerError(link, frame, { error: failureOf(error) });
      logger.warn({ err: error }, 'im.link.logout.failed');
      return;
    }
    metrics.request('logout', 'ok', 0);
    if (frame.id !== undefined) link.send(okText(frame.id, '{}'));
    link.end('LOGGED_OUT', {});
  }

  return {
    received(link, data, isBinary) {
      // Of one that drains, whatever was not carried out is sent again over its next link.
      if (link.state === 'ended' || link.state === 'draining') return;
      const verdict = take(link);
      if (verdict === undefined) return;
      if (isBinary) link.end('PROTOCOL', { reason: 'a frame is binary' });
      else if (link.state !== 'login') handle(link, data, verdict === 'limited');
      else if ((link.early?.length ?? 0) >= maxEarly) link.end('RATE_LIMITED', comeBack());
      else {
        link.early ??= [];
        // What comes behind it waits in the kernel, but for what has been read already.
        if (link.early.push(data) === pauseEarly) link.socket.pause();
      }
    },
    pinged(link) {
      if (link.state !== 'ended') take(link);
    },
  };
}
