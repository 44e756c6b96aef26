import { parseDirectives, parseSeconds } from './directives.ts';
import { parseHttpDate } from './http-date.ts';
import { type RawFields, valuesOf } from './raw-fields.ts';

/** What the QAL extensions of a response say (C8–C10). Of several values the one that lasts longest holds. */
export interface QalFields {
  /** `QAL-Cache-Control: max-stale-age=N`, in seconds of age since the response. */
  readonly maxStaleAgeSec?: number;
  /** `QAL-Stale-Expires: date`, in milliseconds since the epoch. */
  readonly staleExpiresMs?: number;
  /** Names of fields with a value that says nothing, each once. */
  readonly malformed: readonly QalFieldName[];
}

export const qalFieldNames = ['QAL-Cache-Control', 'QAL-Stale-Expires'] as const;
export type QalFieldName = (typeof qalFieldNames)[number];

const none: QalFields = { malformed: [] };

export function parseQalFields(raw: RawFields, nowMs: number): QalFields {
  const controls = valuesOf(raw, 'qal-cache-control');
  const expires = valuesOf(raw, 'qal-stale-expires');
  if (controls.length === 0 && expires.length === 0) return none;
  const malformed = new Set<QalFieldName>();
  let maxStaleAgeSec: number | undefined;
  for (const value of controls) {
    const directives = parseDirectives(value);
    if (directives.length === 0) malformed.add('QAL-Cache-Control');
    for (const directive of directives) {
      // Directives that we do not know may belong to a newer release.
      if (directive.name !== 'max-stale-age') continue;
      const seconds = parseSeconds(directive.value);
      if (seconds === 'malformed') malformed.add('QAL-Cache-Control');
      else maxStaleAgeSec = Math.max(maxStaleAgeSec ?? 0, seconds);
    }
  }
  let staleExpiresMs: number | undefined;
  for (const value of expires) {
    const ms = parseHttpDate(value.replace(/^"(.*)"$/, '$1'), nowMs);
    if (ms === undefined) malformed.add('QAL-Stale-Expires');
    else staleExpiresMs = Math.max(staleExpiresMs ?? ms, ms);
  }
  return {
    ...(maxStaleAgeSec === undefined ? {} : { maxStaleAgeSec }),
    ...(staleExpiresMs === undefined ? {} : { staleExpiresMs }),
    malformed: [...malformed],
  };
}
