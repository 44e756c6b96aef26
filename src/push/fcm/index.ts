export { createFcmSender, type FcmSenderDeps, type FcmSenderOptions } from './sender.ts';
