export { type Config, loadConfig, type Role, roles } from './config/index.ts';
export { runUntilSignal } from './life-cycle.ts';
export { type RunningServer, type ServeOptions, startServer } from './serve.ts';
