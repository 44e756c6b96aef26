import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { familyCpuMicros } from '../support/process-figures.ts';
import { freePorts, portProblem, startProgram } from '../support/program.ts';
import { memoryBytesOfNode } from './node-memory.ts';
import type { ChatEntrant } from './peer.ts';

const app = { sdkAppId: 1_400_000_000, secret: 'the key of the benchmark, no secret' };

/** The whole program with its embedded database, as `npm start` runs it, everything of messaging switched on. */
export const qalgate: ChatEntrant = {
  name: 'qalgate',
  async start(stack) {
    const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
    const [im = 0, access = 0, ops = 0, inspectPort = 0] = await freePorts(4);
    const words = path.join(folder, 'words.txt');
    await writeFile(words, Array.from({ length: 1_000 }, (_, n) => `dirty word ${n}\n`).join(''));
    const configuration = path.join(folder, 'qalgate.yaml');
    await writeFile(configuration, JSON.stringify(configurationOf({ folder, words, im, access, ops })), {
      mode: 0o600,
    });
    const main = fileURLToPath(new URL('../../src/server/main.ts', import.meta.url));
    const { pid, cpuMicros, close } = await startProgram({
      file: process.execPath,
      args: [`--inspect-port=${inspectPort}`, main, 'serve', '--config', configuration],
      urls: [`http://127.0.0.1:${ops}/readyz`],
      problem: () => portProblem(im),
      folders: [folder],
      quiet: /ebugger|For help, see/,
    });
    stack.defer(close);
    const database = Number.parseInt(await readFile(path.join(folder, 'data', 'pg', 'postmaster.pid'), 'utf8'), 10);
    return {
      load: { protocol: 'link', port: im, app },
      cpuMicros: async () => ({ service: await cpuMicros(), database: await familyCpuMicros(database) }),
      memoryBytes: () => memoryBytesOfNode(pid, inspectPort),
    };
  },
};

interface Places {
  folder: string;
  words: string;
  im: number;
  access: number;
  ops: number;
}

/** JSON is YAML. */
function configurationOf({ folder, words, im, access, ops }: Places): object {
  const at = (port: number): string => `127.0.0.1:${port}`;
  return {
    data: path.join(folder, 'data'),
    listen: { access: at(access), im: at(im), ops: at(ops) },
    // The load comes from one address, and a sender as fast as it is answered is no flood here.
    im: {
      connectionsPerAddress: 0,
      linksPerAddress: 0,
      framesPerSec: 100_000,
      wordLists: [{ category: 'bench', wordsFile: words }],
    },
    shutdown: { graceMs: 0 },
    apps: [
      {
        ...app,
        im: {
          wordLists: ['bench'],
          checkedCustomFields: ['Desc', 'Ext', 'Data'],
          profileFields: [{ keyword: 'Level' }],
        },
      },
    ],
  };
}
