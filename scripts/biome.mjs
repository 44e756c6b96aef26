/**
 * Runs Biome from the package with the binary of this platform. The main package, which would bring a command, is no
 * dependency: `npm ci` refuses its lock entries where the registry lacks some of its other platforms.
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
