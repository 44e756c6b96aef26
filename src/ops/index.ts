export { purgedOf } from './audit.ts';
export type { OpsToken } from './identity.ts';
export { createOps, type Ops, type OpsDeps, type OpsOptions } from './ops.ts';
