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
  type DeviceReport,
  type NetworkReport,
  type OperatingSystem,
  operatingSystems,
  type Rat,
  ratGenerations,
  rats,
  sessionHeader,
} from './qal.ts';
