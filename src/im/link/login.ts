import type { AppLookup } from '../../auth/index.ts';
import type { Logger } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import {
  type AccountId,
  type ImErrorName,
  type ImRefusal,
  imErrorCatalogue,
  type LinkEndName,
  parseAccountId,
  type SdkAppId,
} from '../../wire/index.ts';
import { failureOf } from '../failure.ts';
import type { Clock } from '../model.ts';
import { isLinkId, makeLinkId } from '../presence/index.ts';
import { type Accounts, type KickedBy, type Platform, type Presence, platforms } from '../services.ts';
import { allowsOrigin } from './entrance.ts';
import { FieldReader } from './field-reader.ts';
import { type Frame, maxFrameBytes } from './frame.ts';
import { createGate } from './gate.ts';
import type { Terminal } from './link.ts';

/** Checks a UserSig: good until when, issued when (Unix seconds), or what is wrong. */
export type VerifyLogin = (
  sdkAppId: SdkAppId,
  identifier: AccountId,
  userSig: unknown,
) => Promise<
  { ok: true; expiresAtSec: number; issuedAtSec?: number } | { ok: false; error: ImErrorName; reason?: string }
>;

/** Logins that ask the database at once: half of its connections, so that a rush of them does not keep messages waiting. */
const maxAtOnce = 5;
/** One that waited for its turn so long is told to come back: the database hangs, and its terminal may have given up. */
const maxWaitMs = 10_000;
/** Pause between two lines of the log about logins that failed as the database is away. */
const logEveryMs = 1_000;

/** How a login is refused: its error, how the link ends, and who has the terminal's place. */
export type LoginRefusal = ImRefusal & { end: LinkEndName; by?: KickedBy };
export type LoginOutcome = { ok: true; terminal: Terminal; linkId: string; answer: string } | LoginRefusal;

interface LoginFields {
  sdkAppId: SdkAppId;
  identifier: AccountId;
  userSig: unknown;
  platform: Platform;
  autoReport: boolean;
  resume: string | undefined;
}

export interface Logins {
  /** Looks at a login frame and takes the terminal's place. Never rejects. */
  login(frame: Frame, origin: string | undefined, link: LoginLink): Promise<LoginOutcome>;
}

/** What a login has to do with its link. */
export interface LoginLink {
  /** It is gone: its login must end nobody else's, least of all one by which its own terminal came back. */
  isGone(): boolean;
  /** The link's id, before it has the place: from then on it may be ended by another login. */
  onPlace(linkId: string): void;
}

export interface LoginsDeps {
  db: Database;
  apps: AppLookup;
  verifyLogin: VerifyLogin;
  accounts: Pick<Accounts, 'ensure'>;
  presence: Pick<Presence, 'login'>;
  clock: Clock;
  logger: Logger;
}

