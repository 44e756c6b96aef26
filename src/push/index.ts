export { createDevices, type DeviceInput, type Devices, type PushWishes, type TerminalName } from './devices.ts';
export type { NoPush, PushMessage, PushReceiver, PushText } from './message.ts';
export { createPauses, type Pause, type Pauses } from './pauses.ts';
export { apnsBadge, apnsPayload } from './payload/apns.ts';
export { fcmPayload } from './payload/fcm.ts';
export type { Payload, TooLarge } from './payload/fitting.ts';
export type { Outcome, Sendable, Sender, SenderFigures } from './provider.ts';
export { composeText, maxPayloadBytes, pushText, type TextPart } from './text/push-text.ts';
