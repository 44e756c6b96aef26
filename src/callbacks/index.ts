export type { BeforeCalls, Decision, Question } from './before/before-calls.ts';
export { type Endpoint, endpointOf, endpointsOf, urlHash } from './endpoint/endpoint.ts';
export type { Post, Poster, PostFailure, PostResult, PreparedPost } from './endpoint/poster.ts';
export { keyFingerprint } from './key-fingerprint.ts';
export type { Pause, Pauses } from './pauses.ts';
export type { Trace, Traces } from './traces.ts';
