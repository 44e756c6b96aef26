/**
 * Runs Biome. Its main package cannot be locked here (docs/adr/0001), so its platform package is a dependency by itself
 * and brings no entry in node_modules/.bin.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const name = `@biomejs/cli-${process.platform}-${process.arch}`;
const binary = fileURLToPath(new URL(`../node_modules/${name}/biome`, import.meta.url));
if (!existsSync(binary)) {
  console.error(`qalgate: ${name} is not installed; formatting and linting work on Linux x64 and arm64 with glibc`);
  process.exit(1);
}
const { status, error } = spawnSync(binary, process.argv.slice(2), { stdio: 'inherit' });
if (error) console.error(`qalgate: ${binary}: ${error.message}`);
process.exit(status ?? 1);
