export { createLinkEdge, type LinkEdge, type LinkEdgeDeps, type LinkEdgeOptions } from './link-edge.ts';
export type { VerifyLogin } from './login.ts';
