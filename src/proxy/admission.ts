import type { SessionCheck, SessionClaims } from '../auth/index.ts';
import type { AppSettings } from '../store/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import { anonymousHeaderLines, sessionHeaderLines } from './injected-headers.ts';
import type { RequestHead } from './request-head.ts';
import type { RouteEntry, Router } from './router.ts';
import type { RouteUpstreams } from './upstream/index.ts';

export interface Admitted {
  ok: true;
  entry: RouteEntry<RouteUpstreams>;
  /** Of the request's session, if it has one. */
  claims: SessionClaims | undefined;
  /** The `QAL-*` lines that the session stands for. */
  qalLines: string;
}

export type Admission = Admitted | { ok: false; code: ErrorCode };

/** Decides where a request goes and as whom. */
export interface Admissions {
  admit(head: RequestHead): Admission;
}

/**
 * Route, then session: a session serves only routes of its own app (A13), and a request without one passes only where
 * the app lets it. A session that is not valid is refused even where none is needed: its client believes that it has
 * one, and must renew it.
 */
export function createAdmissions(deps: { router: () => Router<RouteUpstreams>; sessions: SessionCheck }): Admissions {
  /** Header lines by claims, as long as the token is remembered and its app unchanged. */
  const linesOfClaims = new WeakMap<object, { app: AppSettings; lines: string }>();
  const linesOfApp = new WeakMap<AppSettings, string>();

  return {
    admit(head) {
      const entry = deps.router().match(head.host, head.target);
      if (entry === undefined) return { ok: false, code: 'NO_ROUTE' };
      const { app } = entry;
      if (head.session === undefined) {
        if (app.access.sessions === 'required') return { ok: false, code: 'SESSION_REQUIRED' };
        let qalLines = linesOfApp.get(app);
        if (qalLines === undefined) {
          qalLines = anonymousHeaderLines(app);
          linesOfApp.set(app, qalLines);
        }
        return { ok: true, entry, claims: undefined, qalLines };
      }
      const checked = deps.sessions.check(head.session);
      if (!checked.ok) return checked;
      const { claims } = checked;
      if (claims.sdkAppId !== app.sdkAppId) return { ok: false, code: 'SESSION_WRONG_APP' };
      let built = linesOfClaims.get(claims);
      if (built === undefined || built.app !== app) {
        built = { app, lines: sessionHeaderLines(claims, app) };
        linesOfClaims.set(claims, built);
      }
      return { ok: true, entry, claims, qalLines: built.lines };
    },
  };
}
