import { AppSchema, type AppSettings, type Result } from '../../store/index.ts';
import { checkValue } from './check.ts';
import { formatPath } from './problem.ts';

/** Reads one app's settings and fills defaults; or says what is wrong first. Shows no secret. Pure. */
export function checkApp(input: unknown): Result<AppSettings> {
  const { value, findings } = checkValue(AppSchema, input);
  const [first] = findings;
  if (first === undefined) return { ok: true, value: value as AppSettings };
  const { path, reason, allowed, nearest } = first;
  const hint = nearest === undefined ? reason : `${reason}; did you mean ${nearest}?`;
  return {
    ok: false,
    code: 'INVALID_FIELD',
    field: formatPath(path),
    reason: hint,
    ...(allowed === undefined ? {} : { allowed }),
  };
}
