export type { ExchangeEvents, ExchangeFailure, UpstreamConnection } from './connection.ts';
export { OriginPool, type Waiter } from './origin-pool.ts';
export { type BodyFraming, ResponseParser } from './response-parser.ts';
export { createUpstreams, type RouteUpstreams, type Upstreams } from './route-upstreams.ts';
