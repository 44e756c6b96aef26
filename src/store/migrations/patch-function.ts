import { type Kysely, sql } from 'kysely';

/**
 * Makes a function of the database out of its newest version, the one with the most arguments, by replacing texts each of which stands in it
 * exactly once. For migrations that change a little of a long function.
 */
export async function patchFunction(
  db: Kysely<unknown>,
  name: string,
  changes: readonly (readonly [string, string])[],
): Promise<void> {
  const { rows } = await sql<{ text: string }>`
    select pg_get_functiondef(oid) as text from pg_proc where proname = ${name} order by pronargs desc limit 1`.execute(
    db,
  );
  let text = rows[0]?.text ?? '';
  for (const [from, to] of changes) {
    if (text.split(from).length !== 2) throw new Error(`${name} does not hold ${JSON.stringify(from)} once`);
    text = text.replace(from, () => to);
  }
  await sql.raw(text).execute(db);
}
