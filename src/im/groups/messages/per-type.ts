import type { AppSettings } from '../../../store/index.ts';

/**
 * Remembers what follows from an app's settings for a type of groups, as long as they are the same object: settings are another one as soon
 * as something in them is.
 */
export function perType<T>(make: (app: AppSettings, type: string) => T): (app: AppSettings, type: string) => T {
  const known = new WeakMap<AppSettings, Map<string, T>>();
  return (app, type) => {
    let types = known.get(app);
    if (types === undefined) {
      types = new Map();
      known.set(app, types);
    }
    let made = types.get(type);
    if (made === undefined) {
      made = make(app, type);
      types.set(type, made);
    }
    return made;
  };
}
