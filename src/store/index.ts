export { findAppGap } from './app-rules.ts';
export {
  AccessSchema,
  AppSchema,
  type AppSettings,
  appSecrets,
  MessagingSchema,
  type MessagingSettings,
  type Route,
  RouteSchema,
  SecretsSchema,
  type Timeouts,
  TimeoutsSchema,
} from './app-settings.ts';
export { type AppStore, createAppStore, type StoredApp } from './app-store.ts';
export { type Backoff, createBackoff } from './backoff.ts';
export { type CallbackSettings, CallbacksSchema, callbackSecrets, callbackUrlOf } from './callback-settings.ts';
export type { Database } from './connection.ts';
export { type ControlBus, type ControlTopic, createControlBus } from './control-bus.ts';
export { type DatabaseOptions, migrateDatabase, type OpenedDatabase, openDatabase } from './database.ts';
export { withDeadline } from './deadline.ts';
export { type GroupFieldLevel, groupFieldLevels } from './group-settings.ts';
export { askInstance, type InstanceFacts } from './instance-lock.ts';
export { type Batcher, createBatcher } from './lanes/batcher.ts';
export {
  createLaneLocks,
  type LaneLock,
  type LaneLocks,
  type LaneLocksOptions,
  LocksAway,
} from './lanes/lane-locks.ts';
export {
  createLaneQueue,
  type LaneQueue,
  type LaneQueueOptions,
  makeQueueTables,
  migrateQueues,
  type QueueBackend,
  queueBackendOf,
  type RunResult,
} from './lanes/lane-queue.ts';
export { schemaVersion } from './migrations.ts';
export { joinPushKeys, type PushKeys, parseServiceAccount, splitPushKeys } from './push-keys.ts';
export {
  ApnsSchema,
  type ApnsSettings,
  FcmSchema,
  type FcmSettings,
  type PushChannel,
  PushSchema,
  type PushSettings,
  pushChannels,
} from './push-settings.ts';
export { type RedisRole, redisOptions } from './redis.ts';
export { checkRedis, type RedisFinding, type RedisReport } from './redis-check.ts';
export type { Refusal, Result } from './result.ts';
export type { AppOrigin, Schema } from './schema.ts';
export { createSealer, type Sealer } from './sealer.ts';
export { createSerials, type SerialSequence, type Serials } from './serials.ts';
export { StoreError, type StoreErrorCode } from './store-error.ts';
