import { accessSync, constants } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { nginxVersion, startNginx } from '../support/nginx.ts';
import { versionOf } from '../support/program.ts';
import type { StartEntrant } from './entrant.ts';

/** How a hit's bytes get from the file to the socket. Without tcp_nopush: hits of 100 KB stall with it. */
const outputs = {
  sendfile: 'sendfile on;',
  // In one piece: with the usual buffers a hit of 100 KB costs half as much again.
  'no sendfile': 'sendfile off; output_buffers 1 128k;',
};

/** Spares a hit opening its file. */
const fileCaches = {
  '': 'open_file_cache off;',
  ', files kept open': 'open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h;',
};

/** nginx keeps answers in files: in memory where there is a tmpfs for all, on disk (that is, in the page cache) otherwise. */
export const startNginxCache: StartEntrant = async (file, originPort, stack) => {
  const places = { tmpfs: '/dev/shm', disk: tmpdir() };
  const folders: Record<string, string> = {};
  for (const [place, parent] of Object.entries(places)) {
    if (isWritable(parent)) folders[place] = await mkdtemp(path.join(parent, 'qalgate-bench-'));
  }
  const settings = Object.keys(folders).flatMap((place) =>
    Object.entries(outputs).flatMap(([output, outputLines]) =>
      Object.entries(fileCaches).map(([fileCache, fileCacheLines]) => ({
        name: `${place}, ${output}${fileCache}`,
        lines: `proxy_cache ${place}; ${outputLines} ${fileCacheLines}`,
      })),
    ),
  );
  const { ports, cpuMicros, close } = await startNginx({
    file,
    originPort,
    http: Object.entries(folders)
      .map(
        ([place, folder]) =>
          `proxy_cache_path ${folder} levels=1:2 keys_zone=${place}:1m max_size=64m inactive=1h use_temp_path=off;`,
      )
      .join('\n    '),
    locations: settings.map(({ lines }) => lines),
    caching: 'cacheable',
    folders: Object.values(folders),
  });
  stack.defer(close);
  return {
    name: `nginx ${await versionOf(file, nginxVersion.arg, nginxVersion.pattern)}`,
    settings: settings.map(({ name }, n) => ({ name, port: ports[n] ?? 0, cpuMicros })),
  };
};

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
