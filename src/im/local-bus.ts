import type { Logger } from '../observe/index.ts';
import type { AccountNo } from './model.ts';
import type { Bus, LinkEvent } from './services.ts';

/** The bus of one process: an emitter. It loses nothing, so it never tells of a gap. */
export function createLocalBus({ logger }: { logger: Logger }): Bus {
  const subscribers = new Set<(to: AccountNo, event: LinkEvent, exceptLink?: string) => void>();
  const publish: Bus['publish'] = (to, event, exceptLink) => {
    for (const fn of subscribers) {
      try {
        fn(to, event, exceptLink);
      } catch (error) {
        logger.error({ err: error, kind: event.kind }, 'im.bus.subscriber.failed');
      }
    }
  };
  return {
    publish,
    publishMany(to, event, exceptLink) {
      for (const account of to) publish(account, event, exceptLink);
    },
    subscribe(fn) {
      subscribers.add(fn);
      return () => subscribers.delete(fn);
    },
    onGap: () => () => {},
  };
}
