import { createMetrics } from '../../observe/index.ts';
import { type AppSettings, askInstance, type InstanceFacts, openDatabase } from '../../store/index.ts';
import { type CliContext, type ConfigOption, commandLogger, type Loaded } from './context.ts';
