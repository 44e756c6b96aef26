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
  body: unknown;
  ifMatch: string | undefined;
}

/** Carries a command out. A refusal is a result; a rejection is our fault or the database's. */
export type Handle = (call: Call) => Promise<Result<Answer>>;
