import type { Case } from '../messages.ts';
import { age } from './age.ts';
import { cacheStatus } from './cache-status.ts';
import { conditions } from './conditions.ts';
import { directives } from './directives.ts';
import { freshness } from './freshness.ts';
import { headCases } from './head.ts';
import { heuristics } from './heuristics.ts';
import { invalidation } from './invalidation.ts';
import { keys } from './keys.ts';
import { messages } from './messages.ts';
import { qalExtensions, qalStoring } from './qal.ts';
import { ranges } from './ranges.ts';
import { requests } from './requests.ts';
import { sharing } from './sharing.ts';
import { staleIfError } from './stale-if-error.ts';
import { staleWhileRevalidate } from './stale-while-revalidate.ts';
import { statusCases } from './statuses.ts';
import { storing } from './storing.ts';
import { updates } from './updates.ts';
import { validation } from './validation.ts';
import { varying } from './vary.ts';

/** The whole table. */
export const cases: Case[] = [
  ...freshness,
  ...directives,
  ...age,
  ...heuristics,
  ...storing,
  ...messages,
  ...statusCases,
  ...keys,
  ...validation,
  ...updates,
  ...conditions,
  ...ranges,
  ...headCases,
  ...varying,
  ...requests,
  ...staleWhileRevalidate,
  ...staleIfError,
  ...qalExtensions,
  ...qalStoring,
  ...invalidation,
  ...sharing,
  ...cacheStatus,
];
