export { createPushAdmin, type PushAdmin, type PushSummary } from './admin/admin.ts';
export {
  dropFields,
  orderFields,
  parseChannel,
  parseDrop,
  parseOrder,
  parseQuery,
  pauseFields,
  pushStates,
  queryFields,
} from './admin/queries.ts';
export type { PushView } from './admin/views.ts';
export {
  createDevices,
  type DeviceInput,
  type Devices,
  type MessageName,
  type PushWishes,
  type TerminalName,
} from './devices.ts';
export type { NoPush, PushMessage, PushReceiver, PushText } from './message.ts';
export { createPauses, type Pause, type Pauses } from './pauses.ts';
export { apnsBadge, apnsPayload } from './payload/apns.ts';
export { fcmPayload } from './payload/fcm.ts';
export type { Payload, TooLarge } from './payload/fitting.ts';
export type { Outcome, Sendable, Sender, SenderFigures } from './provider.ts';
export { createPush, type Push, type PushDeps, type PushOptions } from './push.ts';
export { type FaultRule, faultWords, parseFaultRule } from './sandbox/fault-rules.ts';
export { openPushSandbox, type PushSandbox, type SandboxPush, type SandboxSettings } from './sandbox/sandbox.ts';
export { composeText, maxPayloadBytes, pushText, type TextPart } from './text/push-text.ts';
