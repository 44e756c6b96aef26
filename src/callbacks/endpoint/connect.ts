import type { LookupAddress } from 'node:dns';
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls, type SecureContext } from 'node:tls';
import type { AddressGuard } from './address-guard.ts';
import type { CallbackTarget } from './callback-url.ts';
import type { ClientTls } from './client-tls.ts';
import { codeOf } from './error-code.ts';
import type { Lookup } from './lookups.ts';
import type { PostFailure } from './post.ts';

/** Until the next address of a name is tried: longer than any round trip, short enough for two of them. */
const autoSelectFamilyAttemptTimeout = 500;

/** Why a connection was not made; the message holds no more than addresses and codes. */
export class ConnectError extends Error {
  readonly failure: PostFailure;

  constructor(failure: PostFailure, detail: string) {
    super(detail);
    this.failure = failure;
  }
}

export interface ConnectDeps {
  readonly guard: AddressGuard;
  readonly lookup: Lookup;
  readonly tls: ClientTls;
}

/** A connection that is being made. */
export interface Connecting {
  /** What it is waiting for. */
  readonly stage: 'look-up' | 'connection' | 'handshake';
  /** Gives it up at once; nothing is told any more. */
  cancel(): void;
}

/**
 * Connects to the target, TLS included, to no other address than one that the guard has passed (K8). Exactly one call of `done`
 * follows, unless it is cancelled; there is no deadline but the caller's.
 */
export function connect(
  { guard, lookup, tls }: ConnectDeps,
  target: CallbackTarget,
  done: (error: ConnectError | null, socket: Socket | null, tlsVersion: number) => void,
): Connecting {
  let socket: Socket | undefined;
  let over = false;
  let tlsVersion = 0;
  let stage: Connecting['stage'] = 'connection';

  const fail = (error: ConnectError): void => {
    if (over) return;
    over = true;
    socket?.destroy();
    done(error, null, 0);
  };

  const guardedLookup: LookupFunction = (hostname, { all, family }, found) => {
    stage = 'look-up';
    lookup(hostname).then(
      (addresses) => {
        stage = 'connection';
        const refusals: string[] = [];
        const allowed = addresses.filter(({ address }) => {
          const refusal = guard.refusalOf(address, target.port);
          if (refusal !== undefined) refusals.push(refusal);
          return refusal === undefined;
        });
        const usable = family === 4 || family === 6 ? allowed.filter((one) => one.family === family) : allowed;
        const [first] = usable as LookupAddress[];
        if (first !== undefined && all === true) found(null, usable as LookupAddress[]);
        else if (first !== undefined) found(null, first.address, first.family);
        else if (refusals[0] !== undefined) found(new ConnectError('blocked-address', refusals[0]), '');
        else found(new ConnectError('dns', 'the name has no address'), '');
      },
      (error: unknown) => found(new ConnectError('dns', codeOf(error)), ''),
    );
  };

  const openSocket = (secureContext: SecureContext | undefined): void => {
    const { host, port } = target;
    // Without a name nothing is looked up.
    const refusal = isIP(host) === 0 ? undefined : guard.refusalOf(host, port);
    if (refusal !== undefined) {
      fail(new ConnectError('blocked-address', refusal));
      return;
    }
    const where = {
      host,
      port,
      lookup: guardedLookup,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout,
      noDelay: true,
    };
    socket =
      secureContext === undefined
        ? connectTcp(where)
        : connectTls({
            ...where,
            secureContext,
            ALPNProtocols: ['http/1.1'],
            ...(isIP(host) === 0 ? { servername: serverName(host) } : undefined),
          });
    const mine = socket;
    let isConnected = false;
    mine.on('error', (error) => fail(failureOf(error, isConnected)));
    mine.once('close', () => fail(failureOf(undefined, isConnected)));
    mine.once('connect', () => {
      isConnected = true;
      stage = 'handshake';
      // It was judged before; this is the word of the socket itself, before a byte goes out.
      const late = guard.refusalOf(mine.remoteAddress ?? '', mine.remotePort ?? port);
      if (late !== undefined) fail(new ConnectError('blocked-address', late));
      else if (secureContext === undefined) succeed(mine);
    });
    if (secureContext !== undefined) mine.once('secureConnect', () => succeed(mine));
  };

  const open = (secureContext: SecureContext | undefined): void => {
    try {
      openSocket(secureContext);
    } catch (error) {
      fail(new ConnectError('refused', codeOf(error)));
    }
  };

  const succeed = (connected: Socket): void => {
    if (over) return;
    over = true;
    done(null, connected, tlsVersion);
  };

  if (target.isSecure) {
    tls.context().then((found) => {
      if (over) return;
      if (found.ok) {
        tlsVersion = found.version;
        open(found.context);
      } else fail(new ConnectError('client-certificate', found.reason));
    });
  } else {
    // Never before the caller has what this gives back.
    queueMicrotask(() => {
      if (!over) open(undefined);
    });
  }

  return {
    get stage() {
      return stage;
    },
    cancel() {
      over = true;
      socket?.destroy();
    },
  };
}

/** As TLS names a server: without the dot at the end. */
function serverName(host: string): string {
  return host.endsWith('.') ? host.slice(0, -1) : host;
}

function failureOf(error: Error | undefined, isConnected: boolean): ConnectError {
  if (error instanceof ConnectError) return error;
  // What ends a connection between TCP and HTTP is the handshake.
  if (isConnected) return new ConnectError('tls', error === undefined ? 'closed during the handshake' : codeOf(error));
  if (error instanceof AggregateError) {
    const [first] = error.errors;
    return failureOf(first instanceof Error ? first : new Error(codeOf(error)), false);
  }
  const code = error === undefined ? 'closed' : codeOf(error);
  return new ConnectError(code === 'ECONNRESET' ? 'reset' : 'refused', code);
}
