import { type Kysely, sql } from 'kysely';

/** How many purges of caches there have been, so that a process notices one that it was not told of (C14). */
export async function up(db: Kysely<unknown>): Promise<void> {
  // One row. Who purges raises the number and tells it in the same transaction; the row's lock makes the order of commits
  // that of the numbers, so a message whose number is not the next one says that one before it was missed.
  await sql`
    create table cache_generation (
      only_row boolean primary key default true check (only_row),
      generation bigint not null default 0 check (generation >= 0)
    )`.execute(db);
  await sql`insert into cache_generation default values`.execute(db);
}
