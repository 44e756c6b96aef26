import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpCache } from '../cache/index.ts';
import type { Logger } from '../observe/index.ts';
import type { Deadlines } from './deadlines.ts';
import type { Entrance } from './entrance.ts';
import type { FieldClasses } from './header-fields.ts';
import type { Limits } from './limits.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';
import type { OwnFacts } from './session-endpoints.ts';

/** What all exchanges and upgrades of a proxy share. */
export interface ExchangeContext {
  classes: FieldClasses;
  entrance: Entrance;
  deadlines: Deadlines;
  limits: Limits;
  cache: HttpCache;
  /** Milliseconds since the epoch. */
  clock: () => number;
  /** Gives QAL-Req-Seq-No (A4). */
  nextSerial: () => string;
  metrics: ProxyMetrics;
  logger: Logger;
  accessLog: boolean;
  /** Answers `/.qal/…`; the request's target is already in origin form. */
  serveOwn(req: IncomingMessage, res: ServerResponse, own: OwnRequest): void;
}

/** A request below `/.qal/`, and what its endpoint adds for the log. */
export interface OwnRequest {
  address: string;
  requestId: string;
  noted: OwnFacts;
}
