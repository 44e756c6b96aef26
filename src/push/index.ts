export type { Outcome, Sendable, Sender, SenderFigures } from './provider.ts';
