import type { Db } from './events.ts';
import type { EventName } from './fields.ts';

/** The eight characters that names of events begin with, `cb_0a1b2c3d_17`. */
export interface Epoch {
  read(): Promise<string>;
  /** Whether the name is of an event of this database: the number alone may be another event's elsewhere, or before a restore. */
  isOurs(name: EventName): Promise<boolean>;
}

export function createEpoch(db: Db): Epoch {
  let known: string | undefined;
  async function read(): Promise<string> {
    known ??= (await db.selectFrom('meta').select('store_epoch').executeTakeFirstOrThrow()).store_epoch
      .replaceAll('-', '')
      .slice(0, 8);
    return known;
  }
  return { read, isOurs: async ({ epoch }) => epoch === undefined || epoch === (await read()) };
}
