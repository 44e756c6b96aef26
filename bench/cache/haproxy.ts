import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Peer } from '../support/contest.ts';
import { requestPath } from '../support/exchange-bytes.ts';
import { freePorts, startProgram, versionOf } from '../support/program.ts';
import type { StartEntrant } from './entrant.ts';

/** HAProxy copies a hit from its memory through buffers of this size. */
const buffersBytes = [16_384, 65_536];

/** A process for each size of buffers: it is set for all. */
export const startHaproxyCache: StartEntrant = async (file, originPort, stack) => {
  const settings: Peer[] = [];
  for (const bufferBytes of buffersBytes) {
    const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
    const [port = 0] = await freePorts(1);
    const configuration = path.join(folder, 'haproxy.cfg');
    await writeFile(
      configuration,
      `global
  nbthread 1
  maxconn 1024
  tune.bufsize ${bufferBytes}
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
cache answers
  total-max-size 64
  max-object-size 1048576
  max-age 3600
frontend access
  bind 127.0.0.1:${port}
  http-request cache-use answers
  http-response cache-store answers
  default_backend origin
backend origin
  server origin 127.0.0.1:${originPort}
`,
    );
    const { cpuMicros, close } = await startProgram({
      file,
      args: ['-db', '-q', '-f', configuration],
      urls: [`http://127.0.0.1:${port}${requestPath('cacheable', 1_024)}`],
      folders: [folder],
    });
    stack.defer(close);
    settings.push({ name: `buffers of ${bufferBytes / 1_024} KB`, port, cpuMicros });
  }
  return { name: `HAProxy ${await versionOf(file, '-v', /HAProxy version ([0-9.]+)/)}`, settings };
};
