/**
 * The app's backend, a process of its own: does everything wrong that one can, by the path, and says when each question had come.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createBackend, createFaultServer, type Fault, faults } from '../../test/support/fault-server.ts';
import { serveParent } from '../../test/support/measured-process.ts';
import { machineClockOffsetMs } from './machine-clock.ts';

export interface BackendStarted {
  /** By fault; over https where it has to do with that. */
  urls: Record<Fault, string>;
  /** `good`, over https. */
  httpsUrl: string;
  /** As `good`, after 1 to 20 ms. */
  thinkingUrl: string;
  /** PEM; vouches for it. */
  ca: string;
}

/** When each question was answered, by its MsgKey, since this was asked last; by the machine's clock. */
export type Heard = Record<string, number>;

const overHttps: readonly Fault[] = ['slow-tls', 'no-tls', 'bad-certificate', 'wrong-host', 'expired'];
const answered = new Map<string, number>();
const note = (key: unknown, atMs: number): void => void answered.set(String(key), atMs + machineClockOffsetMs);
const thinking = await createBackend({ teardown: () => {} }, async ({ json }) => {
  await sleep(1 + Math.random() * 19);
  note(json.MsgKey, performance.now());
  return {};
});
const server = await createFaultServer({ teardown: () => {} });
const urls = faults.map((fault) => [fault, server.url(fault, overHttps.includes(fault) ? 'https' : 'http')]);
const started: BackendStarted = {
  urls: Object.fromEntries(urls) as BackendStarted['urls'],
  httpsUrl: server.url('good', 'https'),
  thinkingUrl: `${thinking.url}/`,
  ca: server.ca,
};
serveParent(started, async () => {
  // The other one answers in the turn in which the question is there.
  for (const { json, atMs } of server.requests.splice(0)) note(json.MsgKey, atMs);
  thinking.requests.length = 0;
  const heard: Heard = Object.fromEntries(answered);
  answered.clear();
  return heard;
});
