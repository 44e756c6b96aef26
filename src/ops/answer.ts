import type { Caller } from '../auth/index.ts';
import type { Result } from '../store/index.ts';

/** What a command says when it was carried out. */
export interface Answer {
  status: 200 | 201 | 204 | 503;
  headers?: Record<string, string>;
  /** An object is sent as JSON. */
  body?: object | string;
}

/** What a command gets: the parts of the request that it may use. */
export interface Call {
  /** As in the path, not yet looked at; empty where the path has none. */
  sdkAppId: string;
  /** The parts of the path that have a name, the same way. */
  params: Readonly<Record<string, string | undefined>>;
  /** What stands behind the `?`: a text a name, a list where it stands there more than once. */
  query: unknown;
  body: unknown;
  ifMatch: string | undefined;
  /** Who calls: the name of the token, and what it may see. */
  actor: string;
  role: Caller;
}

/** Carries a command out. A refusal is a result; a rejection is our fault or the database's. */
export type Handle = (call: Call) => Promise<Result<Answer>>;
