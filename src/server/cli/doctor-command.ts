import { Command } from 'commander';
import { formatProblem, loadConfig } from '../config/index.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, type Loaded, withConfig } from './context.ts';
import type { Check } from './doctor-check.ts';
import { checkClock, checkDatabase } from './doctor-database.ts';
import { checkData, checkDisk, checkMasterKey, checkNode, checkOpenFiles } from './doctor-machine.ts';
import { checkListeners, checkTls, checkUpstreams } from './doctor-network.ts';
import { checkRedis } from './doctor-redis.ts';
import { exitCodes } from './exit-codes.ts';

export function doctorCommand(context: CliContext): Command {
  return withConfig(new Command('doctor'))
    .description(
      'Check what the service needs: Node, configuration, data folder, database, Redis, keys, listeners, certificates, upstreams, clock, disk.',
    )
    .option('--json', 'answer in JSON')
    .addHelpText(
      'after',
      '\nWorks while the service runs, and while it does not: then it starts the embedded database for a moment.\nExits 1 when a check fails.\n\nExample:\n  $ qalgate doctor --config /etc/qalgate.yaml',
    )
    .action(async (options: ConfigOption & { json?: true }) => {
      const checks = await examine(context, options);
      if (options.json) context.print(JSON.stringify(checks, undefined, 2));
      else context.print(checks.map(formatCheck).join('\n'));
      const failed = checks.filter(({ state }) => state === 'fail').length;
      if (failed > 0) throw new CliError(exitCodes.failed, failed === 1 ? '1 check failed' : `${failed} checks failed`);
    });
}

async function examine(context: CliContext, options: ConfigOption): Promise<Check[]> {
  const result = loadConfig({ file: options.config, env: context.env });
  const node = checkNode(process.versions.node);
  if (!result.ok) {
    const remedy = 'correct it; `qalgate config check` shows the same list';
    return [
      node,
      ...result.problems.map(
        (problem): Check => ({ name: 'configuration', state: 'fail', detail: formatProblem(problem), remedy }),
      ),
    ];
  }
  const loaded: Loaded = result;
  const { config } = loaded;
  const database = await checkDatabase(context, loaded, options);
  const apps = [...new Map([...database.apps, ...config.apps].map((app) => [app.sdkAppId, app])).values()];
  const rest = await Promise.all([
    checkRedis(config),
    checkData(config),
    checkMasterKey(config),
    checkListeners(config, database.running),
    checkTls(config),
    checkUpstreams(apps),
    checkDisk(config),
    checkOpenFiles(config),
  ]);
  return [
    node,
    { name: 'configuration', state: 'ok', detail: loaded.file ?? 'no file, defaults and environment' },
    database.check,
    ...rest.flat(),
    checkClock(Date.now(), database.skewMs),
  ];
}

function formatCheck(check: Check): string {
  const line = `${check.state.padEnd(4)}  ${check.name.padEnd(13)}  ${check.detail}`;
  return check.remedy === undefined ? line : `${line}\n      ${''.padEnd(13)}  -> ${check.remedy}`;
}
