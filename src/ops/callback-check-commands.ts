import type { CallbackChecks } from '../callbacks/index.ts';
import type { AppSettings, AppStore, Result } from '../store/index.ts';
import type { Handle } from './answer.ts';
import { findApp } from './app-lookup.ts';
import type { Asking } from './database-away.ts';

export interface CallbackCheckCommandDeps {
  apps: AppStore;
  callbackChecks: CallbackChecks;
  asking: Asking;
}

export interface CallbackCheckCommands {
  verify: Handle;
  test: Handle;
}

/**
 * The commands with which developers of backends find out what is wrong. Both are the operator's: a dry run shows what was sent, a test
 * sends something in the name of the app.
 */
export function createCallbackCheckCommands(deps: CallbackCheckCommandDeps): CallbackCheckCommands {
  const { apps, callbackChecks, asking } = deps;
  const of = (check: (app: AppSettings, input: unknown) => Promise<Result<object>>): Handle =>
    asking(async ({ sdkAppId, body }) => {
      const found = await findApp(apps, sdkAppId);
      if (!found.ok) return found;
      const checked = await check(found.value.settings, body);
      return checked.ok ? { ok: true, value: { status: 200, body: checked.value } } : checked;
    });
  return { verify: of(callbackChecks.verify), test: of(callbackChecks.test) };
}
