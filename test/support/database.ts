import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { createLogger, createMetrics, type Logger, type Metrics } from '../../src/observe/index.ts';
import { type OpenedDatabase, openDatabase } from '../../src/store/index.ts';

export interface TestDatabase {
  db: OpenedDatabase;
  dataDir: string;
  logger: Logger;
  metrics: Metrics;
  /** Events that were logged so far, at level debug and up. */
  events: string[];
}

/** A data directory of its own, removed after the test. Its path has a space in it, as users' have. */
export async function makeDataDir(t: Test): Promise<string> {
  const parent = await mkdtemp(path.join(tmpdir(), 'qalgate test '));
  t.teardown(() => rm(parent, { recursive: true, force: true }));
  return path.join(parent, 'data');
}

/** A logger that keeps event names instead of printing. */
export function makeTestLogger(): { logger: Logger; events: string[] } {
  const events: string[] = [];
  const write = (line: string) => {
    events.push(String((JSON.parse(line) as { event?: unknown }).event));
  };
  return { logger: createLogger({ level: 'debug', destination: { write } }), events };
}

/**
 * A real embedded PostgreSQL with the newest schema in a temporary directory, stopped and removed after `t`. It takes about a second:
 * one for a test file, shared by its tests.
 */
export async function openTestDatabase(t: Test): Promise<TestDatabase> {
  const dataDir = await makeDataDir(t);
  const { logger, events } = makeTestLogger();
  const metrics = createMetrics();
  const db = await openDatabase({ logger, metrics }, { dataDir, database: 'embedded', use: 'serve' });
  t.teardown(() => db.close());
  return { db, dataDir, logger, metrics, events };
}

/** Waits until `check` gives something other than undefined or false; fails after `limitMs`. */
export async function until<T>(
  check: () => T | undefined | false | Promise<T | undefined | false>,
  limitMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`the condition did not come true within ${limitMs} ms: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
