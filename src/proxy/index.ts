export type { Limits } from './limits.ts';
export { type AccessProxy, createProxy, type ProxyDeps, type ProxyOptions } from './proxy.ts';
