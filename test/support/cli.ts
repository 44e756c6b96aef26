import { runCli } from '../../src/server/cli/run-cli.ts';

/** Runs a command in this process. Of the environment it gets only what is given. */
export async function runInProcess(args: string[], env: Record<string, string> = {}, input = '') {
  const lines = { stdout: '', stderr: '' };
  const code = await runCli(args, {
    env,
    print: (line) => {
      lines.stdout += `${line}\n`;
    },
    warn: (line) => {
      lines.stderr += `${line}\n`;
    },
    readInput: async () => input,
  });
  return { code, ...lines };
}
