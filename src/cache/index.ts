export { type CachedAnswer, cacheName, explainAnswer } from './answers.ts';
export { type CacheDeps, type CacheOptions, createCache, type HttpCache } from './cache.ts';
export {
  type CacheRules,
  combinedOf,
  type Explanation,
  explain,
  firstOf,
  formatHttpDate,
  parseHttpDate,
  parseRequest,
  type RawFields,
  type RequestFacts,
  requestFieldNames,
  splitList,
  valuesOf,
} from './core/index.ts';
export type { BodyReader } from './filling-body.ts';
export type {
  CacheClient,
  CacheRequest,
  FetchEvents,
  FetchHandle,
  OriginHead,
  Outcome,
  RouteRules,
  Upstream,
  Waiting,
} from './ports.ts';
export { parsePurge, splitPurgeUrl } from './purge-input.ts';
export { createPurges, type PublishedPurge, type Purges, type PurgesOptions } from './purges.ts';
export { type AnswerHead, wireBodyBytes } from './stored-response.ts';
export { comparedTarget, type Purge, type TargetRules, urlKey } from './url-key.ts';
