export { commands } from './commands.ts';
export { referencePage } from './reference-page.ts';
export { createRestEdge, type RestEdge, type RestEdgeDeps, type RestEdgeOptions } from './rest-edge.ts';
