import type { Caller } from '../../auth/index.ts';
import type { AppSettings } from '../../store/index.ts';
import type { ImRefusal } from '../../wire/index.ts';
import type { Account } from '../model.ts';
import type { Command } from './command.ts';
import { type ServiceName, serviceOf } from './service-table.ts';

/** One `/v4` request from its head to its answer. */
export interface Exchange {
  /** As `performance.now()`. */
  readonly startedMs: number;
  /** Known by the path, also where the command is not. */
  readonly service: ServiceName | undefined;
  readonly command: Command | undefined;
  /** Aborted when the answer is due. */
  readonly deadline: AbortController;
  readonly timer: NodeJS.Timeout;
  caller: Caller;
  /** Why the caller is nobody. */
  refusal?: ImRefusal;
  app?: AppSettings;
  /** The caller's account, where he is an administrator. */
  admin?: Account;
  isAnswered: boolean;
}

/** Begins an exchange; `onLate` is called once when it has not been answered in time. */
export function beginExchange(
  { path, command }: { path: string; command: Command | undefined },
  limitMs: number,
  onLate: (exchange: Exchange) => void,
): Exchange {
  const deadline = new AbortController();
  const exchange: Exchange = {
    startedMs: performance.now(),
    service: command?.service ?? serviceOf(path),
    command,
    deadline,
    timer: setTimeout(() => {
      onLate(exchange);
      deadline.abort();
    }, limitMs),
    caller: 'guest',
    isAnswered: false,
  };
  return exchange;
}
