import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LinkApp } from '../support/chat-load.ts';
import { familyCpuMicros } from '../support/process-figures.ts';
import { freePorts, portProblem, startProgram } from '../support/program.ts';
import { memoryBytesOfNode } from './node-memory.ts';
import type { ChatEntrant, ChatPeer } from './peer.ts';

const app: LinkApp = { sdkAppId: 1_400_000_000, secret: 'the key of the benchmark, no secret' };

/** The whole program with its embedded database, as `npm start` runs it, everything of messaging switched on. */
export const qalgate: ChatEntrant = { name: 'qalgate', start: (stack) => startQalgate(stack) };

export interface StartedQalgate extends ChatPeer {
  port: number;
  app: LinkApp;
}

/**
 * @param stack ends what was started
 * @param im of the app, besides what stands below
 */
export async function startQalgate(stack: AsyncDisposableStack, im: object = {}): Promise<StartedQalgate> {
  const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  const [link = 0, access = 0, ops = 0, inspectPort = 0] = await freePorts(4);
  const words = path.join(folder, 'words.txt');
  await writeFile(words, Array.from({ length: 1_000 }, (_, n) => `dirty word ${n}\n`).join(''));
  const configuration = path.join(folder, 'qalgate.yaml');
  await writeFile(configuration, JSON.stringify(configurationOf({ folder, words, im: link, access, ops }, im)), {
    mode: 0o600,
  });
  const main = fileURLToPath(new URL('../../src/server/main.ts', import.meta.url));
  const { pid, cpuMicros, close } = await startProgram({
    file: process.execPath,
    args: [`--inspect-port=${inspectPort}`, main, 'serve', '--config', configuration],
    urls: [`http://127.0.0.1:${ops}/readyz`],
    problem: () => portProblem(link),
    folders: [folder],
    quiet: /ebugger|For help, see/,
  });
  stack.defer(close);
  const database = Number.parseInt(await readFile(path.join(folder, 'data', 'pg', 'postmaster.pid'), 'utf8'), 10);
  return {
    port: link,
    app,
    load: { protocol: 'link', port: link, app },
    cpuMicros: async () => ({ service: await cpuMicros(), database: await familyCpuMicros(database) }),
    memoryBytes: () => memoryBytesOfNode(pid, inspectPort),
  };
}

interface Places {
  folder: string;
  words: string;
  im: number;
  access: number;
  ops: number;
}

/** JSON is YAML. */
function configurationOf({ folder, words, im, access, ops }: Places, more: object): object {
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
          ...more,
        },
      },
    ],
  };
}
