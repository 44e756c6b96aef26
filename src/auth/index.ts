export { addTrusted, clientAddress, isTrusted, normalizeAddress } from './client-address.ts';
export { createHeldCounter, type HeldCounter } from './held-counter.ts';
export { createKeyRing, type KeyRing } from './key-ring.ts';
export { networkOf } from './network-of.ts';
export { type Caller, type Command, callers, commands, isCommand, mayCall } from './permissions.ts';
export { type CommandGuard, requireCommand } from './require-command.ts';
export { createRevocations, issueTimeMs, type Revocations, type RevocationsOptions } from './revocations.ts';
export {
  type AppLookup,
  createSessionCheck,
  type SessionCheck,
  type SessionCheckOptions,
  type SessionCheckResult,
} from './session-check.ts';
export {
  type Clock,
  createSessionTokens,
  maxTokenChars,
  type SessionClaims,
  type SessionTokenResult,
  type SessionTokens,
  type SessionTokensOptions,
} from './session-token.ts';
export {
  createTerminals,
  qalIdentifier,
  type TerminalCredentials,
  type TerminalSerials,
  type Terminals,
} from './terminals.ts';
export {
  type SignUserSigInput,
  signUserSig,
  type UserSigFault,
  userSigSecretId,
  type VerifyUserSigInput,
  type VerifyUserSigResult,
  verifyUserSig,
} from './user-sig.ts';
export {
  createUserSigCheck,
  type UserSigCheck,
  type UserSigCheckError,
  type UserSigCheckOptions,
  type UserSigCheckResult,
} from './user-sig-check.ts';
