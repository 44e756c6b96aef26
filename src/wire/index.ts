export {
  type C2cSendFacts,
  c2cSendFields,
  type GroupSendFacts,
  groupSendFields,
  optPlatformOf,
} from './callback-fields.ts';
export {
  type AfterCommand,
  type AfterReason,
  afterCommands,
  afterReasons,
  type BeforeCommand,
  type BeforeOutcome,
  beforeCommands,
  beforeOutcomes,
  type CallbackCommand,
  type CallbackNotes,
  type CallbackOrigin,
  callbackCommands,
  callbackFields,
  isAfterCommand,
  type OptPlatform,
  packCallbackNotes,
  unpackCallbackNotes,
} from './callbacks.ts';
export {
  type ErrorBody,
  type ErrorCode,
  type ErrorDetail,
  type ErrorEntry,
  errorBody,
  errorCatalogue,
} from './errors.ts';
export {
  type GroupNotice,
  type GroupTip,
  type NoticeKind,
  noticeContent,
  noticeTypes,
  systemAccount,
  tipBody,
  tipContent,
  tipTypes,
} from './group-tips.ts';
export {
  type ApplyOption,
  type GroupTypeColumns,
  type GroupTypeRow,
  groupTypeFault,
  groupTypeRow,
  groupTypes,
  isStandardGroupType,
  type MsgFlag,
  type StandardGroupType,
  standardGroupTypes,
} from './group-types.ts';
export { type AccountId, groupIdForm, parseAccountId, type SdkAppId, type TerminalId } from './ids.ts';
export {
  describeRefusal,
  type ImErrorEntry,
  type ImErrorName,
  type ImRefusal,
  type ImResult,
  imErrorCatalogue,
} from './im-errors.ts';
export type { JsonObject, JsonValue } from './json-value.ts';
export { type LinkEndEntry, type LinkEndName, linkEnds, linkPath } from './link-ends.ts';
export { type MessageElement, type MessageType, messageTypes, parseMessageBody } from './message-body.ts';
export { type OfflinePushInfo, parseCustomData, parseOfflinePushInfo } from './message-extras.ts';
export { messageKey } from './message-key.ts';
export {
  type DeviceReport,
  type NetworkReport,
  type OperatingSystem,
  operatingSystems,
  type Rat,
  ratGenerations,
  rats,
  sessionHeader,
} from './qal.ts';
export { fitsUtf8, utf8Bytes } from './utf8.ts';
