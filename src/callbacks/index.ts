export {
  type BeforeCalls,
  type BeforeCallsOptions,
  type Circuit as BeforeCircuit,
  createBeforeCalls,
  type Decision,
  type Question,
} from './before/before-calls.ts';
export { type Callbacks, type CallbacksDeps, type CallbacksOptions, createCallbacks } from './callbacks.ts';
export { type CallbackChecks, type CallbackChecksDeps, createCallbackChecks } from './checks/checks.ts';
export { shellQuoted } from './checks/curl-line.ts';
export type { TestReport, TestResult } from './checks/test-event.ts';
export { type Diagnosis, diagnose, type Finding, type FindingCode, type Received } from './dry-run/diagnose.ts';
export { type Endpoint, endpointOf, endpointsOf, urlHash } from './endpoint/endpoint.ts';
export {
  createPoster,
  type Post,
  type Poster,
  type PosterDeps,
  type PostFailure,
  type PostResult,
  type PreparedPost,
} from './endpoint/poster.ts';
export { keyFingerprint } from './key-fingerprint.ts';
export { createKeyUse, type KeyUse } from './key-use.ts';
export { createPauses, type Pause, type Pauses } from './pauses.ts';
export type { BacklogFigure } from './relay/backlog.ts';
export type { Circuit } from './relay/gate.ts';
export { migrateQueues } from './relay/queue.ts';
export { createTraces, type Trace, type Traces, type TracesOptions } from './traces.ts';
