import type { Test } from 'tap';
import type { Database } from '../../src/store/index.ts';
import type { TestIm } from './im.ts';

/** A request that must be refused: `valid` with this change, the number, and the field that ErrorInfo must begin with. */
export type Refusal = readonly [change: object, code: number, field: string];

const tables = ['account', 'conversation', 'conversation_day', 'member', 'message', 'dirty_word', 'session_revocation'];

/** A fingerprint of everything that commands can change. */
export async function snapshot(db: Database): Promise<string> {
  const sums = tables.map(
    (table) => `(select coalesce(md5(string_agg(x::text, '|' order by x::text)), '') from ${table} x)`,
  );
  const { rows } = await db.pool.query<{ sum: string }>(`select concat_ws('/', ${sums.join(', ')}) as sum`);
  return rows[0]?.sum ?? '';
}

/** Each change of a valid request is refused with its number and names its field, and none changes anything. */
export async function refuses(
  t: Test,
  service: Pick<TestIm, 'call' | 'db'>,
  command: string,
  valid: object,
  refusals: readonly Refusal[],
): Promise<void> {
  const before = await snapshot(service.db);
  for (const [change, code, field] of refusals) {
    const answer = await service.call(command, { ...valid, ...change });
    const shown = `${command} ${JSON.stringify(change, (_, value) => (value === undefined ? 'absent' : value)).slice(0, 120)}`;
    t.match(answer, { ActionStatus: 'FAIL', ErrorCode: code, ErrorInfo: new RegExp(`^${literally(field)}: `) }, shown);
  }
  t.equal(await snapshot(service.db), before, `${command}: nothing was changed`);
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

export const ok = { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' };

export function text(content: string) {
  return { MsgType: 'TIMTextElem', MsgContent: { Text: content } };
}

/** A name of 32 bytes, and one of 33. */
export const longestName = 'é'.repeat(16);
export const tooLongName = `${longestName}x`;
