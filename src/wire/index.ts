export {
  type ErrorBody,
  type ErrorCode,
  type ErrorDetail,
  type ErrorEntry,
  errorBody,
  errorCatalogue,
} from './errors.ts';
export { type AccountId, parseAccountId, type SdkAppId, type TerminalId } from './ids.ts';
export {
  describeRefusal,
  type ImErrorEntry,
  type ImErrorName,
  type ImRefusal,
  type ImResult,
  imErrorCatalogue,
} from './im-errors.ts';
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
