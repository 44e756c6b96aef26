export { type AdminDeps, type CallbackAdmin, createAdmin, type Shown, type Summary } from './admin/admin.ts';
export type { Dropped, Retried } from './admin/changes.ts';
export {
  type DropOrder,
  dropFields,
  type PauseOrder,
  parseDrop,
  parsePause,
  parseReplay,
  parseResume,
  parseRetry,
  pauseFields,
  type ReplayOrder,
  replayFields,
  retryFields,
} from './admin/orders.ts';
export type { ReplayAnswer, ReplayView } from './admin/replay-orders.ts';
export { createReplays, type Replays, type ReplaysOptions } from './admin/replays.ts';
export { refusalOfTooMuch } from './admin/too-much.ts';
export { type EventView, type LetterView, withoutQuery } from './admin/views.ts';
export {
  type BeforeCalls,
  type BeforeCallsOptions,
  type Circuit as BeforeCircuit,
  createBeforeCalls,
  type Decision,
  type Question,
} from './before/before-calls.ts';
export { type Callbacks, type CallbacksDeps, type CallbacksOptions, createCallbacks } from './callbacks.ts';
export {
  type CallbackChecks,
  type CallbackChecksDeps,
  createCallbackChecks,
  testBackend,
  verifyReceived,
} from './checks/checks.ts';
export type { TestReport } from './checks/test-event.ts';
export { type Diagnosis, diagnose } from './dry-run/diagnose.ts';
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
export type { Explanation, Step } from './explain/chain.ts';
export type { Explain, Explained } from './explain/explain.ts';
export { allowedEvent, type EventName, parseEventName } from './explain/fields.ts';
export {
  type EventState,
  type ExplainQuery,
  eventStates,
  explainFields,
  type ListQuery,
  listFields,
  parseExplain,
  parseList,
} from './explain/queries.ts';
export { keyFingerprint } from './key-fingerprint.ts';
export { createKeyUse, type KeyUse } from './key-use.ts';
export { createPauses, type Pause, type Pauses } from './pauses.ts';
export type { BacklogFigure } from './relay/backlog.ts';
export type { Circuit } from './relay/gate.ts';
export { createTraces, type Trace, type Traces, type TracesOptions } from './traces.ts';
