/** Our client as in the program, with provider tokens from the database, a process of its own. */

import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { createProviderTokens } from '../../src/push/apns/index.ts';
import { createApnsSender } from '../../src/push/apns/sender.ts';
import { connectDatabase } from '../../src/store/connection.ts';
import { createSealer } from '../../src/store/index.ts';
import { storeMetrics } from '../../src/store/metrics.ts';
import { migrateSchema } from '../../src/store/migrations.ts';
import { parentOptions } from '../../test/support/measured-process.ts';
import type { BenchDatabase } from '../support/database.ts';
import { pushOf, topic } from './pushes.ts';
import { type SenderOptions, serveSender } from './sender.ts';

const { url, credentials, caFile, database } = parentOptions<SenderOptions & { database: BenchDatabase['target'] }>();
const logger = createLogger({ level: 'error' });
const metrics = createMetrics();
const db = connectDatabase({ logger, metrics: storeMetrics(metrics) }, database);
await migrateSchema(db.kysely, { logger });
const clock = Date.now;
const tokens = createProviderTokens({ db, sealer: createSealer([Buffer.alloc(32, 7)]), clock, logger, metrics });
const sender = createApnsSender(
  { tokens, clock, random: Math.random, logger, metrics },
  { ...credentials, topic, endpoint: url, sandboxEndpoint: url, caFile, connections: 1 },
);

serveSender(async (device) => {
  const { token, collapseId, payload } = pushOf(device);
  const outcome = await sender.send({
    token,
    environment: 'production',
    headers: {
      'apns-topic': topic,
      'apns-push-type': 'alert',
      'apns-priority': '10',
      'apns-collapse-id': collapseId,
    },
    body: JSON.stringify(payload),
  });
  if (outcome.kind === 'ok') return { ok: true };
  if (outcome.kind !== 'retry') return { ok: false, reason: outcome.reason };
  return { ok: false, reason: outcome.reason, afterMs: outcome.afterMs };
});
