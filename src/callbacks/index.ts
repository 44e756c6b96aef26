export {
  type BeforeCalls,
  type BeforeCallsOptions,
  type Circuit,
  createBeforeCalls,
  type Decision,
  type Question,
} from './before/before-calls.ts';
export { type Endpoint, endpointOf, endpointsOf, urlHash } from './endpoint/endpoint.ts';
export type { Post, Poster, PostFailure, PostResult, PreparedPost } from './endpoint/poster.ts';
export { keyFingerprint } from './key-fingerprint.ts';
export { createKeyUse, type KeyUse } from './key-use.ts';
export { createPauses, type Pause, type Pauses } from './pauses.ts';
export { createTraces, type Trace, type Traces, type TracesOptions } from './traces.ts';
