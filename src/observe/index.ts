export { auditTarget, changeText } from './audit-text.ts';
export {
  createProcessMetrics,
  type EventLoopDelay,
  type ProcessMetrics,
  type ProcessMetricsOptions,
} from './event-loop.ts';
export {
  type CheckState,
  createHealth,
  type Health,
  type HealthCheck,
  type HealthDeps,
  type HealthReporter,
} from './health.ts';
export { createLogger, type Logger, type LoggerOptions, type LogLevel, logLevels } from './logger.ts';
export { createMetrics, type Metrics } from './metrics.ts';
