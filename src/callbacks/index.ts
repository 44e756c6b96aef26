export {
  type BeforeCalls,
  type BeforeCallsOptions,
  type Circuit as BeforeCircuit,
  createBeforeCalls,
  type Decision,
  type Question,
} from './before/before-calls.ts';
export { type Callbacks, type CallbacksDeps, type CallbacksOptions, createCallbacks } from './callbacks.ts';
export { type Endpoint, endpointOf, endpointsOf, urlHash } from './endpoint/endpoint.ts';
export type { Post, Poster, PostFailure, PostResult, PreparedPost } from './endpoint/poster.ts';
export { keyFingerprint } from './key-fingerprint.ts';
export { createKeyUse, type KeyUse } from './key-use.ts';
export { createPauses, type Pause, type Pauses } from './pauses.ts';
export type { BacklogFigure } from './relay/backlog.ts';
export type { Circuit } from './relay/gate.ts';
export { migrateQueues } from './relay/queue.ts';
export { createTraces, type Trace, type Traces, type TracesOptions } from './traces.ts';
