/** What the load generator needs of a protocol: a member's connection, in one group. */

export interface RoomEvents {
  /** A frame, for `decode`; its bytes are good until it returns. For protocols whose members get the same bytes. */
  onFrame(payload: Buffer): void;
  /** A message, for the others. */
  onReceived(number: number): void;
  /** The connection does not work any more. */
  onProblem(reason: string): void;
}

/** Numbers of messages, in order. */
export interface Decoded {
  received: number[];
  /** Told to their sender. */
  accepted: number[];
}

export interface RoomTerminal {
  send(number: number): void;
  /** Tells the service that it is still there, where one has to. */
  beat(): void;
}

export interface RoomPlace {
  port: number;
  account: string;
  /** The name of the group. */
  room: string;
}

export interface RoomProtocol {
  /** Whether who sends gets its own message as everybody does; else it gets an answer. */
  echoes: boolean;
  /** Resolves when it is logged in, and where one enters a group by oneself, is in it. */
  connect(place: RoomPlace, events: RoomEvents): Promise<RoomTerminal>;
  /** Makes a group of those who have connected, where they did not enter it by themselves. */
  gather(port: number, room: string, accounts: readonly string[]): Promise<void>;
  decode(payload: Buffer): Decoded;
}

export const roomName = (group: number): string => `room${group}`;
export const memberPrefix = 'member';
/** `member` and a number over all groups, so that peers can be told of all of them before. */
export const memberName = (group: number, index: number, perGroup: number): string =>
  `${memberPrefix}${group * perGroup + index}`;
