/** Pushes for `ImClient`, in browsers, in Node, and in hosts that are neither: `qalgate/sdk/im/push`. Guide: docs/guide/push.md, "In the app". */
export { createPush, type Push, type PushSettings, type PushToken } from './push.ts';
export { type PushedMessage, pushedMessageOf } from './pushed-message.ts';
