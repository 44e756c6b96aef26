/** What the load generator needs of a protocol: a client's connection, whichever way it talks. */

export interface TerminalEvents {
  /** The service has told the sender that it has the message of that number. */
  onAccepted(number: number): void;
  /** The receiver has got it. */
  onReceived(number: number): void;
  /** The connection does not work any more; not after `close`. */
  onProblem(reason: string): void;
}

export interface Terminal {
  send(to: string, number: number): void;
  /** Ends the connection; resolves when it is closed. */
  close(): Promise<void>;
}

export interface ConnectOptions {
  port: number;
  account: string;
  /** Whether the service has to tell that it has a message, where the protocol leaves that open. */
  needsAccept: boolean;
}

export interface Protocol {
  /** Whether the service tells what it has even where that is left open: then a message counts only when it has. */
  alwaysAccepts: boolean;
  /** Resolves when messages can be sent and received. Rejects when the service does not let it in. */
  connect(options: ConnectOptions, events: TerminalEvents): Promise<Terminal>;
}

const textChars = 100;

/** What people write: as long as ever, and its number to be known by. */
export const textOf = (number: number): string =>
  `${number} ${'says qal. '.repeat(textChars / 10)}`.slice(0, textChars);

/** NaN: not one of ours. */
export const numberOf = (text: string): number => Number.parseInt(text, 10);
