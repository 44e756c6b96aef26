export type { Limits } from './limits.ts';
export { createProxy, type Proxy, type ProxyDeps, type ProxyOptions } from './proxy.ts';
