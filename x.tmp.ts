import { loadConfig, formatProblem, printConfig } from './src/server/config/index.ts';
const r = loadConfig({ file: process.argv[2], env: process.env });
console.log(r.ok ? printConfig(r.settings, r.sources) : r.problems.map(formatProblem).join('\n'));
