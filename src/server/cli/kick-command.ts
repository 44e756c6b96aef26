import { Command } from 'commander';
import { createRevocations } from '../../auth/index.ts';
import { auditTarget } from '../../observe/index.ts';
import type { AccountId, SdkAppId } from '../../wire/index.ts';
import { audited } from '../command-audit.ts';
import { parseAccount, parseAppNumber } from './arguments.ts';
import { actorOf } from './callbacks-store.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';
import { requireApp, withStore } from './open-store.ts';

export function kickCommand(context: CliContext): Command {
  return withConfig(new Command('kick'))
    .description("End an account's sessions on every process, and make each UserSig issued until now invalid.")
    .argument('<account>', 'the account', parseAccount)
    .requiredOption('-a, --app <number>', 'the app', parseAppNumber)
    .addHelpText('after', '\nExample:\n  $ qalgate kick alice --app 1400000000')
    .action(async (account: AccountId, options: ConfigOption & { app: SdkAppId }) => {
      const loaded = loadOrFail(context, options);
      await withStore(context, loaded, options, async ({ db, bus, apps, logger, metrics }) => {
        await requireApp(loaded, apps, options.app);
        const revocations = await createRevocations(
          { db, bus, clock: () => Date.now(), logger, metrics },
          { sessionLifetimeMs: loaded.config.sessions.lifetimeSec * 1_000 },
        );
        try {
          const change = {
            actor: actorOf(context),
            command: 'ops.session.kick',
            target: auditTarget([options.app, account]),
          };
          await audited(bus, change, () => revocations.revokeAccount(options.app, account));
        } finally {
          await revocations.close();
        }
      });
      context.print(`${account} of app ${options.app} is kicked`);
    });
}
