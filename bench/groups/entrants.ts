import { fileURLToPath } from 'node:url';
import { type Ejabberd, ejabberdName, startEjabberd } from '../c2c/ejabberd.ts';
import { startQalgate } from '../c2c/qalgate.ts';
import type { Entrant } from '../support/chat-contest.ts';
import { freePorts, portProblem, startProgram } from '../support/program.ts';
import { dependencyVersion } from '../support/stage.ts';
import type { BareServerOptions } from './bare-server.ts';
import { memberPrefix } from './room-terminal.ts';
import { roomHost } from './xmpp-room.ts';

/** The rate limit of groups is on, and out of reach; an administrator makes groups as fast as it can. */
const outOfReach = 100_000;
export const groupSettings = {
  groupRate: { perSec: outOfReach, normalPerSec: outOfReach, lowPerSec: outOfReach, lowestPerSec: outOfReach },
  commandPerSec: 0,
  appPerSec: 0,
};

/** The whole program with its embedded database. */
export const qalgate: Entrant = {
  name: 'qalgate',
  start: (stack) => startQalgate(stack, groupSettings),
};

/** See bare-server.ts. */
export const bare: Entrant = {
  name: `bare ws ${dependencyVersion('ws')}`,
  async start(stack) {
    const [port = 0] = await freePorts(1);
    const options: BareServerOptions = { port };
    const script = fileURLToPath(new URL('bare-server.ts', import.meta.url));
    const { cpuMicros, close } = await startProgram({
      file: process.execPath,
      args: [script, JSON.stringify(options)],
      problem: () => portProblem(port),
      folders: [],
    });
    stack.defer(close);
    return {
      load: { protocol: 'bare', port },
      cpuMicros: async () => ({ service: await cpuMicros(), database: 0 }),
    };
  },
};

/** Rooms that keep what is said in PostgreSQL before they hand it on; their members come and go unseen. */
const modules = `
  mod_muc:
    host: ${roomHost}
    access: all
    access_create: all
    access_persistent: all
    access_mam: all
    db_type: sql
    history_size: 0
    default_room_options: { persistent: true, mam: true, presence_broadcast: [] }
`;

export function ejabberdRooms(ejabberd: Ejabberd, setting: string, members: number): Entrant {
  return {
    name: ejabberdName(ejabberd, setting),
    async start(stack) {
      const accounts = [{ prefix: memberPrefix, count: members }];
      const { port, cpuMicros } = await startEjabberd(stack, ejabberd, {
        setting,
        accounts,
        modules: modules.slice(1),
      });
      return { load: { protocol: 'xmpp', port }, cpuMicros };
    },
  };
}
