import { connect, createServer } from 'node:net';
import type { AppSettings, InstanceFacts } from '../../store/index.ts';
import { readCertificate } from '../certificate.ts';
import { type Config, formatAddress, type Listen, upstreamAddress } from '../config/index.ts';
import type { Check } from './doctor-check.ts';

const connectMs = 2_000;
const probesAtOnce = 16;
const soonMs = 14 * 86_400_000;

/** Can each listener have its port, or does the running service have it? */
export async function checkListeners({ listen }: Config, running: InstanceFacts | undefined): Promise<Check[]> {
  return Promise.all(
    Object.entries(listen).map(async ([name, address]: [string, Listen]): Promise<Check> => {
      const check = `listen.${name}`;
      const where = formatAddress(address);
      const code = await tryListening(address);
      if (code === undefined) return { name: check, state: 'ok', detail: `${where} is free` };
      if (code === 'EADDRINUSE') {
        if (running?.use === 'serve') {
          return { name: check, state: 'ok', detail: `${where} is in use, and the service runs (pid ${running.pid})` };
        }
        const remedy = 'fine if that is this service; else stop the other program or choose another port';
        return { name: check, state: running === undefined ? 'warn' : 'fail', detail: `${where} is in use`, remedy };
      }
      const remedies: Record<string, string> = {
        EACCES: 'choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE',
        EADDRNOTAVAIL: 'choose an address that this machine has',
      };
      const remedy = remedies[code] ?? `correct ${check}`;
      return { name: check, state: 'fail', detail: `${where} cannot be listened on (${code})`, remedy };
    }),
  );
}

function tryListening({ host, port }: Listen): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

/** Certificates: readable, belonging to their keys, not expired. */
export async function checkTls({ listen }: Config): Promise<Check[]> {
  const found = await Promise.all(
    Object.entries(listen).map(async ([listener, { tls }]: [string, Listen]): Promise<Check[]> => {
      if (tls === undefined) return [];
      const name = `tls ${listener}`;
      const certificate = await readCertificate(tls);
      if (!certificate.ok)
        return [{ name, state: 'fail', detail: certificate.reason, remedy: `correct listen.${listener}.tls` }];
      const { notAfter } = certificate.value;
      const leftMs = notAfter.getTime() - Date.now();
      const remedy = `renew ${tls.certFile}; the service reads it again by itself`;
      if (leftMs <= 0) return [{ name, state: 'fail', detail: `expired on ${notAfter.toISOString()}`, remedy }];
      const detail = `valid until ${notAfter.toISOString()}`;
      return [leftMs < soonMs ? { name, state: 'warn', detail, remedy } : { name, state: 'ok', detail }];
    }),
  );
  return found.flat();
}

/** Does each upstream accept a connection? A backend that is down is a warning: it may start later. */
export async function checkUpstreams(apps: AppSettings[]): Promise<Check[]> {
  const owners = new Map(
    apps.flatMap((app) =>
      app.access.routes.flatMap(({ upstream }) => upstream.map((origin) => [origin, app.sdkAppId] as const)),
    ),
  );
  const queue = [...owners];
  const checks: Check[] = [];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [origin, sdkAppId] = next;
      const reason = await tryConnecting(origin);
      const detail = `${origin} of app ${sdkAppId}`;
      if (reason === undefined) checks.push({ name: 'upstream', state: 'ok', detail: `${detail} accepts connections` });
      else {
        const remedy = "start the app's backend, or correct the route";
        checks.push({ name: 'upstream', state: 'warn', detail: `${detail} does not answer (${reason})`, remedy });
      }
    }
  };
  await Promise.all(Array.from({ length: probesAtOnce }, work));
  return checks;
}

function tryConnecting(origin: string): Promise<string | undefined> {
  const address = upstreamAddress(origin);
  if (address === undefined) return Promise.resolve('no URL');
  return new Promise((resolve) => {
    const socket = connect({ ...address, timeout: connectMs });
    const finish = (reason?: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reason);
    };
    // Unlike the socket's own time-out this one covers the look-up of the name too.
    const timer = setTimeout(() => finish(`nothing within ${connectMs} ms`), connectMs);
    socket.once('connect', () => finish());
    socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
  });
}
