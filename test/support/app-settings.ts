import { checkApp } from '../../src/server/config/index.ts';
import type { AppSettings } from '../../src/store/index.ts';

/** Settings of an app as the program would have them: what is not given has its default. Throws what is wrong with them. */
export function completeApp(app: object): AppSettings {
  const checked = checkApp(app);
  if (!checked.ok) throw new Error(`the test's app: ${checked.field} ${checked.reason}`);
  return checked.value;
}
