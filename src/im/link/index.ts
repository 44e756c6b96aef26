export { isLinkUpgrade } from './entrance.ts';
export { createLinkEdge, type LinkEdge, type LinkEdgeDeps, type LinkEdgeOptions, type LinkTimes } from './link-edge.ts';
export type { VerifyLogin } from './login.ts';
