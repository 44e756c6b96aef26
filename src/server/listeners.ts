import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Counter, Gauge } from 'prom-client';
import type { Logger, Metrics } from '../observe/index.ts';
import { type CertificateFiles, type CertificateWatch, readCertificate, watchCertificate } from './certificate.ts';
import { type CloseCounts, createOpenConnections, type OpenConnections } from './open-connections.ts';

/** What handles a listener's traffic; names are those of the events of `http.Server`. */
export interface ListenerHandlers {
  request: http.RequestListener;
  /** Without it a request to upgrade is an ordinary request. */
  upgrade?(request: http.IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Without it the socket of a CONNECT request is closed. */
  connect?(request: http.IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Without it Node answers `Expect: 100-continue` by itself. */
  checkContinue?: http.RequestListener;
  /** Without it Node answers any other expectation 417. */
  checkExpectation?: http.RequestListener;
  /** Bytes that are no HTTP request, or a request that came too slowly. */
  clientError?(error: Error & { code?: string }, socket: Duplex): void;
  /** Each accepted TCP connection, before TLS and before its first byte is read; may destroy it. For limits. */
  connection?(socket: Socket): void;
  /** How much had been read of a connection when it was last answered without a response of Node's; default 0. */
  bytesAnswered?(socket: Socket): number;
}

export interface ListenerOptions {
  /** Name in the configuration, logs and metrics: access, im or ops. */
  name: string;
  /** Port 0 takes any free one. */
  address: { host: string; port: number };
  /** Serve https with this certificate, read again whenever the files change. */
  tls?: CertificateFiles;
  handlers: ListenerHandlers;
  /** Limits and time-outs of the HTTP parser, and the classes of request and response. */
  server?: http.ServerOptions;
  /** Longest TLS handshake; default 10,000. */
  tlsHandshakeTimeoutMs?: number;
  /** Pause between two looks at the certificate files; default 5,000. */
  tlsReloadIntervalMs?: number;
}

export interface Listener {
  readonly name: string;
  /** Where it really listens. */
  readonly address: { host: string; port: number };
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  readonly server: http.Server | https.Server;
  /** Has a stream that belongs to this listener's traffic (the far leg of an upgrade) end with it at the latest. */
  trackSocket(socket: Duplex): void;
  /**
   * Stops accepting and closes idle connections at once. Requests in progress finish, their connections close behind them;
   * what is left after `graceMs` is cut. Called again it can only shorten the grace. Resolves when nothing is open.
   */
  close(graceMs: number): Promise<CloseCounts>;
}

/** The metrics that all listeners of a process share. */
export interface ListenerMetrics {
  notAfter: Gauge<'listener'>;
  reloads: Counter<'listener' | 'outcome'>;
  handshakeFailures: Counter<'listener'>;
}

/** Registers the listeners' metrics; once a registry. */
export function createListenerMetrics(metrics: Metrics): ListenerMetrics {
  return {
    notAfter: metrics.gauge('qalgate_server_tls_not_after_seconds', 'Unix time at which the certificate expires', [
      'listener',
    ]),
    reloads: metrics.counter('qalgate_server_tls_reloads_total', 'Changed certificate files: loaded, failed', [
      'listener',
      'outcome',
    ]),
    handshakeFailures: metrics.counter(
      'qalgate_server_tls_handshake_failures_total',
      'TLS handshakes that failed or took too long',
      ['listener'],
    ),
  };
}

/**
 * Opens one listener, http or https.
 * @throws Error that names listener, address, reason and remedy when it cannot listen or the certificate cannot be used.
 */
export async function openListener(
  { logger, metrics }: { logger: Logger; metrics: ListenerMetrics },
  options: ListenerOptions,
): Promise<Listener> {
  const { name, handlers } = options;
  const { server, watch } = options.tls === undefined ? plainServer(options) : await tlsServer(options.tls);
  const connections = createOpenConnections(server, handlers.bytesAnswered);
  attach(server, handlers, connections);

  async function tlsServer(files: CertificateFiles): Promise<{ server: https.Server; watch: CertificateWatch }> {
    const first = await readCertificate(files);
    if (!first.ok) throw new Error(`listener ${name}: tls ${first.reason}; correct listen.${name}.tls`);
    const server = https.createServer({
      ...options.server,
      ...first.value.context,
      handshakeTimeout: options.tlsHandshakeTimeoutMs ?? 10_000,
    });
    server.on('tlsClientError', (_error, socket) => {
      metrics.handshakeFailures.inc({ listener: name });
      socket.destroy();
    });
    const tellExpiry = (notAfter: Date) => {
      metrics.notAfter.set({ listener: name }, Math.floor(notAfter.getTime() / 1_000));
      if (notAfter.getTime() < Date.now()) logger.warn({ listener: name, notAfter }, 'tls.certificate.expired');
    };
    tellExpiry(first.value.notAfter);
    const watch = watchCertificate(files, first.value, {
      intervalMs: options.tlsReloadIntervalMs ?? 5_000,
      onChange: ({ context, notAfter }) => {
        server.setSecureContext(context);
        metrics.reloads.inc({ listener: name, outcome: 'loaded' });
        logger.info({ listener: name, notAfter }, 'tls.reload.done');
        tellExpiry(notAfter);
      },
      onBad: (reason) => {
        metrics.reloads.inc({ listener: name, outcome: 'failed' });
        logger.error({ listener: name, reason }, 'tls.reload.failed');
      },
    });
    return { server, watch };
  }

  try {
    await listen(server, name, options.address);
  } catch (error) {
    await watch?.close();
    throw error;
  }
  server.on('error', (error) => logger.error({ listener: name, err: error }, 'listener.failed'));
  const { address, port } = server.address() as AddressInfo;
  const url = `${options.tls === undefined ? 'http' : 'https'}://${address.includes(':') ? `[${address}]` : address}:${port}`;
  logger.info({ listener: name, url }, 'listener.opened');

  let closing: Promise<CloseCounts> | undefined;
  return {
    name,
    address: { host: address, port },
    url,
    server,
    trackSocket: connections.trackSocket,
    close(graceMs) {
      const closed = connections.close(graceMs);
      closing ??= (async () => {
        await watch?.close();
        const counts = await closed;
        metrics.notAfter.remove({ listener: name });
        logger.info({ listener: name, ...counts }, 'listener.closed');
        return counts;
      })();
      return closing;
    },
  };
}

function attach(server: http.Server, handlers: ListenerHandlers, { tracked, upgraded }: OpenConnections) {
  const { upgrade, connect, checkContinue, checkExpectation, clientError, connection } = handlers;
  server.on('request', tracked(handlers.request));
  if (checkContinue !== undefined) server.on('checkContinue', tracked(checkContinue));
  if (checkExpectation !== undefined) server.on('checkExpectation', tracked(checkExpectation));
  for (const [event, handle] of [['upgrade', upgrade] as const, ['connect', connect] as const]) {
    if (handle === undefined) continue;
    server.on(event, (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
      upgraded(request);
      handle(request, socket, head);
    });
  }
  if (clientError !== undefined) server.on('clientError', clientError);
  // Before Node's own listener, so that what is destroyed here costs no TLS handshake.
  if (connection !== undefined) server.prependListener('connection', connection);
}

function plainServer(options: ListenerOptions): { server: http.Server; watch: undefined } {
  return { server: http.createServer(options.server ?? {}), watch: undefined };
}

const listenReasons: Record<string, string> = {
  EADDRINUSE: 'another process uses the port; stop it or choose another port',
  EACCES: 'the operating system does not allow it; ports below 1024 need a privilege: choose a higher one',
  EADDRNOTAVAIL: 'this machine has no such address; choose one of its own, or 127.0.0.1 or 0.0.0.0',
  ENOTFOUND: 'the host name is not known; give an address',
  EAI_AGAIN: 'the host name cannot be looked up; give an address',
  EAFNOSUPPORT: 'this machine does not speak that address family; choose an address of another',
};

function listen(server: http.Server, name: string, { host, port }: ListenerOptions['address']): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      const reason = listenReasons[error.code ?? ''] ?? error.message;
      const where = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
      reject(new Error(`listener ${name} cannot listen on ${where}: ${reason} (listen.${name})`, { cause: error }));
    };
    server.once('error', onError);
    server.listen({ host, port }, () => {
      server.off('error', onError);
      resolve();
    });
  });
}
