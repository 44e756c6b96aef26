import { createLaneQueue, type LaneQueue, type LaneQueueOptions } from '../../store/index.ts';
import { type Lane, laneId } from './lane.ts';

export type DrainQueue = LaneQueue<Lane>;
export type DrainQueueOptions = Omit<LaneQueueOptions<Lane>, 'name' | 'laneId'>;

/** The queue of lanes that wait: what there is to send stands in the outbox alone. */
export function createDrainQueue(
  deps: Parameters<typeof createLaneQueue>[0],
  backend: Parameters<typeof createLaneQueue>[1],
  options: DrainQueueOptions,
): Promise<DrainQueue> {
  return createLaneQueue(deps, backend, { ...options, name: 'callbacks', laneId });
}
