/**
 * The pure part of the cache: parse, decide, update. No I/O, no clock, no module of Node; the SDK's private cache is made
 * of the same functions (C0).
 */
export { type CacheStatus, type Forwarded, formatCacheStatus } from './cache-status.ts';
export {
  hasCondition,
  hasValidators,
  isNotModified,
  selectFor304,
  type Validators,
  validatorsFor,
} from './conditions.ts';
export { bypassRule, type Decision, type DecisionRule, decide, isOutage, mayServeOnError } from './decide.ts';
export { parseResponseDirectives } from './directives.ts';
export { type Explanation, explain, malformedFields } from './explain.ts';
export { fieldsOf304, fieldsToStore, updatedFields } from './fields.ts';
export { formatHttpDate, parseHttpDate } from './http-date.ts';
export { invalidates, namedTargets } from './invalidation.ts';
export { ageOf, type CacheRules, type Policy, policyOf, type ResponseTimes } from './policy.ts';
export { type ByteRange, contentRange, selectRanges } from './ranges.ts';
export { combinedOf, firstOf, type RawFields, splitList, valuesOf } from './raw-fields.ts';
export { parseRequest, type RequestFacts, requestFieldNames } from './request-facts.ts';
export { parseResponse, type ResponseFacts } from './response-facts.ts';
export {
  type Audience,
  isCredentialed,
  isOpen,
  type RefusalRule,
  type Storable,
  storable,
} from './storable.ts';
export { type Vary, varyKey } from './vary.ts';
