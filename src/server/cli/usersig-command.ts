import { Command, Option } from 'commander';
import { signUserSig } from '../../auth/index.ts';
import { appSecrets } from '../../store/index.ts';
import type { AccountId, SdkAppId } from '../../wire/index.ts';
import { parseAccount, parseAppNumber, parseDurationSec } from './arguments.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';
import { findApp } from './open-store.ts';

interface UserSigOptions extends ConfigOption {
  app: SdkAppId;
  expire: number;
}

export function userSigCommand(context: CliContext): Command {
  return withConfig(new Command('usersig'))
    .description('Make a UserSig, with which an account logs in to an app.')
    .argument('<identifier>', 'the account', parseAccount)
    .requiredOption('-a, --app <number>', 'the app, of the configuration or the database', parseAppNumber)
    .addOption(
      new Option('-e, --expire <duration>', 'how long it holds, such as 90s, 30m, 12h or 7d')
        .argParser(parseDurationSec)
        .default(parseDurationSec('180d'), '180d'),
    )
    .addHelpText('after', '\nExample:\n  $ qalgate usersig alice --app 1400000000 --expire 7d')
    .action(async (identifier: AccountId, options: UserSigOptions) => {
      const loaded = loadOrFail(context, options);
      const app = await findApp(context, loaded, options);
      const [secret] = appSecrets(app);
      if (secret === undefined) throw new Error(`app ${app.sdkAppId} has no secret`);
      const issuedAtSec = Math.floor(Date.now() / 1_000);
      context.print(
        signUserSig({ sdkAppId: app.sdkAppId, identifier, secret, expireSec: options.expire, issuedAtSec }),
      );
    });
}
