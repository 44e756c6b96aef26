/** `{MsgSeq}_{MsgRandom}_{MsgTime}` (API reference §3.1). `time`: Unix seconds. */
export function messageKey(message: { msgSeq: number; random: number; time: number }): string {
  return `${message.msgSeq}_${message.random}_${message.time}`;
}