export function createLogins(deps: LoginsDeps, options: { heartbeatSec: number; offlineSec: number }): Logins {
  const { db, apps, verifyLogin, accounts, presence, clock, logger } = deps;
  const gate = createGate(maxAtOnce);
  let epoch: string | undefined;
  let loggedAtMs = Number.NEGATIVE_INFINITY;

  /** Names the store; the same as long as the process runs. */
  async function readEpoch(): Promise<string> {
    if (epoch === undefined) {
      const row = await db.kysely.selectFrom('meta').select('store_epoch').executeTakeFirstOrThrow();
      epoch = row.store_epoch;
    }
    return epoch;
  }

  async function take(
    fields: LoginFields,
    origin: string | undefined,
    { isGone, onPlace }: LoginLink,
  ): Promise<LoginOutcome> {
    const { sdkAppId, identifier, platform, autoReport, resume } = fields;
    const app = apps.get(sdkAppId);
    if (app === undefined) return refused({ ok: false, error: 'APP_UNKNOWN', field: 'sdkAppId' });
    if (origin !== undefined && !allowsOrigin(app, origin)) {
      const reason = 'the app does not let pages of this origin open links (im.origins)';
      return { ok: false, error: 'FORBIDDEN', reason, end: 'USERSIG_INVALID' };
    }
    const verified = await verifyLogin(sdkAppId, identifier, fields.userSig);
    if (!verified.ok) {
      const { error, reason } = verified;
      return refused({ ok: false, error, field: 'userSig', ...(reason === undefined ? {} : { reason }) });
    }
    const storeEpoch = await readEpoch();
    const account = await accounts.ensure(sdkAppId, identifier);
    if (isGone()) return gone;
    const linkId = makeLinkId(resume);
    onPlace(linkId);
    const taken = await presence.login({
      account,
      platform,
      linkId,
      ...(resume === undefined ? {} : { resume }),
      ...(verified.issuedAtSec === undefined ? {} : { issuedAtSec: verified.issuedAtSec }),
    });
    if (!taken.ok) return refused(taken);
    const { kickedWhileAway } = taken.value;
    const answer = JSON.stringify({
      account: identifier,
      epoch: storeEpoch,
      link: linkId,
      resumed: taken.value.isResumed || undefined,
      serverTime: Math.floor(clock() / 1_000),
      heartbeatSec: options.heartbeatSec,
      offlineSec: options.offlineSec,
      messageBytes: app.im.messageBytes,
      frameBytes: maxFrameBytes,
      kickedWhileAway,
    });
    const terminal = { account, platform, autoReport, expiresAtMs: verified.expiresAtSec * 1_000 };
    return { ok: true, terminal, linkId, answer };
  }

  return {
    async login(frame, origin, link) {
      const fields = readLogin(frame);
      if (!fields.ok) return refused(fields);
      const startedMs = performance.now();
      try {
        return await gate(async () => {
          if (link.isGone()) return gone;
          if (performance.now() - startedMs > maxWaitMs) return refused({ ok: false, error: 'BUSY' });
          return await take(fields.value, origin, link);
        });
      } catch (error) {
        const name = failureOf(error);
        const nowMs = performance.now();
        // A database that is away fails them all.
        if (name === 'INTERNAL' || nowMs - loggedAtMs > logEveryMs) {
          loggedAtMs = nowMs;
          logger.error({ err: error, sdkAppId: fields.value.sdkAppId }, 'im.link.login.failed');
        }
        return refused({ ok: false, error: name });
      }
    },
  };
}

function readLogin(frame: Frame): { ok: true; value: LoginFields } | ImRefusal {
  const fields = new FieldReader(frame.fields);
  const sdkAppId = fields.integer('sdkAppId', { min: 1, max: 4_294_967_295 });
  const identifier = parseAccountId(fields.raw('identifier'));
  if (!identifier.ok) fields.refuse({ error: 'INVALID_FIELD', field: 'identifier', reason: identifier.reason });
  const platform = fields.word('platform', platforms);
  const autoReport = fields.boolean('autoReport', true);
  const resume = fields.raw('resume');
  if (resume !== undefined && !isLinkId(resume)) {
    fields.refuse({ error: 'INVALID_FIELD', field: 'resume', reason: 'is not the `link` of an answer to a login' });
  }
  if (fields.refusal !== undefined) return fields.refusal;
  return {
    ok: true,
    value: {
      sdkAppId,
      identifier: identifier.ok ? identifier.value : ('' as AccountId),
      userSig: fields.raw('userSig'),
      platform: platform ?? 'Web',
      autoReport,
      resume: resume as string | undefined,
    },
  };
}

/** How the link of a login ends that was refused. */
const endOf: Partial<Record<ImErrorName, LinkEndName>> = {
  INVALID_FIELD: 'PROTOCOL',
  APP_UNKNOWN: 'APP_UNKNOWN',
  USERSIG_EXPIRED: 'USERSIG_EXPIRED',
  USERSIG_EMPTY: 'USERSIG_INVALID',
  USERSIG_MALFORMED: 'USERSIG_INVALID',
  USERSIG_KEY_MISMATCH: 'USERSIG_INVALID',
  USERSIG_IDENTIFIER_MISMATCH: 'USERSIG_INVALID',
  USERSIG_APP_MISMATCH: 'USERSIG_INVALID',
  // A new one is needed, as after any kick by the administrator.
  USERSIG_REVOKED: 'KICKED_BY_ADMIN',
  KICKED_WHILE_AWAY: 'KICKED',
  ACCOUNT_NOT_REGISTERED: 'ACCOUNT_DELETED',
};

function refused(refusal: ImRefusal & { by?: KickedBy }): LoginRefusal {
  return {
    ...refusal,
    end: endOf[refusal.error] ?? (imErrorCatalogue[refusal.error].retryable ? 'UNAVAILABLE' : 'USERSIG_INVALID'),
  };
}

/** Nobody is told. */
const gone = refused({ ok: false, error: 'BUSY' });
