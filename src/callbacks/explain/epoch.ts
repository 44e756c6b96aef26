import type { Db } from './events.ts';

/** The eight characters that names of events begin with, `cb_0a1b2c3d_17`. */
export interface Epoch {
  read(): Promise<string>;
}

export function createEpoch(db: Db): Epoch {
  let known: string | undefined;
  return {
    async read() {
      known ??= (await db.selectFrom('meta').select('store_epoch').executeTakeFirstOrThrow()).store_epoch
        .replaceAll('-', '')
        .slice(0, 8);
      return known;
    },
  };
}
